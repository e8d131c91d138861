"""See run."""
import argparse
import datetime
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import brokers  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
from clients import Clients, Void  # noqa: E402
from compare import ALONE, Comparison, say  # noqa: E402
from workloads import FIRST, FLOORS, QUICK, WORKLOADS  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description="Ottla beside Apache Kafka 4.3 on this machine.")
    parser.add_argument("workloads", nargs="*", metavar="W", help="W1 to W16, or a part of a cell's name: W3:16 (default: all)")
    parser.add_argument("--against", default="kafka", help="kafka, none, or the path of another Ottla (default: kafka)")
    parser.add_argument("--quick", action="store_true", help="one short pair with the raw driver: does it run at all")
    parser.add_argument("--targets", action="store_true", help="only the cells of which issue 6 demands something")
    parser.add_argument("--rounds", type=int, help="rounds of A B B A (default: 3)")
    parser.add_argument("--scale", type=float, help="of bytes and seconds (default: 1)")
    parser.add_argument("--warm-up", type=float, help="seconds of load for each broker before anything counts (default: 40 with a JVM)")
    parser.add_argument("--clients", help="of raw, java, librdkafka (default: all)")
    parser.add_argument("--no-touch", action="store_true", help="do not touch memory before what writes much")
    parser.add_argument("--out", help="directory of the results (default: bench/ under cargo's target directory)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.scale = options.scale or (0.1 if options.quick else 1)
    options.clients = set((options.clients or ("raw" if options.quick else "raw,java,librdkafka")).split(","))
    if options.warm_up is None:
        options.warm_up = (2 if options.quick else 40) if options.against == "kafka" else 1
    names = sorted(options.workloads or (QUICK if options.quick else WORKLOADS), key=lambda name: not name.upper().startswith(FIRST))
    options.chosen = {}
    for name in names:
        workload, _, cell = name.partition(":")
        if workload.upper() not in WORKLOADS:
            parser.error(f"no workload {workload}; there are {' '.join(WORKLOADS)}")
        options.chosen.setdefault(workload.upper(), []).append(cell)
    return options


def cells_of(options, workload):
    _, cells = WORKLOADS[workload]
    return [cell for cell in cells() if cell.client in options.clients and not (options.quick and cell.slow)
            and (not options.targets or any(measure.demands() for measure in cell.measures)) and any(part in cell.name for part in options.chosen[workload])]


def warm_up(clients, broker, seconds):
    """The kinds of requests that the workloads make, not counted: a JVM compiles what it runs often."""
    say(f"warming up {broker.name} for {seconds:g} s")
    with ALONE:
        try:
            if broker.name != "Apache Kafka":
                seconds = min(seconds, 2)  # nothing is compiled there
            clients.driver(broker, "w3", seconds=seconds * 0.3, connections=16, in_flight=1)
            clients.driver(broker, "w3", seconds=seconds * 0.2, connections=1, in_flight=5)
            rounds = max(1, int(seconds / 10))
            for _ in range(rounds):
                clients.driver(broker, "w1", records=400_000 if seconds > 5 else 50_000)
        except Void as error:
            raise SystemExit(f"the warm-up of {broker.name} failed: {error}") from error


def floor_figures(floors):
    """The figures of the floor that measures name: the better one of before and after."""
    figures = {}
    for name, (part, key) in FLOORS.items():
        values = [one["measures"][part][key] for one in floors if key in one["measures"].get(part, {})]
        if values:
            figures[name] = max(values) if key.endswith("per_second") else min(values)
    return figures


def measure_floor(clients, options, directory, floors):
    try:
        with ALONE:
            floors.append(clients.driver(None, "floor", directory=directory, scale=0.2 if options.quick else 1))
    except Void as error:
        say(f"the floor was not measured: {error}")


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the brokers end with us
    started = datetime.datetime.now(datetime.timezone.utc)
    clients = Clients(os.environ["BENCH_DRIVER"], os.environ.get("RDKAFKA_PERFORMANCE"), brokers.APACHE_KAFKA)
    out = options.out or os.path.join(os.environ["CARGO_TARGET_DIR"], "bench", started.strftime("%Y-%m-%dT%H-%M-%S"))
    os.makedirs(out, exist_ok=True)
    up = [kind() for kind in brokers.kinds(options.against)]
    results, floors = {}, []
    try:
        for broker in up:
            broker.start()
        surroundings = report.environment(up)
        chosen = {workload: cells_of(options, workload) for workload in options.chosen}
        with_floor = any(measure.floor for cells in chosen.values() for cell in cells for measure in cell.measures)
        if with_floor:
            measure_floor(clients, options, up[0].directory, floors)
        for broker in up:
            warm_up(clients, broker, options.warm_up)
        comparison = Comparison(clients, up, options.rounds, options.scale, touch=not options.no_touch)
        publish = lambda: write(options, out, results, floors, surroundings, comparison, [broker.name for broker in up])  # noqa: E731
        for workload, cells in chosen.items():
            results[workload] = []
            for cell in cells:
                results[workload].append((cell.name, comparison.compare(workload, cell)))
            publish()  # what was measured is kept, whatever happens later
        if with_floor:
            measure_floor(clients, options, up[0].directory, floors)
    finally:
        for broker in up:
            broker.remove()
    print(publish())
    say(f"written to {out}" + ("" if plot.has_png() else " (no PNG: rsvg-convert is not installed)"))
    for void in comparison.voids:
        say(f"VOID: {void['workload']} {void['cell']} {void['broker']}: {void['why'].splitlines()[0]}")
    return 1 if comparison.voids else 0


def write(options, out, results, floors, surroundings, comparison, sides):
    """table.md, all.json, and for each workload its JSON, SVG and PNG; the text of table.md."""
    results = {workload: results[workload] for workload in WORKLOADS if workload in results}  # in another order than they were run
    floor = floor_figures(floors)
    words = report.table(results, sides, floor)
    if comparison.peak:
        words += "\n\npeak RSS over all: " + ", ".join(f"{side} {peak / (1 << 20):.0f} MiB" for side, peak in comparison.peak.items())
    if floors:
        words += "\n\n" + report.floor_table(floors)
    with open(out + "/table.md", "w") as file:
        file.write(words + "\n")
    subtitle = f"{surroundings['machine']}, Linux {surroundings['kernel']}, commit {surroundings['commit']}, {options.rounds} round{'s' if options.rounds > 1 else ''} at scale {options.scale:g}"
    for workload, cells in results.items():
        figures = [report.figure_json(cell, figure) for cell, some in cells for figure in some]
        report.write_json(f"{out}/{workload}.json", {"workload": workload, "title": WORKLOADS[workload][0], "sides": sides, "figures": figures})
        plot.write(f"{out}/{workload}", plot.draw(f"{workload}: {WORKLOADS[workload][0]}", subtitle, cells, sides, floor))
    report.write_json(out + "/all.json", {
        "environment": surroundings, "rounds": options.rounds, "scale": options.scale, "against": options.against, "peak_rss_bytes": comparison.peak,
        "floor": floor, "floor_runs": floors, "voids": comparison.voids, "samples": comparison.samples,
        "figures": {workload: [report.figure_json(cell, figure) for cell, some in cells for figure in some] for workload, cells in results.items()}})
    return words


if __name__ == "__main__":
    sys.exit(main())
