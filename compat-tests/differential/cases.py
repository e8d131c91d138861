"""The table of requests: every API and version of the first release, good and bad input, in the order they are sent.

A case is (label, api, version, body): body is a dictionary, bytes (sent as they are) or a function of what this broker answered
so far (topic ids, member ids, sessions: see Facts in run.py).
"""
import struct
import uuid

from controller_cases import controller
from feature_cases import feature_cases
from field_cases import fields
from record_batch import batch, record
from state_table import state_table
from transaction_cases import transactions

NOWHERE = uuid.UUID("00000000-0000-4000-8000-00000000dead")
TIMESTAMP = 1_700_000_000_000


def every(api, first, last, label, body):
    """One case for each version."""
    for version in range(first, last + 1):
        yield f"{api} v{version}: {label}", api, version, body(version) if callable(body) and body.__code__.co_varnames[:1] == ("version",) else body


def versions_and_garbage():
    yield from every("ApiVersions", 0, 4, "plain", {})
    yield "ApiVersions v3: a bad software name", "ApiVersions", 3, {"ClientSoftwareName": "a b", "ClientSoftwareVersion": "1"}
    yield "ApiVersions v3: good software name", "ApiVersions", 3, {"ClientSoftwareName": "a.b-c", "ClientSoftwareVersion": "1.0"}
    yield "ApiVersions v99: unknown version", "ApiVersions", 99, b""
    for api, version in [("Produce", 2), ("Produce", 99), ("Fetch", 3), ("ListOffsets", 0), ("Metadata", 99), ("OffsetCommit", 1), ("OffsetFetch", 0),
                         ("CreateTopics", 1), ("DeleteTopics", 0), ("DescribeConfigs", 0), ("OffsetForLeaderEpoch", 1), ("JoinGroup", 99)]:
        yield f"{api} v{version}: unsupported version", api, version, b"\0" * 64
    for api, version in [("Metadata", 0), ("Metadata", 9), ("Produce", 3), ("Produce", 9), ("Fetch", 4), ("Fetch", 12), ("JoinGroup", 0), ("JoinGroup", 6),
                         ("CreateTopics", 2), ("CreateTopics", 5), ("ListOffsets", 1), ("OffsetFetch", 6), ("DescribeConfigs", 4), ("DeleteRecords", 2)]:
        yield f"{api} v{version}: an empty body", api, version, b""
        yield f"{api} v{version}: a lying length", api, version, b"\x7f\xff\xff\xff"
        yield f"{api} v{version}: all bits set", api, version, b"\xff" * 40


def topics():
    def create(name, **fields):
        return {"Topics": [{"Name": name, "NumPartitions": 2, "ReplicationFactor": 1, **fields}], "TimeoutMs": 30000}

    yield from every("CreateTopics", 2, 7, "create", lambda version: create(f"made-{version}"))
    yield from every("CreateTopics", 2, 7, "again", lambda version: create(f"made-{version}"))
    yield from every("CreateTopics", 2, 7, "only validate", lambda version: {**create(f"never-{version}"), "validateOnly": True})
    yield from every("CreateTopics", 4, 7, "the broker's defaults", lambda version: create(f"default-{version}", NumPartitions=-1, ReplicationFactor=-1))
    yield from every("CreateTopics", 2, 7, "configured", lambda version: create(f"configured-{version}", Configs=[
        {"Name": "cleanup.policy", "Value": "compact"}, {"Name": "segment.bytes", "Value": "1048576"}]))
    bad = [("no partitions", create("x", NumPartitions=0)), ("minus two partitions", create("x", NumPartitions=-2)), ("no replicas", create("x", ReplicationFactor=0)),
           ("replicas nowhere", create("x", ReplicationFactor=3)), ("an empty name", create("")), ("a dot", create(".")), ("two dots", create("..")),
           ("a bad character", create("a/b")), ("a name too long", create("a" * 250)), ("a name that collides", create("made.2")), ("an unknown configuration", create("x", Configs=[{"Name": "no.such", "Value": "1"}])),
           ("a bad value", create("x", Configs=[{"Name": "retention.ms", "Value": "long"}])), ("a null value", create("x", Configs=[{"Name": "retention.ms", "Value": None}])),
           ("a bad cleanup policy", create("x", Configs=[{"Name": "cleanup.policy", "Value": "burn"}])), ("a small segment", create("x", Configs=[{"Name": "segment.bytes", "Value": "3"}])),
           ("assignments", create("assigned", NumPartitions=-1, ReplicationFactor=-1, Assignments=[{"PartitionIndex": 0, "BrokerIds": [1]}, {"PartitionIndex": 1, "BrokerIds": [1]}])),
           ("assignments and a number", create("x", Assignments=[{"PartitionIndex": 0, "BrokerIds": [1]}])),
           ("assignments with a hole", create("x", NumPartitions=-1, ReplicationFactor=-1, Assignments=[{"PartitionIndex": 1, "BrokerIds": [1]}])),
           ("assignments to nobody", create("x", NumPartitions=-1, ReplicationFactor=-1, Assignments=[{"PartitionIndex": 0, "BrokerIds": [7]}])),
           ("assignments to one twice", create("x", NumPartitions=-1, ReplicationFactor=-1, Assignments=[{"PartitionIndex": 0, "BrokerIds": [1, 1]}])),
           ("a topic twice", {"Topics": create("twice")["Topics"] * 2, "TimeoutMs": 30000}), ("nothing", {"Topics": [], "TimeoutMs": 30000}),
           ("the metadata topic", create("__cluster_metadata"))]
    for label, body in bad:
        for version in (2, 7):
            if version == 7 and label == "assignments":
                continue
            yield f"CreateTopics v{version}: {label}", "CreateTopics", version, body
    yield from every("CreateTopics", 7, 7, "the topic of the data cases", create("data", NumPartitions=3))
    yield from every("CreateTopics", 7, 7, "a compacted one", create("compacted", NumPartitions=1, Configs=[{"Name": "cleanup.policy", "Value": "compact"}]))
    yield from every("CreateTopics", 7, 7, "one with append time", create("append-time", NumPartitions=1, Configs=[{"Name": "message.timestamp.type", "Value": "LogAppendTime"}]))
    yield from every("CreateTopics", 7, 7, "one with small batches", create("small", NumPartitions=1, Configs=[{"Name": "max.message.bytes", "Value": "200"}]))

    yield from every("Metadata", 0, 13, "one topic", {"Topics": [{"Name": "data"}], "AllowAutoTopicCreation": False})
    yield from every("Metadata", 0, 13, "an unknown topic", {"Topics": [{"Name": "nobody"}], "AllowAutoTopicCreation": False})
    yield from every("Metadata", 1, 13, "all topics", {"Topics": None, "AllowAutoTopicCreation": False})
    yield from every("Metadata", 1, 13, "no topics", {"Topics": [], "AllowAutoTopicCreation": False})
    yield from every("Metadata", 4, 13, "a bad name with creation", {"Topics": [{"Name": "a b"}], "AllowAutoTopicCreation": True})
    yield from every("Metadata", 8, 13, "authorized operations", lambda version: {"Topics": [{"Name": "data"}], "AllowAutoTopicCreation": False, "IncludeTopicAuthorizedOperations": True,
                     **({"IncludeClusterAuthorizedOperations": True} if version <= 10 else {})})
    yield from every("Metadata", 12, 13, "by id", lambda facts: {"Topics": [{"TopicId": facts.topic_id("data"), "Name": None}], "AllowAutoTopicCreation": False})
    yield from every("Metadata", 10, 13, "by an unknown id", {"Topics": [{"TopicId": NOWHERE, "Name": None}], "AllowAutoTopicCreation": False})
    yield from every("Metadata", 10, 13, "by id and name", lambda facts: {"Topics": [{"TopicId": facts.topic_id("data"), "Name": "data"}], "AllowAutoTopicCreation": False})
    yield from every("DescribeTopicPartitions", 0, 0, "two topics", {"Topics": [{"Name": "data"}, {"Name": "nobody"}]})
    yield from every("DescribeTopicPartitions", 0, 0, "two partitions", {"Topics": [{"Name": "data"}], "ResponsePartitionLimit": 2})
    yield from every("DescribeTopicPartitions", 0, 0, "a cursor", {"Topics": [{"Name": "data"}], "Cursor": {"TopicName": "data", "PartitionIndex": 1}})
    yield from every("DescribeCluster", 0, 2, "plain", {})
    yield from every("DescribeCluster", 0, 2, "authorized operations", {"IncludeClusterAuthorizedOperations": True})
    yield from every("DescribeCluster", 1, 2, "controllers", {"EndpointType": 2})
    yield from every("DescribeCluster", 1, 2, "an unknown endpoint type", {"EndpointType": 9})

    def partitions(name, count, **fields):
        return {"Topics": [{"Name": name, "Count": count, "Assignments": None, **fields}], "TimeoutMs": 30000}
    yield from every("CreatePartitions", 0, 3, "more", lambda version: partitions("made-2", 3 + version))
    yield from every("CreatePartitions", 0, 3, "fewer", partitions("data", 1))
    yield from every("CreatePartitions", 0, 3, "as many", partitions("data", 3))
    yield from every("CreatePartitions", 0, 3, "of nobody", partitions("nobody", 3))
    yield from every("CreatePartitions", 0, 3, "only validate", {**partitions("data", 5), "ValidateOnly": True})
    yield from every("CreatePartitions", 0, 3, "assigned to nobody", partitions("data", 4, Assignments=[{"BrokerIds": [9]}]))
    yield from every("CreatePartitions", 0, 3, "too few assignments", partitions("data", 5, Assignments=[{"BrokerIds": [1]}]))
    yield from every("CreatePartitions", 0, 3, "a topic twice", {"Topics": partitions("data", 5)["Topics"] * 2, "TimeoutMs": 30000})

    yield from every("DeleteTopics", 1, 5, "delete", lambda version: {"TopicNames": [f"made-{version + 1}"], "TimeoutMs": 30000})
    yield from every("DeleteTopics", 1, 5, "again", lambda version: {"TopicNames": [f"made-{version + 1}"], "TimeoutMs": 30000})
    yield from every("DeleteTopics", 6, 6, "by name", {"Topics": [{"Name": "made-7"}], "TimeoutMs": 30000})
    yield from every("DeleteTopics", 6, 6, "by id", lambda facts: {"Topics": [{"Name": None, "TopicId": facts.topic_id("default-7")}], "TimeoutMs": 30000})
    yield from every("DeleteTopics", 6, 6, "by an unknown id", {"Topics": [{"Name": None, "TopicId": NOWHERE}], "TimeoutMs": 30000})
    yield from every("DeleteTopics", 6, 6, "by id and name", lambda facts: {"Topics": [{"Name": "data", "TopicId": facts.topic_id("data")}], "TimeoutMs": 30000})
    yield from every("DeleteTopics", 6, 6, "a name twice", {"Topics": [{"Name": "nobody"}, {"Name": "nobody"}], "TimeoutMs": 30000})


def configurations():
    topic, broker, cluster = {"ResourceType": 2, "ResourceName": "data"}, {"ResourceType": 4, "ResourceName": "1"}, {"ResourceType": 4, "ResourceName": ""}
    keys = ["retention.ms", "cleanup.policy", "min.insync.replicas", "max.message.bytes"]

    def describe(resource, names=None, **fields):
        return {"Resources": [{**resource, "ConfigurationKeys": names}], **fields}
    yield from every("DescribeConfigs", 1, 4, "a topic", describe(topic, keys))
    yield from every("DescribeConfigs", 1, 4, "a topic, synonyms", describe(topic, keys, IncludeSynonyms=True))
    yield from every("DescribeConfigs", 1, 4, "a topic, everything", describe(topic))
    yield from every("DescribeConfigs", 1, 4, "an unknown topic", describe({"ResourceType": 2, "ResourceName": "nobody"}))
    yield from every("DescribeConfigs", 1, 4, "the broker", describe(broker, ["num.partitions", "log.retention.hours", "message.max.bytes"], IncludeSynonyms=True))
    yield from every("DescribeConfigs", 1, 4, "another broker", describe({"ResourceType": 4, "ResourceName": "77"}))
    yield from every("DescribeConfigs", 1, 4, "a broker that is no number", describe({"ResourceType": 4, "ResourceName": "one"}))
    yield from every("DescribeConfigs", 1, 4, "an unknown resource type", describe({"ResourceType": 77, "ResourceName": "x"}))

    def set_to(resource, name, value, operation=0):
        return {"Resources": [{**resource, "Configs": [{"Name": name, "ConfigOperation": operation, "Value": value}]}]}
    yield from every("IncrementalAlterConfigs", 0, 1, "set", set_to(topic, "retention.ms", "86400000"))
    yield from every("IncrementalAlterConfigs", 0, 1, "append", set_to(topic, "cleanup.policy", "compact", 2))
    yield from every("DescribeConfigs", 1, 4, "what was set", describe(topic, keys, IncludeSynonyms=True))
    yield from every("IncrementalAlterConfigs", 0, 1, "subtract", set_to(topic, "cleanup.policy", "compact", 3))
    yield from every("IncrementalAlterConfigs", 0, 1, "delete", set_to(topic, "retention.ms", None, 1))
    for label, body in [("a bad value", set_to(topic, "retention.ms", "x")), ("an unknown name", set_to(topic, "no.such", "1")), ("append to no list", set_to(topic, "retention.ms", "1", 2)),
                        ("a null value", set_to(topic, "retention.ms", None)), ("an unknown operation", set_to(topic, "retention.ms", "1", 9)), ("an unknown topic", set_to({"ResourceType": 2, "ResourceName": "nobody"}, "retention.ms", "86400000000000")),
                        ("another broker", set_to({"ResourceType": 4, "ResourceName": "77"}, "log.retention.ms", "1")), ("a read-only broker key", set_to(broker, "node.id", "3")),
                        ("a resource twice", {"Resources": set_to(topic, "retention.ms", "1")["Resources"] * 2}), ("a name twice", {"Resources": [{**topic, "Configs": [{"Name": "retention.ms", "ConfigOperation": 0, "Value": "1"}] * 2}]}),
                        ("only validate", {**set_to(topic, "retention.ms", "5"), "ValidateOnly": True}), ("an unknown resource type", set_to({"ResourceType": 77, "ResourceName": "x"}, "a", "1"))]:
        yield from every("IncrementalAlterConfigs", 0, 1, label, body)
    yield from every("IncrementalAlterConfigs", 1, 1, "the cluster's default", set_to(cluster, "log.retention.ms", "7200000"))
    yield from every("DescribeConfigs", 4, 4, "a topic under a cluster default", describe(topic, keys, IncludeSynonyms=True))
    yield from every("IncrementalAlterConfigs", 1, 1, "the cluster's default, gone", set_to(cluster, "log.retention.ms", None, 1))

    def replace(resource, **values):
        return {"Resources": [{**resource, "Configs": [{"Name": name.replace("_", "."), "Value": value} for name, value in values.items()]}]}
    yield from every("AlterConfigs", 0, 2, "replace", replace(topic, retention_ms="5000000"))
    yield from every("AlterConfigs", 0, 2, "a bad value", replace(topic, retention_ms="x"))
    yield from every("AlterConfigs", 0, 2, "a null value", replace(topic, retention_ms=None))
    yield from every("AlterConfigs", 0, 2, "an unknown topic", replace({"ResourceType": 2, "ResourceName": "nobody"}, retention_ms="86400000000000"))
    yield from every("AlterConfigs", 0, 2, "only validate", {**replace(topic), "ValidateOnly": True})
    yield from every("AlterConfigs", 2, 2, "nothing: all defaults", replace(topic))
    yield from every("ListConfigResources", 0, 0, "plain", {})
    yield from every("ListConfigResources", 1, 1, "topics", {"ResourceTypes": [2]})
    yield from every("ListConfigResources", 1, 1, "brokers", {"ResourceTypes": [4]})
    yield from every("ListConfigResources", 1, 1, "an unknown type", {"ResourceTypes": [77]})
    yield from every("ElectLeaders", 0, 2, "preferred", {"TopicPartitions": [{"Topic": "data", "Partitions": [0]}], "TimeoutMs": 1000})
    yield from every("ElectLeaders", 1, 2, "unclean", {"ElectionType": 1, "TopicPartitions": [{"Topic": "data", "Partitions": [0]}], "TimeoutMs": 1000})
    yield from every("ElectLeaders", 0, 2, "of nobody", {"TopicPartitions": [{"Topic": "nobody", "Partitions": [0]}], "TimeoutMs": 1000})
    yield from every("ListPartitionReassignments", 0, 0, "all", {"TimeoutMs": 1000, "Topics": None})
    yield from every("ListPartitionReassignments", 0, 0, "one topic", {"TimeoutMs": 1000, "Topics": [{"Name": "data", "PartitionIndexes": [0]}]})
    yield from every("DescribeLogDirs", 1, 4, "one topic", {"Topics": [{"Topic": "data", "Partitions": [0, 1, 2]}]})
    yield from every("DescribeLogDirs", 1, 4, "an unknown topic", {"Topics": [{"Topic": "nobody", "Partitions": [0]}]})


def produce(topic, records, partition=0, acks=-1, **fields):
    def body(facts, version):
        entry = {"TopicId": facts.topic_id(topic)} if version >= 13 else {"Name": topic}
        return {"Acks": acks, "TimeoutMs": 10000, "TopicData": [{**entry, "PartitionData": [{"Index": partition, "Records": records}]}], **fields}
    return body


def with_version(api, first, last, label, body):
    for version in range(first, last + 1):
        yield f"{api} v{version}: {label}", api, version, (lambda facts, version=version: body(facts, version))


def producing():
    yield from with_version("Produce", 3, 13, "two records", produce("data", batch([b"a", b"b"])))
    yield from with_version("Produce", 3, 13, "acks 1", produce("data", batch([b"c"]), acks=1))
    yield from with_version("Produce", 3, 13, "an unknown partition", produce("data", batch([b"a"]), partition=9))
    yield from with_version("Produce", 3, 12, "an unknown topic", produce("nobody", batch([b"a"])))
    yield "Produce v13: an unknown topic id", "Produce", 13, {"Acks": -1, "TimeoutMs": 1000, "TopicData": [{"TopicId": NOWHERE, "PartitionData": [{"Index": 0, "Records": batch([b"a"])}]}]}
    bad = [("acks 2", "data", batch([b"a"]), {"acks": 2}), ("no records", "data", None, {}), ("empty records", "data", b"", {}), ("garbage", "data", b"garbage that is longer than a batch header could ever be, really", {}),
           ("a short batch", "data", batch([b"a"])[:40], {}), ("a broken checksum", "data", batch([b"a"], break_crc=True), {}), ("magic 1", "data", batch([b"a"], magic=1), {}), ("magic 0", "data", batch([b"a"], magic=0), {}), ("magic 3", "data", batch([b"a"], magic=3), {}),
           ("two batches", "data", batch([b"a"]) + batch([b"b"]), {}), ("a base offset", "data", batch([b"a"], base_offset=7), {}), ("a wrong count", "data", batch([b"a"], count=2), {}), ("count zero", "data", batch([], count=0, last_offset_delta=0), {}),
           ("a negative count", "data", batch([b"a"], count=-1, last_offset_delta=0), {}), ("a wrong last offset delta", "data", batch([b"a"], last_offset_delta=5), {}), ("a control batch", "data", batch([b"a"], attributes=0x20), {}), ("a transactional batch", "data", batch([b"a"], attributes=0x10), {}),
           ("append time from a client", "data", batch([b"a"], attributes=0x08), {}), ("an unknown codec", "data", batch([b"a"], attributes=5), {}), ("a producer id without a sequence", "data", batch([b"a"], producer_id=5, producer_epoch=0), {}),
           ("offset deltas that jump", "data", batch([b"a", b"b"], records=record(0, None, b"a") + record(2, None, b"b"), count=2), {}), ("bytes behind the records", "data", batch([b"a"], extra=b"\0\0"), {}), ("a record that lies about its length", "data", batch([b"a"], records=b"\x7f" + record(0, None, b"a")[1:]), {}),
           ("a compressed batch of garbage", "compacted", batch([b"a"], attributes=1), {}), ("a keyless record on a compacted topic", "compacted", batch([b"a"], keys=[None]), {}), ("one keyless of three", "compacted", batch([b"a", b"b", b"c"], keys=[b"k", None, b"k"]), {}),
           ("a keyed record on a compacted topic", "compacted", batch([b"a"]), {}), ("append time", "append-time", batch([b"a"]), {}), ("too large", "small", batch([b"a" * 300]), {}), ("small enough", "small", batch([b"a" * 20]), {}),
           ("no timestamp", "data", batch([b"a"], base_timestamp=-1, max_timestamp=-1), {}), ("a max timestamp that lies", "data", batch([b"a"], max_timestamp=TIMESTAMP + 5), {}),
           ("a timestamp far ahead", "data", batch([b"a"], base_timestamp=4_000_000_000_000), {}), ("an internal topic", "__consumer_offsets", batch([b"a"]), {})]
    for label, topic, records, options in bad:
        for version in (3, 9):
            yield from with_version("Produce", version, version, label, produce(topic, records, **options))
    yield from with_version("Produce", 9, 9, "acks 0 fails: the connection closes", produce("nobody", batch([b"a"]), acks=0))
    # Idempotence: the producer id is what this broker gave.
    def idempotent(**fields):
        return lambda facts, version: produce("data", batch([b"a", b"b"], producer_id=facts.producer_id, **fields), partition=1)(facts, version)
    yield from every("InitProducerId", 0, 5, "no transaction", lambda version: {"TransactionalId": None, "TransactionTimeoutMs": 60000})
    for label, fields in [("first batch", dict(producer_epoch=0, sequence=0)), ("the same again", dict(producer_epoch=0, sequence=0)), ("the next", dict(producer_epoch=0, sequence=2)), ("a gap", dict(producer_epoch=0, sequence=9)),
                          ("part of an old one", dict(producer_epoch=0, sequence=1)), ("a new epoch not from zero", dict(producer_epoch=1, sequence=5)), ("a new epoch", dict(producer_epoch=1, sequence=0)), ("an old epoch", dict(producer_epoch=0, sequence=4))]:
        yield from with_version("Produce", 9, 9, "idempotent, " + label, idempotent(**fields))
    yield from every("DescribeProducers", 0, 0, "one partition", {"Topics": [{"Name": "data", "PartitionIndexes": [1]}]})
    yield from every("DescribeProducers", 0, 0, "an unknown one", {"Topics": [{"Name": "data", "PartitionIndexes": [9]}, {"Name": "nobody", "PartitionIndexes": [0]}]})


def reading():
    for timestamp, label, first in [(-1, "latest", 1), (-2, "earliest", 1), (TIMESTAMP, "by time", 1), (4_000_000_000_000, "beyond", 1), (-3, "max timestamp", 7), (-3, "max timestamp too early", 1), (-4, "earliest local", 8), (-5, "latest tiered", 9), (-9, "an unknown code", 1)]:
        body = {"ReplicaId": -1, "Topics": [{"Name": "data", "Partitions": [{"PartitionIndex": 1, "CurrentLeaderEpoch": -1, "Timestamp": timestamp}]}]}
        yield from every("ListOffsets", first, 10 if first > 1 or timestamp > -3 else 3, label, body)

    def offsets(partition, **fields):
        return {"ReplicaId": -1, "Topics": [{"Name": "data", "Partitions": [{"PartitionIndex": partition, "CurrentLeaderEpoch": -1, "Timestamp": -1, **fields}]}]}
    yield from every("ListOffsets", 4, 10, "an old leader epoch", offsets(0, CurrentLeaderEpoch=-2))
    yield from every("ListOffsets", 4, 10, "a future leader epoch", offsets(0, CurrentLeaderEpoch=900))
    yield from every("ListOffsets", 1, 10, "an unknown partition", offsets(9))
    yield from every("ListOffsets", 2, 10, "read committed", {**offsets(0), "IsolationLevel": 1})
    yield from every("ListOffsets", 1, 10, "a partition twice", {"ReplicaId": -1, "Topics": offsets(0)["Topics"] * 2})

    def fetch(topic="data", partition=0, offset=0, **fields):
        part = {name: fields.pop(name) for name in ("CurrentLeaderEpoch", "LastFetchedEpoch", "PartitionMaxBytes") if name in fields}

        def body(facts, version):
            entry = {"TopicId": facts.topic_id(topic) if isinstance(topic, str) else topic} if version >= 13 else {"Topic": topic if isinstance(topic, str) else "nobody"}
            partition_entry = {"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20, **part}
            replica = {} if version >= 15 else {"ReplicaId": -1}
            return {**replica, "MaxWaitMs": 50, "MinBytes": 1, "MaxBytes": 1 << 20, "Topics": [{**entry, "Partitions": [partition_entry]}], "SessionEpoch": -1, **fields}
        return body
    for label, body in [("from the start", fetch(partition=1)), ("from the middle of a batch", fetch(partition=1, offset=1)), ("at the end", fetch(partition=2)), ("beyond the end", fetch(offset=9999)), ("a negative offset", fetch(offset=-5)),
                        ("an unknown partition", fetch(partition=9)), ("an unknown topic", fetch(topic=NOWHERE)), ("read committed", fetch(partition=1, IsolationLevel=1)), ("one byte at most", fetch(partition=1, PartitionMaxBytes=1, MaxBytes=1))]:
        yield from with_version("Fetch", 4, 17, label, body)
    yield from with_version("Fetch", 9, 17, "a future leader epoch", fetch(CurrentLeaderEpoch=900))
    yield from with_version("Fetch", 7, 17, "a session that is not there", fetch(SessionId=12345, SessionEpoch=3))
    yield from with_version("Fetch", 7, 17, "an epoch without a session", fetch(SessionId=0, SessionEpoch=3))
    for version in (7, 11, 13, 17):
        open_body = fetch(partition=1, SessionEpoch=0)
        yield f"Fetch v{version}: open a session", "Fetch", version, (lambda facts, version=version, open_body=open_body: open_body(facts, version))
        for epoch in (1, 2, 2, 5):
            def step(facts, version=version, epoch=epoch):
                replica = {} if version >= 15 else {"ReplicaId": -1}
                return {**replica, "MaxWaitMs": 20, "MinBytes": 1, "MaxBytes": 1 << 20, "Topics": [], "SessionId": facts.session_id, "SessionEpoch": epoch}
            yield f"Fetch v{version}: the session at epoch {epoch}", "Fetch", version, step
    for epoch, label in [(0, "epoch 0"), (900, "a future epoch"), (-1, "no epoch")]:
        yield from every("OffsetForLeaderEpoch", 2, 4, label, lambda version, epoch=epoch: {**({"ReplicaId": -1} if version >= 3 else {}), "Topics": [{"Topic": "data", "Partitions": [{"Partition": 1, "CurrentLeaderEpoch": -1, "LeaderEpoch": epoch}]}]})
    yield from every("OffsetForLeaderEpoch", 2, 4, "an unknown partition", lambda version: {**({"ReplicaId": -1} if version >= 3 else {}), "Topics": [{"Topic": "data", "Partitions": [{"Partition": 9, "LeaderEpoch": 0}]}]})

    def delete(topic, offset, partition=0):
        return {"Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": partition, "Offset": offset}]}], "TimeoutMs": 1000}
    yield from every("DeleteRecords", 0, 2, "some", lambda version: delete("data", 2 + version))
    for label, body in [("beyond the end", delete("data", 99999)), ("a negative offset", delete("data", -7)), ("an unknown topic", delete("nobody", 1)), ("an unknown partition", delete("data", 1, 9)), ("a compacted topic", delete("compacted", 1)), ("everything", delete("data", -1, 2))]:
        yield from every("DeleteRecords", 0, 2, label, body)


def groups():
    subscription = struct.pack(">hi", 0, 1) + struct.pack(">h", 4) + b"data" + struct.pack(">i", -1)
    assignment = struct.pack(">hi", 0, 1) + struct.pack(">h", 4) + b"data" + struct.pack(">iii", 1, 0, -1)

    def coordinator(key, kind=0):
        return lambda version: {"CoordinatorKeys": [key], "KeyType": kind} if version >= 4 else {"Key": key, "KeyType": kind}
    yield from every("FindCoordinator", 0, 5, "a group", coordinator("group"))
    yield from every("FindCoordinator", 1, 5, "an unknown kind", coordinator("group", 9))

    def join(group, member="", protocols=None, **fields):
        return {"GroupId": group, "SessionTimeoutMs": 10000, "RebalanceTimeoutMs": 10000, "MemberId": member, "ProtocolType": "consumer",
                "Protocols": [{"Name": "range", "Metadata": subscription}] if protocols is None else protocols, **fields}
    for version in range(0, 10):
        group = f"group-{version}"
        yield f"JoinGroup v{version}: a new member", "JoinGroup", version, join(group)
        if version >= 4:
            yield f"JoinGroup v{version}: with the id it was given", "JoinGroup", version, (lambda facts, group=group: join(group, facts.member(group)))
        sync = min(version, 5)

        def sync_body(facts, group=group, sync=sync, **fields):
            return {"GroupId": group, "GenerationId": facts.generation(group), "MemberId": facts.member(group), "ProtocolType": "consumer", "ProtocolName": "range",
                    "Assignments": [{"MemberId": facts.member(group), "Assignment": assignment}], **fields}
        yield f"SyncGroup v{sync} in {group}: a wrong generation", "SyncGroup", sync, (lambda facts, body=sync_body: body(facts, GenerationId=77))
        yield f"SyncGroup v{sync} in {group}: an unknown member", "SyncGroup", sync, (lambda facts, body=sync_body: body(facts, MemberId="nobody"))
        if sync == 5:
            yield f"SyncGroup v{sync} in {group}: another protocol", "SyncGroup", sync, (lambda facts, body=sync_body: body(facts, ProtocolName="roundrobin"))
        yield f"SyncGroup v{sync} in {group}: the assignment", "SyncGroup", sync, sync_body
        beat = min(version, 4)

        def heartbeat(facts, group=group, **fields):
            return {"GroupId": group, "GenerationId": facts.generation(group), "MemberId": facts.member(group), **fields}
        yield f"Heartbeat v{beat} in {group}", "Heartbeat", beat, heartbeat
        yield f"Heartbeat v{beat} in {group}: an old generation", "Heartbeat", beat, (lambda facts, body=heartbeat: body(facts, GenerationId=0))
        yield f"Heartbeat v{beat} in {group}: an unknown member", "Heartbeat", beat, (lambda facts, body=heartbeat: body(facts, MemberId="nobody"))
        if version >= 2:
            commit = min(version, 9)

            def commit_body(facts, group=group, commit=commit, **fields):
                return {"GroupId": group, "GenerationIdOrMemberEpoch": facts.generation(group), "MemberId": facts.member(group),
                        "Topics": [{"Name": "data", "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 5, "CommittedMetadata": "note"}]}], **({"RetentionTimeMs": -1} if commit <= 4 else {}), **fields}
            yield f"OffsetCommit v{commit} in {group}", "OffsetCommit", commit, commit_body
            yield f"OffsetCommit v{commit} in {group}: an old generation", "OffsetCommit", commit, (lambda facts, body=commit_body: body(facts, GenerationIdOrMemberEpoch=0))
            yield f"OffsetCommit v{commit} in {group}: a stranger", "OffsetCommit", commit, (lambda facts, body=commit_body: body(facts, GenerationIdOrMemberEpoch=-1, MemberId=""))
            yield f"OffsetCommit v{commit}: to an unknown topic", "OffsetCommit", commit, (lambda facts, body=commit_body: body(facts, Topics=[{"Name": "nobody", "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 5}]}]))
            yield f"OffsetCommit v{commit}: metadata too long", "OffsetCommit", commit, (lambda facts, body=commit_body: body(facts, Topics=[{"Name": "data", "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 5, "CommittedMetadata": "x" * 5000}]}]))
        yield f"JoinGroup v{version}: another protocol type", "JoinGroup", version, (lambda facts, group=group: join(group, facts.member(group), ProtocolType="connect"))
        yield f"JoinGroup v{version}: no common protocol", "JoinGroup", version, join(group, "", [{"Name": "other", "Metadata": b""}])
        leave = min(version, 5)
        if leave >= 3:
            yield f"LeaveGroup v{leave} in {group}: two of three unknown", "LeaveGroup", leave, (lambda facts, group=group: {"GroupId": group, "Members": [
                {"MemberId": "nobody", "GroupInstanceId": None}, {"MemberId": facts.member(group), "GroupInstanceId": None}, {"MemberId": "", "GroupInstanceId": "nothing"}]})
        else:
            yield f"LeaveGroup v{leave} in {group}", "LeaveGroup", leave, (lambda facts, group=group: {"GroupId": group, "MemberId": facts.member(group)})
            yield f"LeaveGroup v{leave} in {group}: again", "LeaveGroup", leave, (lambda facts, group=group: {"GroupId": group, "MemberId": facts.member(group)})
    for label, body in [("a session too short", join("bad", SessionTimeoutMs=1)), ("a session too long", join("bad", SessionTimeoutMs=99_999_999)), ("no group", join("")), ("no protocols", join("bad", protocols=[])), ("no protocol type", join("bad", ProtocolType="")), ("an unknown member", join("bad", "nobody"))]:
        for version in (1, 5, 9):
            yield f"JoinGroup v{version}: {label}", "JoinGroup", version, body
    for version in (5, 7, 9):
        yield f"JoinGroup v{version}: a static member", "JoinGroup", version, join(f"static-{version}", GroupInstanceId="instance")
        yield f"JoinGroup v{version}: a static member with a bad id", "JoinGroup", version, join(f"static-{version}", "nobody", GroupInstanceId="instance")
    for version in (0, 4):
        yield f"Heartbeat v{version}: an unknown group", "Heartbeat", version, {"GroupId": "nobody", "GenerationId": 1, "MemberId": "x"}
    yield from every("SyncGroup", 0, 4, "an unknown group", {"GroupId": "nobody", "GenerationId": 1, "MemberId": "x"})
    yield from every("SyncGroup", 5, 5, "an unknown group", {"GroupId": "nobody", "GenerationId": 1, "MemberId": "x", "ProtocolType": "consumer", "ProtocolName": "range"})
    yield from every("LeaveGroup", 0, 2, "an unknown group", {"GroupId": "nobody", "MemberId": "x"})
    yield from every("LeaveGroup", 3, 5, "an unknown group", {"GroupId": "nobody", "Members": [{"MemberId": "x", "GroupInstanceId": None}]})
    yield from every("OffsetCommit", 2, 9, "a simple group", lambda version: {"GroupId": f"simple-{version}", "GenerationIdOrMemberEpoch": -1, "MemberId": "", "Topics": [{"Name": "data", "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 42, "CommittedMetadata": None}]}], **({"RetentionTimeMs": -1} if version <= 4 else {})})
    yield from every("OffsetCommit", 2, 9, "a generation in no group", lambda version: {"GroupId": "nothing", "GenerationIdOrMemberEpoch": 3, "MemberId": "m", "Topics": [{"Name": "data", "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 42}]}], **({"RetentionTimeMs": -1} if version <= 4 else {})})

    def offset_fetch(group, topics):
        return lambda version: {"Groups": [{"GroupId": group, "Topics": topics}]} if version >= 8 else {"GroupId": group, "Topics": topics}
    wanted = [{"Name": "data", "PartitionIndexes": [0, 1]}, {"Name": "nobody", "PartitionIndexes": [0]}]
    yield from every("OffsetFetch", 1, 9, "a simple group", offset_fetch("simple-5", wanted))
    yield from every("OffsetFetch", 2, 9, "everything of a group", offset_fetch("simple-5", None))
    yield from every("OffsetFetch", 1, 9, "an unknown group", offset_fetch("nobody", wanted))
    yield from every("OffsetFetch", 8, 9, "two groups", {"Groups": [{"GroupId": "simple-5", "Topics": wanted}, {"GroupId": "simple-6", "Topics": None}]})
    yield from every("DescribeGroups", 0, 6, "three groups", {"Groups": ["group-1", "simple-5", "nobody"]})
    yield from every("DescribeGroups", 3, 6, "authorized operations", {"Groups": ["simple-5"], "IncludeAuthorizedOperations": True})
    yield from every("ListGroups", 0, 5, "all", {})
    yield from every("ListGroups", 4, 5, "stable ones", {"StatesFilter": ["Stable"]})
    yield from every("ListGroups", 4, 5, "an unknown state", {"StatesFilter": ["Sleepy"]})
    yield from every("ListGroups", 5, 5, "classic ones", {"TypesFilter": ["classic"]})
    yield from every("OffsetDelete", 0, 0, "one", {"GroupId": "simple-4", "Topics": [{"Name": "data", "Partitions": [{"PartitionIndex": 0}]}]})
    yield from every("OffsetDelete", 0, 0, "an unknown group", {"GroupId": "nobody", "Topics": [{"Name": "data", "Partitions": [{"PartitionIndex": 0}]}]})
    yield from every("OffsetDelete", 0, 0, "an unknown topic", {"GroupId": "simple-5", "Topics": [{"Name": "nobody", "Partitions": [{"PartitionIndex": 0}]}]})
    yield from every("DeleteGroups", 0, 2, "two", lambda version: {"GroupsNames": [f"simple-{version + 6}", "nobody"]})
    yield from every("DeleteGroups", 0, 2, "one with members", {"GroupsNames": ["static-5"]})


PARTS = (versions_and_garbage, topics, configurations, producing, reading, groups, controller, transactions, state_table, feature_cases, fields)


def all_cases(only=()):
    for part in PARTS:
        if not only or part.__name__ in only:
            yield from part()
