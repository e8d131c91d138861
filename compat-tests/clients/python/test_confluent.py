"""confluent-kafka: producer, consumer, groups, admin; everything compared with what was sent."""
import time

import pytest
from confluent_kafka import (Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer,
                             TopicPartition, OFFSET_BEGINNING)
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
                                   NewTopic, OffsetSpec, ResourceType)


def results(futures):
    return {key: future.result(30) for key, future in futures.items()}


@pytest.fixture
def admin(bootstrap):
    return AdminClient({"bootstrap.servers": bootstrap})


@pytest.fixture
def topic(admin, name):
    results(admin.create_topics([NewTopic(name, 3, 1)]))
    return name


def consumer(bootstrap, group, **settings):
    return Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, "session.timeout.ms": 6000, **settings})


def produce(bootstrap, records, **settings):
    delivered = []
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, **settings})
    for topic, partition, key, value, headers in records:
        producer.produce(topic, value, key, partition, on_delivery=lambda error, record: delivered.append((error, record)),
                         headers=headers)
        producer.poll(0)
    assert producer.flush(60) == 0
    errors = [error for error, _ in delivered if error]
    assert not errors
    return [record for _, record in delivered]


def consume(reader, count, seconds=60):
    records, deadline = [], time.monotonic() + seconds
    while len(records) < count and time.monotonic() < deadline:
        for record in reader.consume(500, 0.5):
            assert record.error() is None, record.error()
            records.append(record)
    assert len(records) == count
    return records


@pytest.mark.parametrize("codec, acks", [("none", "0"), ("none", "1"), ("none", "all"), ("gzip", "all"), ("snappy", "all"),
                                         ("lz4", "all"), ("zstd", "all")])
def test_round_trip(bootstrap, topic, codec, acks):
    sent = [(topic, index % 3, b"k%d" % index if index % 2 else None, b"v%d" % index * (index % 50),
             [("h", b"1"), ("h", b"2"), ("n", None)]) for index in range(600)]
    produce(bootstrap, sent, **{"compression.type": codec, "acks": acks})
    reader = consumer(bootstrap, topic + "-group")
    reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(3)])
    by_partition = {partition: [] for partition in range(3)}
    for record in consume(reader, len(sent)):
        assert record.offset() == len(by_partition[record.partition()])
        by_partition[record.partition()].append((record.key(), record.value(), record.headers()))
    for partition in range(3):
        assert by_partition[partition] == [(key, value, headers) for _, p, key, value, headers in sent if p == partition]
    reader.close()


def test_idempotent_producer_and_large_records(bootstrap, topic):
    sent = [(topic, 0, None, bytes([index]) * 700_000, None) for index in range(20)]
    records = produce(bootstrap, sent, **{"enable.idempotence": True})
    assert sorted(record.offset() for record in records) == list(range(20))
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 4_000_000})
    refused = []
    producer.produce(topic, b"x" * 2_000_000, on_delivery=lambda error, _: refused.append(error.code()))
    producer.flush(30)
    assert refused == [KafkaError.MSG_SIZE_TOO_LARGE]


def test_group_commits_and_goes_on(bootstrap, topic, admin):
    produce(bootstrap, [(topic, index % 3, None, b"%d" % index, None) for index in range(90)])
    group = topic + "-group"
    first = consumer(bootstrap, group)
    first.subscribe([topic])
    consume(first, 90)
    first.commit(asynchronous=False)
    committed = first.committed([TopicPartition(topic, partition) for partition in range(3)], 10)
    assert [entry.offset for entry in committed] == [30, 30, 30]
    first.close()
    produce(bootstrap, [(topic, 1, None, b"more", None)])
    second = consumer(bootstrap, group)
    second.subscribe([topic])
    assert [record.value() for record in consume(second, 1)] == [b"more"]
    description = admin.describe_consumer_groups([group])[group].result(10)
    assert description.state.name == "STABLE" and len(description.members) == 1
    second.close()
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(10)
    assert sorted(entry.offset for entry in offsets.topic_partitions) == [30, 30, 30]
    assert group in [listing.group_id for listing in admin.list_consumer_groups().result(10).valid]
    results(admin.delete_consumer_groups([group]))
    assert group not in [listing.group_id for listing in admin.list_consumer_groups().result(10).valid]


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_share_partitions(bootstrap, topic, strategy):
    settings = {"partition.assignment.strategy": strategy}
    members = [consumer(bootstrap, topic + "-" + strategy, **settings) for _ in range(3)]
    for member in members:
        member.subscribe([topic])
    deadline = time.monotonic() + 60
    owned = []
    while time.monotonic() < deadline:
        for member in members:
            member.poll(0.1)
        owned = [sorted(entry.partition for entry in member.assignment()) for member in members]
        if sorted(sum(owned, [])) == [0, 1, 2] and all(owned):
            break
    assert sorted(sum(owned, [])) == [0, 1, 2] and all(owned)
    for member in members:
        member.close()


def test_admin_topics_and_configs(bootstrap, topic, admin):
    with pytest.raises(KafkaException) as again:
        results(admin.create_topics([NewTopic(topic, 1, 1)]))
    assert again.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    results(admin.create_partitions([NewPartitions(topic, 5)]))
    assert len(admin.list_topics(topic, 10).topics[topic].partitions) == 5
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)])
    results(admin.incremental_alter_configs([resource]))
    described = list(results(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])).values())[0]
    assert described["retention.ms"].value == "3600000" and not described["retention.ms"].is_default
    assert described["cleanup.policy"].value == "delete" and described["cleanup.policy"].is_default
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("retention.ms", "never", incremental_operation=AlterConfigOpType.SET)])
    with pytest.raises(KafkaException) as invalid:
        results(admin.incremental_alter_configs([resource]))
    assert invalid.value.args[0].code() == KafkaError.INVALID_CONFIG
    results(admin.delete_topics([topic]))
    assert topic not in admin.list_topics(timeout=10).topics


def test_admin_records_and_offsets(bootstrap, topic, admin):
    produce(bootstrap, [(topic, 0, None, b"%d" % index, None) for index in range(10)])
    deleted = results(admin.delete_records([TopicPartition(topic, 0, 4)]))
    assert [entry.low_watermark for entry in deleted.values()] == [4]
    partition = TopicPartition(topic, 0)
    earliest = results(admin.list_offsets({partition: OffsetSpec.earliest()}))
    latest = results(admin.list_offsets({partition: OffsetSpec.latest()}))
    assert [entry.offset for entry in earliest.values()] == [4]
    assert [entry.offset for entry in latest.values()] == [10]
    reader = consumer(bootstrap, topic + "-reader")
    assert reader.get_watermark_offsets(partition, 10) == (4, 10)
    assert [entry.offset for entry in reader.offsets_for_times([TopicPartition(topic, 0, 1)], 10)] == [4]
    reader.close()


def values_of(reader, topic, expected):
    """What a reader of all three partitions sees, in order of its values; waits for as many as are expected."""
    reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(3)])
    seen, deadline = [], time.monotonic() + 30
    while len(seen) < expected and time.monotonic() < deadline:
        record = reader.poll(0.5)
        if record is not None and not record.error():
            seen.append(record.value())
    reader.close()
    return sorted(seen)


def test_transactions_are_seen_whole_or_not_at_all(bootstrap, topic):
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for round_, end in enumerate([producer.commit_transaction, producer.abort_transaction, producer.commit_transaction]):
        producer.begin_transaction()
        for index in range(30):
            producer.produce(topic, b"%d-%02d" % (round_, index), partition=index % 3)
        # What an abort takes back has reached the broker.
        assert producer.flush(30) == 0
        end(30)
    committed = sorted(b"%d-%02d" % (round_, index) for round_ in (0, 2) for index in range(30))
    reader = consumer(bootstrap, topic + "-committed", **{"isolation.level": "read_committed"})
    assert values_of(reader, topic, 60) == committed
    reader = consumer(bootstrap, topic + "-all", **{"isolation.level": "read_uncommitted"})
    assert len(values_of(reader, topic, 90)) == 90


def test_offsets_come_with_their_transaction(bootstrap, topic):
    produce(bootstrap, [(topic, 0, None, b"%d" % index, None) for index in range(10)])
    reader = consumer(bootstrap, topic + "-group")
    reader.assign([TopicPartition(topic, 0)])
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(30)

    def send_offset(offset, end):
        producer.begin_transaction()
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, offset)], reader.consumer_group_metadata(), 30)
        end(30)
        return [entry.offset for entry in reader.committed([TopicPartition(topic, 0)], 30)]

    assert send_offset(4, producer.commit_transaction) == [4]
    assert send_offset(9, producer.abort_transaction) == [4]
    reader.close()


def test_a_second_producer_fences_the_first(bootstrap, topic):
    first, second = (Producer({"bootstrap.servers": bootstrap, "transactional.id": topic}) for _ in range(2))
    first.init_transactions(30)
    first.begin_transaction()
    first.produce(topic, b"zombie", partition=0)
    assert first.flush(30) == 0
    second.init_transactions(30)
    with pytest.raises(KafkaException) as fenced:
        first.commit_transaction(30)
    assert fenced.value.args[0].fatal()
