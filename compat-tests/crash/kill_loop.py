"""An idempotent acks=all producer writes on while its broker is killed with SIGKILL and restarted again and again.

    crash/run [--kills N] [--seed S]

Afterwards every acknowledged record must stand at the offset that was acknowledged, once, each partition in the order sent,
and nothing that was never sent may be there.
"""
import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from confluent_kafka import Consumer, Producer, TopicPartition

PARTITIONS = 4
TOPIC = "crash"


class Broker:
    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.directory = tempfile.mkdtemp(prefix="ottla-crash.")
        self.log = open(self.directory + "/log", "w")
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [os.environ["OTTLA_BIN"], "--data", self.directory + "/data", "--topic", f"{TOPIC}:{PARTITIONS}:segment.bytes=1048576",
             "--override", f"listeners=PLAINTEXT://127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                assert self.process.poll() is None, "the broker ended: see " + self.directory
                assert time.monotonic() < deadline, "the broker did not open its port"
                time.sleep(0.005)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0
        shutil.rmtree(self.directory)


def produce_under_kills(broker, kills, chance):
    sent = [[] for _ in range(PARTITIONS)]
    acknowledged, failed = {}, []

    def delivered(error, record):
        if error:
            failed.append(error)
            return
        key = record.partition(), record.offset()
        assert key not in acknowledged, f"{key} acknowledged twice"
        acknowledged[key] = record.value()

    producer = Producer({"bootstrap.servers": f"127.0.0.1:{broker.port}", "enable.idempotence": True, "linger.ms": 1,
                         "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20,
                         "message.timeout.ms": 120_000, "log_level": 0})
    for round_number in range(kills):
        kill_at = time.monotonic() + chance.uniform(0.05, 0.5)
        acknowledged_before = len(acknowledged)
        while time.monotonic() < kill_at or len(acknowledged) == acknowledged_before:
            partition = chance.randrange(PARTITIONS)
            value = b"%d-%d-" % (partition, len(sent[partition])) + b"x" * chance.randrange(300)
            try:
                producer.produce(TOPIC, value, partition=partition, on_delivery=delivered)
                sent[partition].append(value)
            except BufferError:
                producer.poll(0.05)
            producer.poll(0)
        broker.kill()
        broker.start()
    assert producer.flush(60) == 0, "records without an answer"
    assert not failed, failed[:3]
    return sent, acknowledged


def read_all(broker, expected):
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{broker.port}", "group.id": "check", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    records = [[] for _ in range(PARTITIONS)]
    deadline = time.monotonic() + 60
    while sum(map(len, records)) < expected and time.monotonic() < deadline:
        for record in consumer.consume(1000, 0.2):
            assert record.error() is None, record.error()
            records[record.partition()].append((record.offset(), record.value()))
    for record in consumer.consume(1000, 1):  # nothing may follow
        records[record.partition()].append((record.offset(), record.value()))
    consumer.close()
    return records


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    broker = Broker()
    try:
        sent, acknowledged = produce_under_kills(broker, options.kills, random.Random(options.seed))
        records = read_all(broker, sum(map(len, sent)))
    except BaseException:
        broker.kill()
        print("kept for a look:", broker.directory)
        raise
    for partition in range(PARTITIONS):
        offsets = [offset for offset, _ in records[partition]]
        assert offsets == list(range(len(offsets))), f"partition {partition}: offsets have holes"
        values = [value for _, value in records[partition]]
        assert values == sent[partition], f"partition {partition}: {len(values)} read, {len(sent[partition])} sent, or another order"
    for (partition, offset), value in acknowledged.items():
        assert records[partition][offset][1] == value, f"{partition}/{offset} is not what was acknowledged"
    assert len(acknowledged) == sum(map(len, sent))
    broker.stop()
    print(f"{options.kills} kills, {len(acknowledged)} acknowledged records, each once and in order")


if __name__ == "__main__":
    main()
