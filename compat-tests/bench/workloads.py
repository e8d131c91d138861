"""The workloads W1 to W16 that one broker can run, how they are driven, and what issue 6 demands of them.

Sizes are those of one run at scale 1: a gigabyte for the bulk ones, seconds for the others; `--scale` multiplies both.
"""
from compare import Cell
from measures import Measure, cpu_per_gb, cpu_per_request, latency, megabytes, own, quotient, rate, switches, within
from scaling import MANY_PARTITIONS, laws
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
        Cell("raw as librdkafka", lambda clients, broker, scale, _: clients.agreement(broker, int(RECORDS * scale), **RDKAFKA_BULK), [
            within("raw to rdkafka_performance, same batches and rate: broker CPU", "raw.cpu_per_gb", "librdkafka.cpu_per_gb"),
            own("librdkafka.cpu_per_gb", "CPU-s/GB", name="rdkafka_performance: broker CPU-s/GB"), own("raw.cpu_per_gb", "CPU-s/GB", name="raw: broker CPU-s/GB")],
            client="librdkafka", touch_gib=3),
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
        [cpu_per_gb(), megabytes(), Measure("records/s", "/s", quotient("records", "wall_seconds"), True)],
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
            [Measure("broker CPU-µs/record", "µs", quotient("broker_cpu_seconds", "records", 1e6)),
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


def w4():
    def cell(codec, timestamp_type, must):
        parameters = {"records": RECORDS, "codec": codec, "timestamp_type": timestamp_type}
        return Cell(f"{codec}, {timestamp_type}", driver("w4", **parameters), [
            cpu_per_gb(must, name="broker CPU-s/GB uncompressed"), megabytes(),
            Measure("broker CPU-s/GB compressed", "CPU-s/GB", lambda sample: sample["broker_cpu_seconds"] / sample["measures"]["compressed_bytes"] * 1e9,
                    floor=RECEIVE_AND_APPEND)], touch_gib=1)
    return [cell("lz4", "CreateTime", 0.25), cell("zstd", "CreateTime", 0.2), cell("lz4", "LogAppendTime", 0.25), cell("zstd", "LogAppendTime", 0.2)]


def w6():
    def cell(groups, must, aim):
        return Cell(f"{groups} group{'s' if groups > 1 else ''} at 20 MB/s", driver("w6", seconds=8, groups=groups), [
            cpu_per_gb(must, aim, name="broker CPU-s/GB delivered"), cpu_per_request(name="broker CPU-µs/fetch response"), latency("p50"), latency("p99")])
    return [cell(8, 0.4, 0.25), cell(1, None, None), cell(32, None, None)]


def w7():
    def cell(per_second, must, aim, slow):
        return Cell(f"{per_second:,} messages/s", driver("w7", seconds=10, rate=per_second), [
            latency("p50", must and must[0], aim and aim[0]), latency("p99"), latency("p999", must and must[1], aim and aim[1]),
            own("acknowledged_us.p50", "µs", name="acknowledged p50"), own("client_late_us.p99", "µs", name="the client's own lateness p99"),
            cpu_per_request(name="broker CPU-µs/message")], slow=slow)
    return [cell(1_000, (0.6, 0.25), (0.4, 0.1), False), cell(100, None, None, True), cell(10_000, None, None, True)]


def w8():
    def cell(name, must, connections, partitions):
        return Cell(name, driver("w8", seconds=5, connections=connections, partitions=partitions), [
            rate(must, name="acks/s", floor="fdatasync"), latency("p50"), latency("p99"), cpu_per_request(name="broker CPU-µs/ack")])
    return [cell("64 producers, 1 partition", 6, 64, 1), cell("64 producers, 64 partitions", None, 64, 64),
            cell("8 producers, 1 partition", None, 8, 1), cell("1 producer, 1 partition", None, 1, 1)]


def w10():
    def cell(partitions, fetch):
        return Cell(f"{partitions:,} partitions", driver("w10", seconds=3, partitions=partitions), [
            own("fetch_cpu_us", "µs", fetch, name="fetch, one with news: broker CPU"), own("wake_cpu_us", "µs", name="produce and wake-up: broker CPU"),
            own("wake_us.p50", "µs", name="produce and wake-up: p50"), own("spread_cpu_us", "µs", name="produce over all of them: broker CPU"),
            own("create_seconds", "s", name="creation until all serve, where files were deleted before"),
            own("rss_bytes_at_the_end", "MiB", scale=1 / (1 << 20), name="RSS after")], slow=partitions > 2_000, rounds_max=1 if partitions > 2_000 else None)
    made = Cell("2,000 partitions, made", driver("w10", seconds=1, partitions=2_000), [
        own("create_seconds", "s", 0.05, 0.01, "creation until all serve"), own("create_cpu_seconds", "CPU-s", name="creation: broker CPU")],
        keeps=True, rounds_max=3)
    return [made, cell(6, None), cell(2_000, 0.05), cell(MANY_PARTITIONS, None)]


def w11():
    def cell(idle, slow):
        return Cell(f"{idle:,} idle, 100 active at 1,000/s", driver("w11", seconds=5, idle=idle), [
            latency("p50", name="p50 beside them"), latency("p99", name="p99 beside them"), within("p99 beside them to p99 alone",
            "beside.latency_us.p99", "alone.latency_us.p99", 1.1), own("beside.broker_cpu_us_per_request", "µs", name="broker CPU/request beside them"),
            own("rss_bytes_per_idle_connection", "bytes", name="RSS of an idle connection"), own("idle_cpu_ms_per_second", "ms/s", name="CPU when all are silent"),
            own("connects_per_second", "/s", name="connects/s", more_is_better=True, floor="accept"), own("connect_cpu_us", "µs", name="broker CPU/connect")],
            slow=slow)
    return [cell(1_000, False), cell(10_000, True)]


def w12():
    def phase(key, name, must=None, aim=None):
        return own(f"{key}.seconds", "s", must, aim, name)
    return [
        Cell("a: 500 members", driver("w12a", members=500), [
            phase("all_join", "all join: stable after", 0.5, 0.2), phase("one_leaves", "one leaves: stable after", 0.5, 0.2),
            phase("one_joins", "one joins: stable after", 0.5, 0.2), own("all_join.broker_cpu_seconds", "CPU-s", name="all join: broker CPU")]),
        Cell("b: offset commits", driver("w12b", seconds=5), [
            latency("p50", 0.5), latency("p99"), cpu_per_request(0.25, floor=PING_PONG, name="broker CPU-µs/commit"), rate(name="commits/s")],
            count=driver("w12b", seconds=5, warmup_seconds=0)),
        Cell("c: heartbeats of 1,000 groups", driver("w12c", seconds=5, groups=1_000), [
            cpu_per_request(floor=PING_PONG, name="broker CPU-µs/heartbeat"), latency("p50"), latency("p99")]),
    ]


def w15():
    return [Cell("500 topics, 1 of 1,000 partitions", driver("w15", records=500_000), [
        latency("p50", name="create a topic, p50"), cpu_per_request(name="create a topic: broker CPU-µs"),
        own("create_many_partitions.seconds", "s", name="create 1,000 partitions"), own("describe_all_topics.latency_us.p50", "µs", name="describe all topics, p50"),
        own("describe_all_topics.broker_cpu_us", "µs", name="describe all topics: broker CPU"), own("offset_for_time.latency_us.p50", "µs", name="offset for a time, p50"),
        own("offset_for_time.broker_cpu_us", "µs", name="offset for a time: broker CPU"), own("delete_all.gone_seconds", "s", name="delete all, until gone")],
        rounds_max=2)]


def w16():
    return [Cell("1,000 messages/s beside a cold reader", driver("w16", records=2_000_000, seconds=10), [
        own("beside.latency_us.p50", "µs", name="p50"), own("beside.latency_us.p99", "µs", name="p99"), own("beside.latency_us.p999", "µs", name="p99.9"),
        within("p99 beside the reader to p99 alone", "beside.latency_us.p99", "alone.latency_us.p99"),
        own("cold_mb_per_second", "MB/s", name="cold read", more_is_better=True)], slow=True)]


WORKLOADS = {
    "W1": ("bulk produce, records of 1 KiB", w1), "W2": ("LinkedIn's test of 2014", w2), "W3": ("small requests: one record of 100 bytes each", w3),
    "W4": ("compressed produce, replayed", w4), "W5": ("catch-up read", w5), "W6": ("fan-out to tailing groups", w6),
    "W7": ("end to end at a fixed rate", w7), "W8": ("durable produce: flush.messages=1", w8), "W9": ("transactions", w9),
    "W10": ("many partitions", w10), "W11": ("many connections", w11), "W12": ("groups", w12), "W13": ("start and idle weight", w13),
    "W14": ("restart after kill -9", w14), "W15": ("administration", w15), "W16": ("isolation", w16), "LAWS": ("how costs grow: ratios within one broker", laws),
}
QUICK = ("W1", "W3", "W5")
FIRST = "W10"  # before others delete files: see Cell.keeps
