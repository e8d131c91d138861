"""What a run's counts mean: derived figures, their units, which way is better, and what issue 6 demands of their ratio."""
from dataclasses import dataclass
from typing import Callable, Optional


@dataclass(frozen=True)
class Measure:
    """One figure of a run. `must` and `aim` bound its ratio to Apache Kafka: from above, or from below where more is better."""
    name: str
    unit: str
    of: Callable
    more_is_better: bool = False
    must: Optional[float] = None
    aim: Optional[float] = None
    floor: Optional[str] = None  # which figure of the physical floor it is compared with
    law: Optional[float] = None  # what Ottla's own figure may be at most, whatever the other one's is

    def demands(self):
        return any(bound is not None for bound in (self.must, self.aim, self.law))

    def meets(self, ratio, bound):
        return ratio >= bound if self.more_is_better else ratio <= bound


def quotient(above, below, scale=1.0):
    def of(sample):
        if sample.get(above) is None or not sample.get(below):
            return None
        return sample[above] / sample[below] * scale
    return of


def cpu_per_gb(must=None, aim=None, floor=None, name="broker CPU-s/GB"):
    return Measure(name, "CPU-s/GB", quotient("broker_cpu_seconds", "bytes", 1e9), must=must, aim=aim, floor=floor)


def megabytes(must=None, aim=None, floor=None):
    return Measure("MB/s", "MB/s", quotient("bytes", "wall_seconds", 1e-6), True, must, aim, floor)


def cpu_per_request(must=None, aim=None, floor=None, name="broker CPU-µs/request"):
    return Measure(name, "µs", quotient("broker_cpu_seconds", "requests", 1e6), must=must, aim=aim, floor=floor)


def rate(must=None, aim=None, name="requests/s", floor=None):
    return Measure(name, "/s", quotient("requests", "wall_seconds"), True, must, aim, floor)


def switches():
    def of(sample):
        if not sample.get("requests") or sample.get("voluntary_switches") is None:
            return None
        return (sample["voluntary_switches"] + (sample.get("involuntary_switches") or 0)) / sample["requests"]
    return Measure("context switches/request", "", of)


def latency(quantile, must=None, aim=None, name=None, floor=None):
    return Measure(name or {"p999": "p99.9"}.get(quantile, quantile), "µs", lambda sample: (sample.get("latency_us") or {}).get(quantile),
                   must=must, aim=aim, floor=floor)


def own(key, unit, must=None, aim=None, name=None, more_is_better=False, scale=1.0, floor=None):
    """A figure that only this workload has; a dot in the key leads into an object."""
    def of(sample):
        value = deep(sample.get("measures") or {}, key)
        return None if value is None else value * scale
    return Measure(name or key.replace("_", " ").replace(".", " "), unit, of, more_is_better, must, aim, floor)


def deep(value, key):
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def within(name, above, below, law=None):
    """How a figure of one broker grows with something: a ratio of two of its own figures."""
    def of(sample):
        one, other = deep(sample["measures"], above), deep(sample["measures"], below)
        return one / other if one is not None and other else None
    return Measure(name, "×", of, law=law)
