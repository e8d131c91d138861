"""Rounds of A/B/B/A over one cell: a cell is one way of driving one workload, and a round gives one ratio for each of its measures."""
import fcntl
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Callable, Optional, Sequence

import topics
from accounting import forget_peak, memory_bytes
from clients import Void
from measures import Measure

# A run of a moment's noise is worth another try; a broker that fails twice in a round has failed.
TRIES = 2
DELETED_SECONDS, MANY_DELETED_SECONDS = 1.0, 10.0  # log.segment.delete.delay.ms and some


@dataclass(frozen=True)
class Cell:
    """`drive(clients, broker, scale, prepared)` is one run; `prepare(clients, broker, scale)` is done once a broker, its topic stays."""
    name: str
    drive: Callable
    measures: Sequence[Measure]
    prepare: Optional[Callable] = None
    touch_gib: float = 0
    client: str = "raw"
    slow: bool = False  # left out by --quick
    rounds_max: Optional[int] = None  # of what takes minutes
    own_broker: bool = False  # each run starts one
    count: Optional[Callable] = None  # a run whose system calls are counted
    keeps: bool = False  # its topics stay until it is over: an ext4 without a journal walks over inodes that were deleted a moment ago


@dataclass
class Figure:
    """One measure of one cell: the runs of both sides, and the ratios of the rounds."""
    measure: Measure
    runs: dict = field(default_factory=dict)  # side -> values
    ratios: list = field(default_factory=list)

    def median(self, side):
        values = self.runs.get(side)
        return statistics.median(values) if values else None

    def ratio(self):
        return statistics.median(self.ratios) if self.ratios else None

    def verdict(self):
        """`aim`, `must`, `missed`, or nothing where nothing is demanded or nothing was compared."""
        ratio = self.ratio()
        if self.measure.law is not None:
            own_median = next(iter(self.runs.values()), None) and statistics.median(next(iter(self.runs.values())))
            return None if own_median is None else "must" if own_median <= self.measure.law else "missed"
        if "Apache Kafka" not in self.runs or ratio is None or self.measure.must is None and self.measure.aim is None:
            return None
        if self.measure.aim is not None and self.measure.meets(ratio, self.measure.aim):
            return "aim"
        return "must" if self.measure.must is None or self.measure.meets(ratio, self.measure.must) else "missed"


class Alone:
    """Nothing else is measured or built meanwhile, on machines that several people share: locks the files that BENCH_LOCK names
    (separated by colons), in this order. Kept from one use to the next, and let go of after SLICE_SECONDS so that others get their turn."""
    SLICE_SECONDS = 80

    def __init__(self):
        self.files, self.since = [], 0.0

    def __enter__(self):
        if self.files and time.monotonic() - self.since > self.SLICE_SECONDS:
            self.let_go()
        if not self.files:
            for path in filter(None, os.environ.get("BENCH_LOCK", "").split(":")):
                self.files.append(open(path, "a"))
                fcntl.flock(self.files[-1], fcntl.LOCK_EX)
            self.since = time.monotonic()

    def __exit__(self, *_):
        if time.monotonic() - self.since > self.SLICE_SECONDS:
            self.let_go()

    def let_go(self):
        while self.files:
            self.files.pop().close()


ALONE = Alone()


def say(text):
    print(text, file=sys.stderr, flush=True)


class Comparison:
    """Runs cells against the brokers that are up, keeping every sample."""

    def __init__(self, clients, brokers, rounds, scale, touch=True):
        self.clients, self.brokers, self.rounds, self.scale, self.touch = clients, brokers, rounds, scale, touch
        self.samples, self.voids, self.peak = [], [], {}

    def sweep(self, keep=(), seconds=DELETED_SECONDS):
        """Deletes the topics of the runs, and lets the brokers unlink their files, which must not count in the next run."""
        deleted = 0
        for broker in self.brokers:
            client = broker.connect()
            deleted += topics.delete_all(client, keep=keep)
            client.socket.close()
        if deleted:
            time.sleep(seconds)

    def one_run(self, workload, cell, broker, scale, prepared, drive=None):
        for attempt in range(TRIES):
            try:
                with ALONE:
                    if self.touch and cell.touch_gib:
                        self.clients.driver(None, "touch", gib=cell.touch_gib * max(scale, 0.1))
                    started = time.time()
                    sample = (drive or cell.drive)(self.clients, broker, scale, prepared)
                    if not cell.keeps:
                        self.sweep(keep=[one for one in prepared.values() if one])
                    break
            except (Void, OSError, ValueError) as error:
                self.void(workload, cell, broker, error)
                if attempt + 1 == TRIES:
                    return None
        self.samples.append({"workload": workload, "cell": cell.name, "broker": broker.name, "at": started, **sample})
        return sample

    def void(self, workload, cell, broker, error):
        self.voids.append({"workload": workload, "cell": cell.name, "broker": broker.name, "why": str(error)})
        say(f"VOID {workload} {cell.name} {broker.name}: {error}")
        if broker.process.poll() is not None:
            raise SystemExit(f"{broker.name} ended:\n{broker.last_words()}")

    def compare(self, workload, cell):
        """All rounds of one cell; the figures that could be taken."""
        self.sweep()
        prepared = {broker.name: None for broker in self.brokers}
        for broker in self.brokers:
            forget_peak(broker.pid)
            if cell.prepare:
                with ALONE:
                    try:
                        prepared[broker.name] = cell.prepare(self.clients, broker, self.scale)
                    except (Void, OSError) as error:
                        self.void(workload, cell, broker, error)
                        return []
        drive = lambda broker, scale=self.scale: self.one_run(workload, cell, broker, scale, prepared)  # noqa: E731
        for broker in self.brokers:  # the first run of a kind is dear on a JVM, and is not counted
            if broker.name == "Apache Kafka" and not cell.slow and drive(broker, self.scale * 0.3) is not None:
                self.samples[-1]["warm_up"] = True
        figures = [Figure(measure, {broker.name: [] for broker in self.brokers}) for measure in cell.measures]
        rounds = min(self.rounds, cell.rounds_max or self.rounds)
        for number in range(rounds):
            order = self.order(number, rounds)
            values = {broker.name: [] for broker in self.brokers}
            for broker in order:
                sample = drive(broker)
                if sample is not None:
                    sample["round"] = number
                    values[broker.name].append(sample)
            self.note(figures, values)
        self.count_system_calls(workload, cell, prepared, figures)
        if not cell.own_broker:
            figures.append(self.peaks())
        self.sweep(seconds=MANY_DELETED_SECONDS if cell.keeps else DELETED_SECONDS)
        figures = [figure for figure in figures if any(figure.runs.values())]
        for figure in figures:
            self.tell(workload, cell, figure)
        return figures

    def peaks(self):
        """The most memory that each broker held in this cell."""
        peaks = {broker.name: memory_bytes(broker.pid, "VmHWM") for broker in self.brokers}
        self.peak = {name: max(peak, self.peak.get(name, 0)) for name, peak in peaks.items()}
        figure = Figure(Measure("peak RSS", "MiB", lambda peak: peak / (1 << 20)), {name: [] for name in peaks})
        self.note([figure], {name: [peak] for name, peak in peaks.items()})
        return figure

    def order(self, number, rounds):
        """A B B A, B A A B, and so on; one run a round where there is nothing to compare with, one pair when in a hurry."""
        if len(self.brokers) == 1:
            return self.brokers
        one, other = self.brokers if number % 2 == 0 else self.brokers[::-1]
        return [one, other] if rounds == 1 else [one, other, other, one]

    def note(self, figures, values):
        for figure in figures:
            means = []
            for broker in self.brokers:
                taken = [value for value in map(figure.measure.of, values[broker.name]) if value is not None]
                figure.runs[broker.name] += taken
                means.append(statistics.fmean(taken) if taken else None)
            if len(means) == 2 and None not in means and means[1] > 0 and means[0] >= 0:
                figure.ratios.append(means[0] / means[1])

    def count_system_calls(self, workload, cell, prepared, figures):
        """A run of its own, since a tracepoint costs time; its count includes the making of the topic."""
        if not cell.count or not self.clients.can_count:
            return
        measure = Measure("system calls/request", "", lambda sample: sample["system_calls_per_request"])
        figure = Figure(measure, {broker.name: [] for broker in self.brokers})
        values = {broker.name: [] for broker in self.brokers}
        for broker in self.brokers:
            drive = lambda *arguments: self.clients.counting(broker, lambda: cell.count(*arguments))  # noqa: E731, B023
            sample = self.one_run(workload, cell, broker, self.scale * 0.3, prepared, drive)
            if sample is not None and "system_calls_per_request" in sample:
                self.samples[-1]["counted"] = True
                values[broker.name].append(sample)
        self.note([figure], values)
        if any(figure.runs.values()):
            figures.append(figure)

    def tell(self, workload, cell, figure):
        sides = "  ".join(f"{side} {figure.median(side):.4g}" for side in figure.runs if figure.runs[side])
        ratio = f"  ratio {figure.ratio():.3f}" if figure.ratios else ""
        say(f"{workload} {cell.name}: {figure.measure.name}: {sides}{ratio}")
