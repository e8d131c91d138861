"""What a process and the machine spent, from procfs and the CPU clock of the process. Linux only."""
import os
import resource
import time

TICKS = os.sysconf("SC_CLK_TCK")


def process_cpu_seconds(pid):
    """On-CPU seconds of all threads, those that ended too: the kernel's CPU clock of another process, exact to the nanosecond
    (utime and stime of /proc/PID/stat are sampled by the tick on some kernels)."""
    return time.clock_gettime((~pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)


def status_fields(path):
    with open(path) as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def switches(pid):
    """Voluntary and involuntary context switches of the threads that live."""
    voluntary = involuntary = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            fields = status_fields(f"/proc/{pid}/task/{task}/status")
        except (FileNotFoundError, ProcessLookupError):
            continue
        voluntary += int(fields["voluntary_ctxt_switches"])
        involuntary += int(fields["nonvoluntary_ctxt_switches"])
    return voluntary, involuntary


def memory_bytes(pid, field="VmRSS"):
    return int(status_fields(f"/proc/{pid}/status")[field].split()[0]) * 1024


def forget_peak(pid):
    """Peak memory (VmHWM) counts from now on."""
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def machine_busy_seconds():
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / TICKS  # all but idle and iowait; guest time is in user time


def children_cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Meter:
    """Around a timed region: what the broker, the clients (children of this process that ended) and the rest of the machine spent."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        self.switches = switches(self.pid)
        self.clients, self.machine, self.wall = children_cpu_seconds(), machine_busy_seconds(), time.monotonic()
        self.broker = process_cpu_seconds(self.pid)
        return self

    def __exit__(self, *_):
        self.broker = process_cpu_seconds(self.pid) - self.broker
        self.wall = time.monotonic() - self.wall
        self.machine = machine_busy_seconds() - self.machine
        self.clients = children_cpu_seconds() - self.clients
        after = switches(self.pid)
        self.switches = tuple(max(0, now - then) for now, then in zip(after, self.switches))

    def sample(self):
        """Under the names that bench_driver uses."""
        return {"wall_seconds": self.wall, "broker_cpu_seconds": self.broker, "voluntary_switches": self.switches[0],
                "involuntary_switches": self.switches[1], "rss_bytes": memory_bytes(self.pid)}

    def foreign_share(self):
        """Part of the machine's CPU time that neither the broker nor the clients used: kernel threads and other people."""
        own = self.broker + self.clients
        return max(0.0, self.machine - own) / (self.wall * os.cpu_count()) if self.wall else 0.0
