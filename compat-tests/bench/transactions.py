"""W9: Java producers of one process with default settings, each with a partition of its own. See Load.java."""
import os
import subprocess
import tempfile

from accounting import Meter
from clients import Void, run
from compare import Cell
from measures import Measure, latency, quotient, rate

CLASSES = {}
WARM_UP_SECONDS, SECONDS = 4, 5


def classes(clients):
    """Where the compiled Load is; compiled once."""
    if "directory" not in CLASSES:
        CLASSES["directory"] = tempfile.TemporaryDirectory(prefix="ottla-bench-classes.")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Load.java")
        run(["javac", "-d", CLASSES["directory"].name, "-cp", clients.classpath, source])
    return CLASSES["directory"].name


def load(clients, broker, producers, records, scale):
    """One run; the broker's CPU between the two moments that Load names."""
    command = ["java", "-Xmx512M", "-XX:+UseSerialGC", "-cp", f"{classes(clients)}:{clients.classpath}", "Load", broker.bootstrap, str(producers),
               str(records), str(WARM_UP_SECONDS * min(scale, 1)), str(max(1, SECONDS * scale))]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        words = [process.stdout.readline()]
        with Meter(broker.pid) as meter:
            words.append(process.stdout.readline())
        figures = process.stdout.readline().split()
        if process.wait() != 0 or words != ["begin\n", "end\n"] or len(figures) != 7:
            errors.seek(0)
            raise Void(f"the transactional load of {broker.name} failed: {errors.read()[-2000:]}")
    transactions, seconds, own_cpu, median, late, committed, visible = map(float, figures)
    if committed != visible:
        raise Void(f"{committed:.0f} records were committed, {visible:.0f} are visible to read_committed")
    sample = meter.sample()
    sample.update(wall_seconds=seconds, requests=transactions, records=transactions * records, load_cpu_seconds=own_cpu,
                  latency_us={"p50": median * 1000, "p99": late * 1000}, checked={"committed_records_visible": visible})
    return sample


def w9():
    def cell(producers, records):
        return Cell(f"{producers} × {records} record{'s' if records > 1 else ''}",
                    lambda clients, broker, scale, _: load(clients, broker, producers, records, scale), [
            rate(1.5, 3, "transactions/s"), latency("p50", 0.5, 0.2, "commit p50"), latency("p99", name="commit p99"),
            Measure("broker CPU-µs/transaction", "µs", quotient("broker_cpu_seconds", "requests", 1e6))], client="java")
    return [cell(1, 1), cell(1, 100), cell(8, 1), cell(8, 100)]
