"""How each thing is counted: a broker, and a way to count while requests are sent to it."""
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from callgrind import Profile
from frames import Client

WARM_UP = 100
# Nothing but the requests may happen while they are counted.
QUIET = {
    "group.initial.rebalance.delay.ms": 0,
    "replica.high.watermark.checkpoint.interval.ms": 10**8,
    "log.flush.offset.checkpoint.interval.ms": 10**8,
    "log.retention.check.interval.ms": 10**8,
}
START_SECONDS = 120


class Broker:
    """A broker of its own in an empty directory; `wrapper` is what it runs under."""

    def __init__(self, binary, wrapper=()):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.directory = tempfile.mkdtemp(prefix="ottla-limits.")
        self.log = open(self.directory + "/log", "w+")
        settings = [f"--override={name}={value}" for name, value in QUIET.items()]
        command = [*(part.replace("DIR", self.directory) for part in wrapper), binary, "--data", self.directory + "/data",
                   f"--override=listeners=PLAINTEXT://127.0.0.1:{self.port}", *settings]
        # Nobody reads its standard output but for counts: 10,000 partitions, of which each is a line, would fill the pipe.
        environment = os.environ | {"RUST_LOG": "warn"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env=environment)
        self.prepared = 0

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
        if error is None:
            assert "panicked" not in self.messages(), "the broker panicked: see " + self.directory
            shutil.rmtree(self.directory)

    def messages(self):
        return open(self.directory + "/log").read()

    def client(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return Client(self.port)
            except ConnectionRefusedError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the broker did not start: " + self.messages()) from None
                time.sleep(0.05)

    def line(self, start):
        """The next line on its standard output that starts so."""
        line = ""
        while not line.startswith(start):
            line = self.process.stdout.readline()
            assert line, "the broker ended: " + self.messages()
        return line

    def load(self, prepare):
        """A case that has run for a while."""
        self.prepared += 1
        load = prepare(self.client(), f"case-{self.prepared}")
        load.run(WARM_UP)
        return load

    def voluntary_switches(self):
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            status = open(f"/proc/{self.process.pid}/task/{task}/status").read()
            total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M).group(1))
        return total


def system_calls(binary, cases):
    """(system calls by name, voluntary context switches) a request, by strace and by /proc."""
    with Broker(binary) as broker:
        for name, prepare in cases.items():
            load, requests = broker.load(prepare), 500
            strace = subprocess.Popen(["strace", "-f", "-c", "-p", str(broker.process.pid)], stderr=subprocess.PIPE, text=True)
            assert "attached" in strace.stderr.readline(), "strace cannot attach"
            load.run(requests)
            strace.send_signal(signal.SIGINT)
            table = strace.communicate()[1]
            rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", table, re.M)
            calls = {call: int(count) / requests for count, call in rows if call != "total"}
            before = broker.voluntary_switches()
            load.run(requests)
            yield name, calls, (broker.voluntary_switches() - before) / requests


def allocations(counted_broker, cases):
    """(allocations, bytes) a request, by a broker with a counting allocator that tells its counts for each line it reads."""
    with Broker(counted_broker) as broker:

        def counts():
            broker.process.stdin.write("\n")
            broker.process.stdin.flush()
            # Log lines come between.
            return [int(word) for word in broker.line("counts ").split()[1:]]
        for name, prepare in cases.items():
            load, requests = broker.load(prepare), 500
            before = counts()
            load.run(requests)
            yield name, *((now - then) / requests for then, now in zip(before, counts()))


def instructions(binary, cases, keep=None):
    """Instructions in user mode a request, by callgrind. `keep` is a directory for the profiles."""
    with Broker(binary, ["valgrind", "--tool=callgrind", "--callgrind-out-file=DIR/callgrind"]) as broker:
        def control(*command):
            subprocess.run(["callgrind_control", *command, str(broker.process.pid)], check=True, capture_output=True)
        broker.client()
        for number, (name, prepare) in enumerate(cases.items(), 1):
            load, requests = broker.load(prepare), 100
            control("-z")
            load.run(requests)
            control("-d", name)
            profile = f"{broker.directory}/callgrind.{number}"
            yield name, Profile(profile).total / requests
            if keep:
                shutil.copy(profile, f"{keep}/{name.replace(' ', '_')}.callgrind")


def copied(binary, cases):
    """Bytes that libc's memcpy and its kin copy in a request, by DHAT: the difference of two runs."""
    for name, prepare in cases.items():
        totals = []
        for requests in (50, 150):
            with Broker(binary, ["valgrind", "--tool=dhat", "--mode=copy", "--dhat-out-file=/dev/null"]) as broker:
                broker.load(prepare).run(requests)
                broker.process.send_signal(signal.SIGTERM)
                broker.process.wait(60)
                total, = re.findall(r"Total:\s+([\d,]+) bytes in", broker.messages())
                totals.append(int(total.replace(",", "")))
        yield name, (totals[1] - totals[0]) / 100
