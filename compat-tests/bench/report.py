"""The table, and the JSON of everything that was measured."""
import json
import os
import platform
import subprocess

MARKS = {"aim": "aim", "must": "must", "missed": "MISSED", None: ""}


def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def environment(brokers):
    """What the figures depend on besides the brokers."""
    model = [line.split(": ", 1)[1] for line in (read("/proc/cpuinfo") or "").splitlines() if line.startswith("model name")]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    commit = subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    memory = [int(line.split()[1]) for line in (read("/proc/meminfo") or "").splitlines() if line.startswith("MemTotal")]
    return {
        "machine": f"{os.cpu_count()} × {model[0] if model else platform.processor()}", "memory_gib": round(memory[0] / (1 << 20), 1) if memory else None,
        "kernel": platform.release(), "congestion_control": read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "dirty_ratio": read("/proc/sys/vm/dirty_ratio"), "dirty_background_ratio": read("/proc/sys/vm/dirty_background_ratio"),
        "load_before": os.getloadavg()[0], "commit": commit.stdout.strip() or None, "brokers": {broker.name: broker.version() for broker in brokers},
    }


def short(value):
    if value is None:
        return "–"
    if value == 0 or 100_000 > abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def row(workload, cell, figure, sides, floor):
    measure, ratio = figure.measure, figure.ratio()
    own_median = figure.median(sides[0])
    of_floor = own_median / floor[measure.floor] if floor.get(measure.floor) and own_median is not None else None
    spread = f"{min(figure.ratios):.2f}–{max(figure.ratios):.2f}" if len(figure.ratios) > 1 else ""
    better = "≥" if measure.more_is_better else "≤"
    name = f"{measure.name} ({measure.unit})" if measure.unit and measure.unit.lstrip("/") not in measure.name else measure.name
    return [workload, cell, name, *(short(figure.median(side)) for side in sides),
            f"{ratio:.3g}×" if ratio is not None else "", spread,
            *([f"itself ≤ {measure.law:g}×", ""] if measure.law is not None else []),
            *([] if measure.law is not None else [f"{better} {bound}×" if bound is not None and "Apache Kafka" in sides else "" for bound in (measure.must, measure.aim)]),
            MARKS[figure.verdict()], f"{of_floor:.2f}×" if of_floor else ""]


def table(results, sides, floor):
    """GitHub's Markdown, with columns that line up in a terminal."""
    compared = [f"ratio to {sides[1]}", "rounds", "must", "aim", "reached"] if len(sides) > 1 else [""] * 5
    head = ["", "cell", "measure", *sides, *compared, "of the floor"]
    rows = [row(workload, cell, figure, sides, floor) for workload, cells in results.items() for cell, figures in cells for figure in figures]
    keep = [column for column in range(len(head)) if any(one[column] for one in rows)]
    lines = [[one[column] for column in keep] for one in [head, *rows]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(keep))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]])


def floor_table(floors):
    """Every part of the physical floor with its main figures, as measured before and after."""
    lines = ["| physical floor | " + " | ".join(("before", "after")[:len(floors)]) + " |", "|---" * (len(floors) + 1) + "|"]
    for part in floors[0]["measures"]:
        runs = [flat(one["measures"].get(part, {})) for one in floors]
        for name in runs[0]:
            if name == "bytes" or name.startswith("latency_us") and name[11:] not in ("p50", "p99"):
                continue
            lines.append(f"| {part} {name} | " + " | ".join(short(run.get(name)) for run in runs) + " |")
    return "\n".join(lines)


def flat(figures, prefix=""):
    found = {}
    for name, value in figures.items():
        found.update(flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {prefix + name: value})
    return found


def figure_json(cell, figure):
    measure = figure.measure
    return {"cell": cell, "measure": measure.name, "unit": measure.unit, "more_is_better": measure.more_is_better,
            "medians": {side: figure.median(side) for side in figure.runs}, "runs": figure.runs, "ratio": figure.ratio(),
            "ratios_of_rounds": figure.ratios, "must": measure.must, "aim": measure.aim, "law": measure.law, "reached": figure.verdict(), "floor": measure.floor}


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")
