"""W13 and W14: what a start costs, on an empty disk and after kill -9. Each run has a broker of its own."""
import os
import signal
import statistics
import struct
import time

import accounting
import topics
from client import string
from clients import Void
from compare import Cell
from measures import own

STARTS = 3  # a run
TOPICS, PARTITIONS = 1000, 10
SETTLE_SECONDS, IDLE_SECONDS, FETCH_SECONDS_MAX = 2, 10, 300
# Apache Kafka's controller first waits for the session of the broker that was killed, 9 s by default: not what is compared here.
SHORT_SESSIONS = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}


def acknowledged_after(broker):
    """Milliseconds from exec to the first acknowledged record: Metadata with automatic creation, Produce with acks=all."""
    began = time.perf_counter()
    broker.launch()
    client = broker.connect()
    client.produce_until_acknowledged("start")
    elapsed = (time.perf_counter() - began) * 1000
    client.socket.close()
    return elapsed


def start(_clients, running, scale, _prepared):
    """A directory that was started and stopped before, so that neither side formats it; then what the broker weighs when nobody talks to it."""
    broker = running.another()
    try:
        broker.start().stop()
        times = []
        for number in range(STARTS):
            times.append(acknowledged_after(broker))
            if number + 1 < STARTS:
                broker.stop()
        time.sleep(SETTLE_SECONDS)
        seconds = max(2, IDLE_SECONDS * scale)
        before = accounting.process_cpu_seconds(broker.pid)
        time.sleep(seconds)
        idle = accounting.process_cpu_seconds(broker.pid) - before
        measures = {"first_ack_ms": statistics.median(times), "idle_rss_mib": accounting.memory_bytes(broker.pid) / (1 << 20),
                    "idle_cpu_percent": idle / seconds * 100}
        if hasattr(broker, "binary"):
            measures["binary_mb"] = os.path.getsize(broker.binary) / 1e6
        return {"measures": measures, "checked": {"acknowledged_records": STARTS}}
    finally:
        broker.remove()


def many_partitions(_clients, running, scale, _prepared):
    """Topics of ten partitions: how long their creation takes, what the broker weighs then, and a start with them."""
    broker, count = running.another(), max(1, int(TOPICS * scale))
    try:
        client = broker.start().connect(timeout=600)
        client.produce_until_acknowledged("start")
        empty = accounting.memory_bytes(broker.pid)
        names = [f"topic-{index:05}" for index in range(count)]
        began = time.perf_counter()
        for first in range(0, count, 100):
            some = names[first:first + 100]
            wanted = b"".join(string(name) + struct.pack(">ihii", PARTITIONS, 1, 0, 0) for name in some)
            answer = client.call(19, 2, struct.pack(">i", len(some)) + wanted + struct.pack(">i?", 600_000, False))
            if answer.count(b"topic-") != len(some):
                raise Void("not all topics were created")
        while any(topics.end_offsets(client, name, PARTITIONS) is None for name in names):
            time.sleep(0.05)
        created = time.perf_counter() - began
        time.sleep(SETTLE_SECONDS)
        resident = accounting.memory_bytes(broker.pid)
        broker.stop()
        again = acknowledged_after(broker)
        found = sum(name.startswith("topic-") for name in topics.names(broker.connect()))
        if found != count:
            raise Void(f"{count} topics were created, {found} are there after a restart")
        return {"measures": {"create_s": created, "resident_mib": resident / (1 << 20), "bytes_each": max(0, resident - empty) / (count * PARTITIONS),
                             "restart_ms": again}, "checked": {"topics_after_restart": found}}
    finally:
        broker.remove()


def fetch_last(client, topic, offset):
    """Whether a Fetch at this offset gives the batch that holds it."""
    body = struct.pack(">iiiib", -1, 500, 1, 1 << 20, 0) + struct.pack(">i", 1) + string(topic) + struct.pack(">iiqi", 1, 0, offset, 1 << 20)
    answer = client.call(1, 4, body)
    position = 4 + 4 + 2 + len(topic) + 4
    _, error, _, _, aborted = struct.unpack_from(">ihqqi", answer, position)
    position += 26 + 16 * max(aborted, 0)
    length, = struct.unpack_from(">i", answer, position)
    if error != 0 or length < 61:
        return False
    base, = struct.unpack_from(">q", answer, position + 4)
    last_delta, = struct.unpack_from(">i", answer, position + 4 + 23)
    return base <= offset <= base + last_delta


def recover(clients, running, scale, _prepared):
    """kill -9 with two gigabytes in one partition; time from exec until its last acknowledged record can be fetched."""
    broker = running.another(SHORT_SESSIONS if running.name == "Apache Kafka" else {})
    try:
        broker.start()
        topic, records = clients.fill(broker, int(2_000_000 * scale), 1)
        broker.stop(signal.SIGKILL)
        began = time.perf_counter()
        broker.launch()
        open_after = fetched_after = None
        while fetched_after is None:
            try:
                client = broker.connect()
                open_after = open_after or time.perf_counter() - began
                while not fetch_last(client, topic, records - 1):
                    if time.perf_counter() - began > FETCH_SECONDS_MAX:
                        raise Void(f"record {records - 1} of {topic} could not be fetched within {FETCH_SECONDS_MAX} s")
                    time.sleep(0.002)
                fetched_after = time.perf_counter() - began
            except ConnectionError:
                time.sleep(0.002)
        cpu = accounting.process_cpu_seconds(broker.pid)
        checked = clients.read_back(broker, topic, 1, records)
        return {"measures": {"last_record_ms": fetched_after * 1000, "port_open_ms": open_after * 1000, "cpu_seconds": cpu}, "checked": checked}
    finally:
        broker.remove()


def w13():
    return [Cell("start", start, [
        own("first_ack_ms", "ms", 0.02, 0.006, "exec to first acknowledged record"), own("idle_rss_mib", "MiB", 0.032, 0.021, "idle RSS"),
        own("idle_cpu_percent", "% of a core", 0.05, 0.01, "idle CPU"), own("binary_mb", "MB", name="binary")], own_broker=True),
        Cell("10,000 partitions", many_partitions, [
            own("create_s", "s", name="creation until all have leaders"), own("restart_ms", "ms", name="restart to first acknowledged record"),
            own("resident_mib", "MiB", name="RSS"), own("bytes_each", "bytes", name="RSS of a partition")], slow=True, own_broker=True)]


def w14():
    return [Cell("kill -9 with 2 GB", recover, [
        own("last_record_ms", "ms", 0.2, name="exec to last acknowledged record"), own("port_open_ms", "ms", name="exec to open port"),
        own("cpu_seconds", "CPU-s", name="CPU until then")], slow=True, own_broker=True)]
