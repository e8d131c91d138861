"""The laws of growth: each cell drives one broker twice, with little and with much of something, and its figure is the ratio."""
import itertools
import random
import signal
import statistics
import struct
import time
import uuid

import accounting
import topics
from client import string
from clients import Void
from compare import Cell
from measures import own, within
from record_batch import batch
from starts import acknowledged_after

LOOK_UPS, PRODUCES, SMALL_RECORDS, LARGE_RECORDS = 2_000, 2_000, 50_000, 20_000_000
BATCH_RECORDS = 16  # a look-up for one record then returns 16 KiB wherever it is
MANY_PARTITIONS = 9_990  # Apache Kafka creates topics of so many at most
PRODUCER_IDS, SEGMENTS, RESTARTS = 10_000, 10_000, 3
SLICES = 10  # turns of each side


def twice(workload, little, much, kept, **parameters):
    """Two runs of bench_driver, and what is kept of each."""
    def drive(clients, broker, scale, _):
        measures = {}
        for name, size in (("little", little), ("much", much)):
            report = clients.driver(broker, workload, **size, **parameters)
            measures[name] = {key: of(report) for key, of in kept.items()}
        return {"measures": measures, "checked": report["checked"]}
    return drive


def cpu_of(broker, count, once):
    """Broker CPU-µs of one of so many."""
    before = accounting.process_cpu_seconds(broker.pid)
    for number in range(count):
        once(number)
    return (accounting.process_cpu_seconds(broker.pid) - before) / count * 1e6


def fetch_at(client, topic, offset):
    body = struct.pack(">iiiib", -1, 500, 1, 1, 0) + struct.pack(">i", 1) + string(topic) + struct.pack(">iiqi", 1, 0, offset, 1)
    answer = client.call(1, 4, body)
    position = 4 + 4 + 2 + len(topic) + 4
    _, error, _, _, aborted = struct.unpack_from(">ihqqi", answer, position)
    base, = struct.unpack_from(">q", answer, position + 26 + 16 * max(aborted, 0) + 4)
    if error != 0 or not base <= offset < base + BATCH_RECORDS:
        raise Void(f"a fetch at {offset} gives the batch at {base}, error {error}")


def log_size(clients, broker, scale, _):
    """Fetches at random offsets of a log of 50 MB and of one of 20 GB. What they read is in the page cache after the first round."""
    measures, draw = {}, random.Random(5)
    for name, records in (("little", SMALL_RECORDS), ("much", max(SMALL_RECORDS, int(LARGE_RECORDS * scale)))):
        topic, records = clients.fill(broker, records, 1, batch_records=BATCH_RECORDS, config=["segment.bytes=268435456"])
        client = broker.connect()
        offsets = [draw.randrange(records) for _ in range(LOOK_UPS)]
        for offset in offsets:
            fetch_at(client, topic, offset)
        measures[name] = {"fetch_cpu_us": cpu_of(broker, LOOK_UPS, lambda number: fetch_at(client, topic, offsets[number])), "records": records}
        client.socket.close()
    return {"measures": measures, "checked": {"batches_at_their_offsets": 4 * LOOK_UPS}}


def produce(client, topic, records):
    body = struct.pack(">hhii", -1, -1, 60_000, 1) + string(topic) + struct.pack(">iii", 1, 0, len(records)) + records
    answer = client.call(0, 3, body)
    error, offset = struct.unpack_from(">hq", answer, 4 + 2 + len(topic) + 4 + 4)
    if error != 0:
        raise Void(f"a record of a producer was refused with error {error}")
    return offset


def producer_ids(_clients, broker, scale, _):
    """Idempotent produce to a partition that knows one producer, and to one that knows ten thousand; in turns, since what a request
    costs moves by half with the moment on a machine that is not busy."""
    client, sides = broker.connect(), {}
    known = [struct.unpack_from(">ihqh", client.call(22, 0, struct.pack(">hi", -1, 60_000)))[2] for _ in range(int(PRODUCER_IDS * scale))]
    def side(ids):
        topic, sent, turn = f"bench-{uuid.uuid4()}", dict.fromkeys(ids, 0), itertools.cycle(ids)
        topics.create(client, topic, 1)

        def once(_):
            producer = next(turn)
            records = batch([b"x" * 100], producer_id=producer, producer_epoch=0, sequence=sent[producer], base_timestamp=int(time.time() * 1000))
            sent[producer] += 1
            return produce(client, topic, records)
        return topic, sent, once

    for name, ids in (("little", known[:1]), ("much", known)):
        sides[name] = side(ids)
        for number in range(max(len(ids), PRODUCES // SLICES)):
            sides[name][2](number)
    slices = {name: [] for name in sides}
    for number in range(SLICES):
        for name in sorted(sides, reverse=number % 2 == 1):
            slices[name].append(cpu_of(broker, PRODUCES // SLICES, sides[name][2]))
    for topic, sent, _ in sides.values():
        if topics.end_offsets(client, topic, 1) != [sum(sent.values())]:
            raise Void("not every acknowledged record is there")
    client.socket.close()
    measures = {name: {"produce_cpu_us": statistics.median(slices[name]), "ids": len(sides[name][1])} for name in sides}
    return {"measures": measures, "checked": {"records": 2 * PRODUCES}}


def segments(_clients, running, scale, _):
    """Starts, clean and after kill -9, with one segment and with ten thousand; RSS of each."""
    broker, count, measures = running.another(), max(10, int(SEGMENTS * scale)), {}

    def starts(how):
        times = []
        for _ in range(RESTARTS):
            broker.stop(how)
            times.append(acknowledged_after(broker))
        return sorted(times)[RESTARTS // 2]

    def figures():
        return {"start_ms": starts(signal.SIGTERM), "rss_bytes": accounting.memory_bytes(broker.pid), "killed_ms": starts(signal.SIGKILL)}

    try:
        broker.start()
        broker.connect().produce_until_acknowledged("start")
        measures["little"] = figures()
        client, topic, base = broker.connect(), "many-segments", int(time.time() * 1000) - 10 * count
        topics.create(client, topic, 1, [("segment.ms", "1"), ("retention.ms", "-1")])
        for number in range(count):
            produce(client, topic, batch([b"x" * 100], base_timestamp=base + 10 * number))
        measures["much"] = figures()
        client = broker.connect()
        if topics.end_offsets(client, topic, 1) != [count]:
            raise Void("not every acknowledged record is there after the restarts")
        measures["bytes_each"] = max(0, measures["much"]["rss_bytes"] - measures["little"]["rss_bytes"]) / count
        return {"measures": measures, "checked": {"records_after_restarts": count}}
    finally:
        broker.remove()


def cpu_us(report):
    return report["broker_cpu_seconds"] / report["requests"] * 1e6


def laws():
    partitions = {key: (lambda report, key=key: report["measures"][key]) for key in ("fetch_cpu_us", "wake_cpu_us", "spread_cpu_us")}
    return [
        Cell(f"6 → {MANY_PARTITIONS:,} partitions", twice("w10", {"partitions": 6}, {"partitions": MANY_PARTITIONS}, partitions, seconds=3), [
            within("fetch, one with news", "much.fetch_cpu_us", "little.fetch_cpu_us", 1.2), within("wake-up", "much.wake_cpu_us", "little.wake_cpu_us", 1.2),
            within("produce over all of them", "much.spread_cpu_us", "little.spread_cpu_us", 1.15)], slow=True, rounds_max=1),
        Cell("1 → 1,000 groups", twice("w12c", {"groups": 1}, {"groups": 1_000}, {"cpu_us": cpu_us}, seconds=3), [
            within("heartbeat", "much.cpu_us", "little.cpu_us", 1.2)], slow=True, rounds_max=1),
        Cell("50 MB → 20 GB of log, offset", log_size, [
            within("fetch at an offset", "much.fetch_cpu_us", "little.fetch_cpu_us", 1.2), own("much.fetch_cpu_us", "µs", name="broker CPU/fetch, much")],
            slow=True, rounds_max=1),
        Cell("50 MB → 5 GB of log, time", twice("w15", {"records": 50_000}, {"records": 5_000_000}, {
            "cpu_us": lambda report: report["measures"]["offset_for_time"]["broker_cpu_us"]}, topics=1, partitions=1), [
            within("offset for a time", "much.cpu_us", "little.cpu_us", 1.2)], slow=True, rounds_max=1),
        Cell("1 → 10,000 producer ids", producer_ids, [
            within("idempotent produce", "much.produce_cpu_us", "little.produce_cpu_us", 1.2)], slow=True, rounds_max=1),
        Cell("1 → 10,000 segments", segments, [
            within("start", "much.start_ms", "little.start_ms"), within("start after kill -9", "much.killed_ms", "little.killed_ms"),
            own("much.start_ms", "ms", name="start, many"), own("bytes_each", "bytes", name="RSS of a sealed segment")], slow=True, rounds_max=1, own_broker=True),
    ]
