"""Our image under testcontainers-python's KafkaContainer, with KRaft and in the module's default mode, which starts a ZooKeeper."""

import os
import uuid

from confluent_kafka import Consumer, Producer
from testcontainers.community.kafka import KafkaContainer

IMAGE = os.environ["OTTLA_IMAGE"]


def read(bootstrap, topic, count):
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": str(uuid.uuid4()), "auto.offset.reset": "earliest",
        "isolation.level": "read_committed", "enable.partition.eof": True,
    })
    consumer.subscribe([topic])
    values, is_at_end = [], False
    while len(values) < count or not is_at_end:
        message = consumer.poll(20)
        assert message is not None, f"{len(values)} of {count} records within 20 s"
        if message.error():
            is_at_end = True
        else:
            values.append(message.value())
    consumer.commit(asynchronous=False)
    consumer.close()
    return values


def check(bootstrap):
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for number in range(1000):
        producer.produce("numbers", str(number).encode())
    assert producer.flush(20) == 0
    assert sorted(map(int, read(bootstrap, "numbers", 1000))) == list(range(1000))

    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "one"})
    producer.init_transactions(20)
    for decision in ("commit", "abort"):
        producer.begin_transaction()
        for _ in range(10):
            producer.produce("transactions", decision.encode())
        producer.flush(20)
        producer.commit_transaction(20) if decision == "commit" else producer.abort_transaction(20)
    assert read(bootstrap, "transactions", 10) == [b"commit"] * 10


def test_kraft():
    with KafkaContainer(IMAGE).with_kraft() as kafka:
        check(kafka.get_bootstrap_server())


def test_default_mode():
    with KafkaContainer(IMAGE) as kafka:
        check(kafka.get_bootstrap_server())
