"""The brokers that are compared: this Ottla, another binary of it, Apache Kafka. Each keeps its directory over restarts."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "raw"))
from client import BINARY, Client  # noqa: E402
from ports import free_port  # noqa: E402

APACHE_KAFKA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools", "apache-kafka")
# The same for everyone: groups need not wait, and what a run leaves behind is deleted before the next one is measured.
SETTINGS = {"group.initial.rebalance.delay.ms": "0", "log.segment.delete.delay.ms": "500"}
START_SECONDS_MAX, STOP_SECONDS_MAX = 120, 120


class Broker:
    """A broker process in a directory of its own; `pid` and `bootstrap` are those of the process that runs now."""

    def __init__(self, settings=None):
        self.settings = {**SETTINGS, **(settings or {})}
        self.directory = tempfile.mkdtemp(prefix="ottla-bench.", dir=os.environ.get("BENCH_DIR"))
        # An ext4 puts what is below into block groups of its own, where nobody has deleted files just now; others know no such thing.
        subprocess.run(["chattr", "+T", self.directory], stderr=subprocess.DEVNULL, check=False)
        self.port = int(os.environ["BENCH_PORT"]) if "BENCH_PORT" in os.environ else free_port()
        if "BENCH_PORT" in os.environ:
            os.environ["BENCH_PORT"] = str(self.port + 2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def launch(self):
        """Starts the process and does not wait."""
        self.log = open(self.directory + "/log", "a")
        self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def connect(self, timeout=60):
        """A raw client, as soon as the port is open."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                return Client(self.port, timeout=timeout)
            except ConnectionRefusedError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{self.name} did not start:\n{self.last_words()}")
                time.sleep(0.001)

    def start(self):
        self.launch()
        self.connect().socket.close()
        return self

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(STOP_SECONDS_MAX)
        self.process = None
        if "panicked" in self.last_words(1 << 20):
            raise SystemExit(f"{self.name} panicked: see {self.directory}/log")

    def remove(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def another(self, settings=None):
        """A broker of the same kind in a directory of its own, not started."""
        return type(self)(settings=settings)

    def last_words(self, count=3000):
        with open(self.directory + "/log", errors="replace") as file:
            return file.read()[-count:]


class Ottla(Broker):
    def __init__(self, binary=BINARY, name="Ottla", settings=None):
        super().__init__(settings)
        self.binary, self.name = binary, name

    def command(self):
        overrides = {"listeners": f"PLAINTEXT://{self.bootstrap}", **self.settings}
        return [self.binary, "--data", self.directory + "/data"] + [
            word for key, value in overrides.items() for word in ("--override", f"{key}={value}")]

    def another(self, settings=None):
        return Ottla(self.binary, self.name, settings)

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True).stdout.strip()


class Kafka(Broker):
    """Apache Kafka 4.3, one combined node with the settings of its official image (a heap of 1 GiB)."""
    name = "Apache Kafka"

    def __init__(self, settings=None):
        super().__init__(settings)
        self.argv = None

    def command(self):
        if self.argv is None:  # the script formats the directory and knows the command line; from then on we start the process
            words = [f"{key}={value}" for key, value in self.settings.items()]
            subprocess.run([APACHE_KAFKA, "start", self.directory, str(self.port), *words], check=True)
            with open(self.directory + "/pid") as file:
                pid = file.read().strip()
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                self.argv = file.read().split(b"\0")[:-1]
            subprocess.run([APACHE_KAFKA, "stop", self.directory], check=True)
        return self.argv

    def version(self):
        return "Apache Kafka " + os.environ.get("KAFKA_VERSION", "4.3.0")


def kinds(against):
    """Constructors of the two sides: Ottla, and what it is compared with (`kafka`, `none` or the path of another binary)."""
    if against == "none":
        return [Ottla]
    if against == "kafka":
        return [Ottla, Kafka]
    if not os.access(against, os.X_OK):
        raise SystemExit(f"{against} is not a program")
    return [Ottla, lambda settings=None: Ottla(os.path.abspath(against), "Other", settings)]
