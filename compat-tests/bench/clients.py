"""The load: our raw driver and the official clients, each under the meter, each run checked by reading everything back.

A run is a `dict` with the names of bench_driver's report: wall_seconds, requests, records, bytes, broker_cpu_seconds,
voluntary_switches, involuntary_switches, rss_bytes, latency_us, measures, checked; what a client cannot tell is missing.
"""
import glob
import json
import os
import re
import signal
import struct
import subprocess
import tempfile
import time
import uuid

import topics
from accounting import Meter

RUN_SECONDS_MAX = 600
ATTACH_SECONDS = 0.5  # perf to a JVM of some hundred threads
SYSTEM_CALLS = "raw_syscalls:sys_enter"


def batches_of(directory, topic):
    """How many batches a topic has, by the headers in a broker's files."""
    count = 0
    for path in glob.glob(f"{directory}/**/{topic}-*/*.log", recursive=True):
        with open(path, "rb") as log:
            while len(head := log.read(12)) == 12 and (length := struct.unpack_from(">i", head, 8)[0]) > 0:
                log.seek(length, os.SEEK_CUR)
                count += 1
    return count


class Void(Exception):
    """A run whose figures do not count: the client failed, or not everything that was acknowledged was read back."""


def run(command, seconds=RUN_SECONDS_MAX, environment=None):
    """Standard output of a client that must succeed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env={**os.environ, **(environment or {})})
    except subprocess.TimeoutExpired as error:
        raise Void(f"{command[0]} was not done after {seconds} s") from error
    if done.returncode != 0:
        raise Void(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-2000:]}")
    return done.stdout


class Clients:
    """Where the programs are. `java` and `rdkafka_performance` are looked for when they are first used."""

    def __init__(self, driver, rdkafka_performance, apache_kafka):
        self.bench_driver, self.rdkafka_performance, self.apache_kafka = driver, rdkafka_performance, apache_kafka
        self.payloads = {}
        self._classpath = self._can_count = None

    @property
    def classpath(self):
        if self._classpath is None:
            self._classpath = run([self.apache_kafka, "classpath"]).strip()
        return self._classpath

    def driver(self, broker, workload, **parameters):
        """One run of bench_driver. True is a flag, False and None are left out, a list repeats its option."""
        command = [self.bench_driver, workload]
        if broker is not None:
            command += ["--bootstrap", broker.bootstrap, "--broker-pid", str(broker.pid)]
        for name, value in parameters.items():
            option = "--" + name.replace("_", "-")
            if value is True:
                command.append(option)
            elif isinstance(value, (list, tuple)):
                command += [word for one in value for word in (option, str(one))]
            elif value is not None and value is not False:
                command += [option, str(value)]
        try:
            return json.loads(run(command))
        except json.JSONDecodeError as error:
            raise Void(f"{' '.join(command)}\nprinted no JSON object: {error}") from error

    @property
    def can_count(self):
        """Whether the kernel lets us count system calls of another process."""
        if self._can_count is None:
            try:
                done = subprocess.run(["perf", "stat", "-x,", "-e", SYSTEM_CALLS, "true"], capture_output=True, text=True, timeout=20)
                self._can_count = done.returncode == 0 and "not" not in done.stderr
            except OSError:
                self._can_count = False
        return self._can_count

    def counting(self, broker, drive):
        """A run with the system calls that the broker made a request."""
        with tempfile.NamedTemporaryFile("r") as counts:
            counter = subprocess.Popen(["perf", "stat", "-x,", "-o", counts.name, "-e", SYSTEM_CALLS, "-p", str(broker.pid)],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                time.sleep(ATTACH_SECONDS)
                sample = drive()
            finally:
                counter.send_signal(signal.SIGINT)
                counter.wait(20)
            calls = [line.split(",")[0] for line in counts.read().splitlines() if SYSTEM_CALLS in line]
        if calls and calls[0].isdigit() and sample.get("requests"):
            sample["system_calls_per_request"] = int(calls[0]) / sample["requests"]
        return sample

    def new_topic(self, broker, partitions, configs=()):
        name = f"bench-{uuid.uuid4()}"
        client = broker.connect()
        topics.create(client, name, partitions, configs)
        client.socket.close()
        return name

    def fill(self, broker, records, partitions, **parameters):
        """A topic that bench_driver wrote and left behind: its name and its records."""
        client = broker.connect()
        before = set(topics.names(client))
        self.driver(broker, "w1", records=records, partitions=partitions, no_read_back=True, **parameters)
        topic, = set(topics.names(client)) - before
        client.socket.close()
        return topic, self.count(broker, topic, partitions)

    def count(self, broker, topic, partitions):
        """Records that a topic holds."""
        client = broker.connect()
        ends = topics.end_offsets(client, topic, partitions)
        client.socket.close()
        return sum(ends)

    def read_back(self, broker, topic, partitions, records):
        """The gate of official producers: the log has exactly what was acknowledged, and all of it can be read with checksums."""
        client = broker.connect()
        ends = topics.end_offsets(client, topic, partitions)
        client.socket.close()
        if ends is None or sum(ends) != records:
            raise Void(f"{records} records were acknowledged, the partitions of {topic} end at {ends}")
        report = self.driver(broker, "w5", topic=topic, partitions=partitions, check_crcs=True)
        if report["records"] != records:
            raise Void(f"{records} records were acknowledged, {report['records']} were read from {topic}")
        return {"records": records, "by": "bench_driver w5 --check-crcs"}

    def payload_file(self, record_bytes):
        """A hundred records of printable random bytes: kafka-producer-perf-test's own payload costs a random number per byte."""
        if record_bytes not in self.payloads:
            file = tempfile.NamedTemporaryFile("w", prefix="ottla-bench-payload.", suffix=".txt")
            alphabet = bytes(range(48, 112)).decode()
            for _ in range(100):
                file.write("".join(alphabet[byte & 63] for byte in os.urandom(record_bytes)) + "\n")
            file.flush()
            self.payloads[record_bytes] = file
        return self.payloads[record_bytes].name

    def java(self, tool, arguments):
        return run([self.apache_kafka, "tool", tool, *arguments], environment={"KAFKA_TOOL_HEAP_OPTS": "-Xms512M -Xmx512M"})

    def java_producer(self, broker, records, record_bytes=1024, partitions=6, **properties):
        """kafka-producer-perf-test. Wall time is its own (from the first to the last record), CPU that of its whole life."""
        topic = self.new_topic(broker, partitions)
        settings = {"bootstrap.servers": broker.bootstrap, "compression.type": "none", **properties}
        with Meter(broker.pid) as meter:
            output = self.java("kafka-producer-perf-test.sh", [
                "--topic", topic, "--num-records", str(records), "--throughput", "-1", "--payload-file", self.payload_file(record_bytes),
                "--command-property", *(f"{name}={value}" for name, value in settings.items())])
        summary = re.findall(r"(\d+) records sent, ([\d.]+) records/sec .* (\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th, (\d+) ms 99.9th", output)
        if not summary or int(summary[-1][0]) != records:
            raise Void(f"kafka-producer-perf-test sent less than {records} records: {output[-500:]}")
        sample = meter.sample()
        sample.update(wall_seconds=records / float(summary[-1][1]), records=records, bytes=records * record_bytes, noise=meter.foreign_share(),
                      checked=self.read_back(broker, topic, partitions, records))
        return sample

    def java_consumer(self, broker, topic, partitions, record_bytes=1024):
        """kafka-consumer-perf-test; wall time is its fetch time, without the three seconds of joining a group."""
        records = self.count(broker, topic, partitions)
        with Meter(broker.pid) as meter:
            output = self.java("kafka-consumer-perf-test.sh", [
                "--bootstrap-server", broker.bootstrap, "--topic", topic, "--num-records", str(records), "--fetch-size", "1048576",
                "--group", f"bench-{uuid.uuid4()}", "--hide-header", "--timeout", "60000"])
        fields = output.strip().splitlines()[-1].split(", ")
        if int(fields[4]) < records:
            raise Void(f"kafka-consumer-perf-test read {fields[4]} of {records} records")
        sample = meter.sample()
        sample.update(wall_seconds=int(fields[7]) / 1000, records=int(fields[4]), bytes=int(fields[4]) * record_bytes,
                      noise=meter.foreign_share(), checked={"records": int(fields[4])})
        return sample

    def rdkafka(self, arguments, **properties):
        settings = [word for name, value in properties.items() for word in ("-X", f"{name}={value}")]
        return run([self.rdkafka_performance, *arguments, *settings])

    def rdkafka_producer(self, broker, records, record_bytes=1024, partitions=6, acks=-1, **properties):
        """librdkafka's rdkafka_performance -P."""
        topic = self.new_topic(broker, partitions)
        with Meter(broker.pid) as meter:
            output = self.rdkafka(["-P", "-t", topic, "-b", broker.bootstrap, "-s", str(record_bytes), "-c", str(records), "-a", str(acks)],
                                  **{"compression.codec": "none", "queue.buffering.max.messages": 500_000, **properties})
        found = re.findall(r"(\d+) delivered \(offset -?\d+, (\d+) failed\) in (\d+)ms", output)
        if not found or (int(found[-1][0]), int(found[-1][1])) != (records, 0):
            raise Void(f"rdkafka_performance delivered less than {records} records: {output[-500:]}")
        sample = meter.sample()
        sample.update(wall_seconds=int(found[-1][2]) / 1000, records=records, bytes=records * record_bytes, noise=meter.foreign_share(),
                      topic=topic, checked=self.read_back(broker, topic, partitions, records))
        return sample

    def agreement(self, broker, records, record_bytes=1024, partitions=6, **properties):
        """rdkafka_performance, and then our driver with what that turned out to send: as many records a batch, one batch a request, as many
        requests a second, one connection, an idempotent producer, acks=all."""
        official = self.rdkafka_producer(broker, records, record_bytes, partitions, **properties)
        batches = batches_of(broker.directory, official["topic"])
        if batches == 0:
            raise Void(f"no batch of {official['topic']} was found below {broker.directory}")
        own = self.driver(broker, "w1", records=records, record_bytes=record_bytes, partitions=partitions,
                          batch_records=max(1, round(records / batches)), rate=batches / official["wall_seconds"])
        of = lambda run: {"cpu_per_gb": run["broker_cpu_seconds"] / run["bytes"] * 1e9, "seconds": run["wall_seconds"]}  # noqa: E731
        return {"measures": {"librdkafka": {**of(official), "batches": batches}, "raw": {**of(own), "batches": own["requests"]}},
                "checked": {"librdkafka": official["checked"], "raw": own["checked"]}}

    def rdkafka_consumer(self, broker, topic, partitions):
        """librdkafka's rdkafka_performance -C, without a group."""
        records = self.count(broker, topic, partitions)
        chosen = [word for index in range(partitions) for word in ("-p", str(index))]
        with Meter(broker.pid) as meter:
            output = self.rdkafka(["-C", "-t", topic, *chosen, "-b", broker.bootstrap, "-c", str(records), "-o", "beginning"],
                                  **{"fetch.message.max.bytes": 1_048_576, "check.crcs": "false"})
        found = re.findall(r"(\d+) messages \((\d+) bytes\) consumed in (\d+)ms", output)
        if not found or int(found[-1][0]) < records:
            raise Void(f"rdkafka_performance read less than {records} records: {output[-500:]}")
        sample = meter.sample()
        sample.update(wall_seconds=int(found[-1][2]) / 1000, records=int(found[-1][0]), bytes=int(found[-1][1]),
                      noise=meter.foreign_share(), checked={"records": int(found[-1][0])})
        return sample
