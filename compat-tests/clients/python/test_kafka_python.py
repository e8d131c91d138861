"""kafka-python: a second Python implementation of the protocol, written from the specification."""
import time

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic


@pytest.fixture
def topic(bootstrap, name):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(name, 2, 1)])
    admin.close()
    return name


@pytest.mark.parametrize("codec", [None, "gzip"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_round_trip(bootstrap, topic, codec, idempotent):
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, acks="all", enable_idempotence=idempotent)
    futures = [producer.send(topic, b"v%d" % index, key=b"k%d" % index, partition=index % 2, timestamp_ms=1_700_000_000_000 + index,
                             headers=[("h", b"1"), ("h", b"2")]) for index in range(200)]
    placed = [future.get(30) for future in futures]
    producer.close()
    assert [entry.offset for entry in placed] == [index // 2 for index in range(200)]
    reader = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    reader.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    reader.seek_to_beginning()
    received = {}
    for record in reader:
        received[record.partition, record.offset] = record
        if len(received) == 200:
            break
    for index in range(200):
        record = received[index % 2, index // 2]
        assert (record.key, record.value, record.timestamp) == (b"k%d" % index, b"v%d" % index, 1_700_000_000_000 + index)
        assert record.headers == [("h", b"1"), ("h", b"2")] or record.headers == (("h", b"1"), ("h", b"2"))
    by_time = reader.offsets_for_times({TopicPartition(topic, 0): 1_700_000_000_100})
    assert by_time[TopicPartition(topic, 0)].offset == 50
    assert reader.beginning_offsets([TopicPartition(topic, 1)]) == {TopicPartition(topic, 1): 0}
    assert reader.end_offsets([TopicPartition(topic, 1)]) == {TopicPartition(topic, 1): 100}
    reader.close()


def test_group_goes_on_after_commit(bootstrap, topic):
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for index in range(50):
        producer.send(topic, b"%d" % index)
    producer.flush(30)
    settings = dict(bootstrap_servers=bootstrap, group_id=topic + "-group", auto_offset_reset="earliest",
                    enable_auto_commit=False, session_timeout_ms=6000, heartbeat_interval_ms=2000)
    first = KafkaConsumer(topic, **settings)
    read, deadline = 0, time.monotonic() + 30
    while read < 50 and time.monotonic() < deadline:
        read += sum(len(records) for records in first.poll(500).values())
    assert read == 50
    first.commit()
    first.close()
    producer.send(topic, b"more").get(30)
    producer.close()
    second = KafkaConsumer(topic, **settings)
    values, deadline = [], time.monotonic() + 30
    while not values and time.monotonic() < deadline:
        values = [record.value for records in second.poll(500).values() for record in records]
    assert values == [b"more"]
    second.close()
