"""The workloads W1 to W16 that one broker can run, how they are driven, and what issue 6 demands of them.

Sizes are those of one run at scale 1: a gigabyte for the bulk ones, seconds for the others; `--scale` multiplies both.
"""
from compare import Cell
from measures import Measure, cpu_per_gb, cpu_per_request, latency, megabytes, quotient, rate, switches
from starts import w13, w14
from transactions import w9

RECORDS = 1_000_000  # of 1,024 bytes
JAVA_BULK = {"acks": "all", "enable.idempotence": "true", "linger.ms": 5, "batch.size": 131_072, "max.in.flight.requests.per.connection": 5}
RDKAFKA_BULK = {"enable.idempotence": "true", "linger.ms": 5, "batch.size": 131_072, "batch.num.messages": 10_000, "max.in.flight": 5}
LINKEDIN = {"acks": "1", "enable.idempotence": "false", "linger.ms": 0, "batch.size": 8_196, "buffer.memory": 67_108_864}
# What a measure is compared with: the part of `bench_driver floor` and its figure.
FLOORS = {
    "receive + crc32c + append": ("produce_120k", "cpu_seconds_per_gb"), "sendfile": ("sendfile_64k", "cpu_seconds_per_gb"),
    "ping-pong": ("ping_pong_1", "server_cpu_us"), "ping-pong, 5 in flight": ("ping_pong_5", "server_cpu_us"),
    "ping-pong, 16 connections": ("ping_pong_16", "server_cpu_us"), "fdatasync": ("fdatasync_4k", "per_second"),
    "accept": ("accept", "per_second"),
}
RECEIVE_AND_APPEND, SENDFILE, PING_PONG = "receive + crc32c + append", "sendfile", "ping-pong"


def driver(workload, records=None, seconds=None, **parameters):
    """A drive of bench_driver, its records or seconds scaled."""
    def drive(clients, broker, scale, _):
        scaled = {"records": records and max(1000, int(records * scale)), "seconds": seconds and max(0.5, seconds * scale)}
        return clients.driver(broker, workload, **{name: value for name, value in scaled.items() if value}, **parameters)
    return drive


def counted(workload, **parameters):
    return driver(workload, no_read_back=True, **parameters)


def w1():
    return [
        Cell("java", lambda clients, broker, scale, _: clients.java_producer(broker, int(RECORDS * scale), **JAVA_BULK),
             [cpu_per_gb(0.5, floor=RECEIVE_AND_APPEND), megabytes(1.3, 1.6)], client="java", touch_gib=3),
        Cell("librdkafka", lambda clients, broker, scale, _: clients.rdkafka_producer(broker, int(RECORDS * scale), **RDKAFKA_BULK),
             [cpu_per_gb(0.6, floor=RECEIVE_AND_APPEND), megabytes(1.3, 1.6)], client="librdkafka", touch_gib=3),
        Cell("raw", driver("w1", records=RECORDS), [
            cpu_per_gb(0.7, floor=RECEIVE_AND_APPEND), megabytes(1.3, 1.6), switches(), latency("p50"), latency("p99")],
            touch_gib=3, count=counted("w1", records=RECORDS)),
    ]


def w2():
    """LinkedIn's test of 2014 with its own tool, then its sweep over record sizes."""
    def sweep(record_bytes):
        settings = {**LINKEDIN, "batch.size": 128_000}
        return Cell(f"java, {record_bytes} B", lambda clients, broker, scale, _: clients.java_producer(
            broker, max(1, int(min(200e6 / record_bytes, 5e6) * scale)), record_bytes=record_bytes, **settings),
            [cpu_per_gb(), megabytes()], client="java", slow=True, touch_gib=1)
    return [Cell("java, 100 B, batches of 8 KiB", lambda clients, broker, scale, _: clients.java_producer(
        broker, int(3_000_000 * scale), record_bytes=100, **LINKEDIN),
        [cpu_per_gb(0.5), megabytes(1.0, 1.3), Measure("records/s", "/s", quotient("records", "wall_seconds"), True)],
        client="java", touch_gib=1)] + [sweep(size) for size in (10, 100, 1_000, 10_000, 100_000)]


def w3():
    def cell(name, must, floor, **parameters):
        return Cell(name, driver("w3", seconds=5, **parameters), [
            cpu_per_request(must, floor=floor), rate(), latency("p50"), latency("p99"), switches()],
            count=counted("w3", seconds=5, warmup_seconds=0, **parameters))
    small = {"acks": 1, "record_bytes": 100, "linger.ms": 0, "batch.num.messages": 1}
    return [
        cell("in flight 1", 0.5, PING_PONG, connections=1, in_flight=1),
        cell("in flight 5", 0.25, "ping-pong, 5 in flight", connections=1, in_flight=5),
        cell("16 connections", 0.45, "ping-pong, 16 connections", connections=16, in_flight=1),
        Cell("librdkafka, in flight 5", lambda clients, broker, scale, _: clients.rdkafka_producer(
            broker, int(100_000 * scale), partitions=1, **small, **{"max.in.flight": 5}),
            [Measure("broker CPU-µs/record", "µs", quotient("broker_cpu_seconds", "records", 1e6), must=0.25),
             Measure("records/s", "/s", quotient("records", "wall_seconds"), True)], client="librdkafka"),
    ]


def w5():
    def prepare(partitions):
        def filled(clients, broker, scale):
            return clients.fill(broker, int(RECORDS * scale), partitions)[0]
        return filled

    def raw(name, partitions, must, **parameters):
        def drive(clients, broker, _, topic):
            return clients.driver(broker, "w5", topic=topic[broker.name], partitions=partitions, **parameters)
        return Cell(name, drive, [cpu_per_gb(must, floor=SENDFILE), megabytes(), cpu_per_request(), switches()],
                    prepare=prepare(partitions), count=None if parameters.get("cold") else drive)
    return [
        raw("raw, 6 partitions", 6, 0.8),
        raw("raw, 1 partition", 1, 0.8),
        raw("raw, cold", 6, None, cold=True),
        Cell("java", lambda clients, broker, _, topic: clients.java_consumer(broker, topic[broker.name], 6),
             [cpu_per_gb(0.6, floor=SENDFILE), megabytes()], client="java", prepare=prepare(6)),
        Cell("librdkafka", lambda clients, broker, _, topic: clients.rdkafka_consumer(broker, topic[broker.name], 6),
             [cpu_per_gb(floor=SENDFILE), megabytes()], client="librdkafka", prepare=prepare(6)),
    ]


WORKLOADS = {
    "W1": ("bulk produce, records of 1 KiB", w1), "W2": ("LinkedIn's test of 2014", w2), "W3": ("small requests: one record of 100 bytes each", w3),
    "W5": ("catch-up read", w5), "W9": ("transactions", w9), "W13": ("start and idle weight", w13), "W14": ("restart after kill -9", w14),
}
QUICK = ("W1", "W3", "W5")
