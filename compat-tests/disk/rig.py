"""What the tests of failing disks share: file systems in files, a broker in the foreground of a fault, a client that sees error codes."""
import atexit
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "raw"))
from client import BINARY, Client, string  # noqa: E402
from record_batch import batch  # noqa: E402

from confluent_kafka import Consumer, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # noqa: E402

WORK = os.environ["OTTLA_DISK_WORK"]
STORAGE_ERROR = 56  # KAFKA_STORAGE_ERROR: clients repeat
# A write whose fate nobody knows, or that was refused in a way that clients repeat.
REFUSALS = {5, 6, 7, STORAGE_ERROR}
SKIPPED = 77
PORTS = iter(range(22_000 + os.getpid() % 5_000, 32_000))


def shell(*command, check=True):
    environment = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
    return subprocess.run(command, check=check, capture_output=True, text=True, env=environment)


def skip(why):
    print("SKIPPED:", why)
    sys.exit(SKIPPED)


def free_port():
    """Below the ports that the kernel gives to clients: nobody takes it while the broker is down."""
    for port in PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise SystemExit("no free port")


def loop_disk(name, mebibytes):
    """A mounted ext4 of a file; the runner unmounts what is left."""
    image, path = f"{WORK}/{name}.img", f"{WORK}/{name}"
    os.makedirs(path)
    with open(image, "wb") as file:
        file.truncate(mebibytes << 20)
    try:
        shell("mkfs.ext4", "-q", "-F", "-m", "0", image)
        shell("mount", "-o", "loop", image, path)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        skip(f"no file system can be mounted here: {getattr(error, 'stderr', error)}")
    return path


def until(what, ready, seconds=30, pause=0.05):
    """Waits until `ready()` is true; returns how long that took."""
    started = time.monotonic()
    while True:
        found = ready()
        if found:
            return time.monotonic() - started
        assert time.monotonic() - started < seconds, f"waited {seconds} s for {what}"
        time.sleep(pause)


class Broker:
    def __init__(self, *directories, overrides=(), prefix=()):
        self.port = free_port()
        self.directories = [os.path.join(directory, "data") for directory in directories]
        self.log_path = tempfile.mktemp(prefix="broker.", suffix=".log", dir=WORK)
        # Those that every test here wants.
        self.overrides = ["listeners=PLAINTEXT://127.0.0.1:%d" % self.port, "log.dirs=" + ",".join(self.directories),
                          "auto.create.topics.enable=false", "log.retention.check.interval.ms=500", "log.segment.delete.delay.ms=500",
                          "offsets.topic.num.partitions=4", *overrides]
        self.prefix = list(prefix)
        self.process = None
        atexit.register(self.kill)

    def spawn(self):
        command = [*self.prefix, BINARY]
        for entry in self.overrides:
            command += ["--override", entry]
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def start(self):
        self.spawn()
        until("the broker", self.answers)
        return self

    def answers(self):
        assert self.process.poll() is None, f"the broker ended with {self.process.returncode}: {self.output()[-2000:]}"
        try:
            Client(self.port, timeout=5).call(18, 0, b"")
            return True
        except OSError:
            return False

    def client(self):
        return Client(self.port, timeout=30)

    def admin(self):
        return AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})

    def create(self, topic, partitions=1, **settings):
        config = {key.replace("_", "."): value for key, value in settings.items()}
        admin = self.admin()
        for future in admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
            future.result(30)

    def delete(self, topic):
        admin = self.admin()
        for future in admin.delete_topics([topic]).values():
            future.result(30)

    def configure(self, topic, **settings):
        config = {key.replace("_", "."): value for key, value in settings.items()}
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, set_config=config)
        admin = self.admin()
        for future in admin.alter_configs([resource]).values():
            future.result(30)

    def consumer(self, group="check"):
        return Consumer({"bootstrap.servers": f"127.0.0.1:{self.port}", "group.id": group, "enable.auto.commit": False,
                         "auto.offset.reset": "error", "check.crcs": True, "log_level": 0, "fetch.wait.max.ms": 50})

    def read(self, topic, partition=0):
        """Every record, by offset."""
        consumer = self.consumer()
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        consumer.assign([TopicPartition(topic, partition, low)])
        records, deadline = {}, time.monotonic() + 60
        while low + len(records) < high:
            assert time.monotonic() < deadline, f"{topic}-{partition}: {len(records)} of {low} to {high}"
            for record in consumer.consume(1000, 0.2):
                assert record.error() is None, record.error()
                assert record.offset() == low + len(records), f"{record.offset()} follows {low + len(records) - 1}"
                records[record.offset()] = record.value()
        consumer.close()
        return records

    def commit(self, group, topic, offset):
        """Whether the commit was answered within ten seconds."""
        def attempt():
            consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
            done.set()
        consumer, done = self.consumer(group), threading.Event()
        threading.Thread(target=attempt, daemon=True).start()
        return done.wait(10)

    def committed(self, group, topic):
        return self.consumer(group).committed([TopicPartition(topic, 0)], timeout=20)[0].offset

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def output(self):
        return open(self.log_path).read()

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, f"the broker ended with {self.process.returncode}: {self.output()[-2000:]}"
        assert "panicked" not in self.output(), self.output()[-4000:]

    def ended(self, seconds=20):
        """Waits until the process ends by itself; its status."""
        status = self.process.wait(seconds)
        assert "panicked" not in self.output(), self.output()[-4000:]
        return status


def produce(client, topic, records, partition=0, acks=-1):
    """Produce v3 of a batch; its error code and offset."""
    body = struct.pack(">hhii", -1, acks, 10_000, 1) + string(topic) + struct.pack(">iii", 1, partition, len(records)) + records
    answer = client.call(0, 3, body)
    _, error, offset = struct.unpack(">ihq", answer[4 + 2 + len(topic) + 4:][:14])
    return error, offset


def one(value):
    return batch([value], base_timestamp=int(time.time() * 1000))


class Writers:
    """Threads that write numbered records until they are stopped, and what was acknowledged: {(topic, partition): {offset: value}}."""

    def __init__(self, broker, places, pause=0.001):
        self.acknowledged, self.refused, self.lock = {place: {} for place in places}, [], threading.Lock()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(broker, place, pause), daemon=True) for place in places]
        for thread in self.threads:
            thread.start()

    def write(self, broker, place, pause):
        client, number = None, 0
        while not self.stopped.is_set():
            number += 1
            value = b"%d-%d" % (threading.get_ident(), number)
            try:
                client = client or broker.client()
                error, offset = produce(client, place[0], one(value), place[1])
            except OSError as gone:
                client = None
                with self.lock:
                    self.refused.append((place, repr(gone), time.monotonic()))
                self.stopped.wait(0.05)
                continue
            with self.lock:
                if error == 0:
                    self.acknowledged[place][offset] = value
                else:
                    self.refused.append((place, error, time.monotonic()))
            self.stopped.wait(pause if error == 0 else 0.05)

    def count(self, place):
        with self.lock:
            return len(self.acknowledged[place])

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(40)


def check_acknowledged(broker, acknowledged):
    total = 0
    for (topic, partition), records in acknowledged.items():
        found = broker.read(topic, partition)
        for offset, value in records.items():
            assert found.get(offset) == value, f"{topic}-{partition}: {value} was acknowledged at {offset}, {found.get(offset)} is there"
        total += len(records)
    return total
