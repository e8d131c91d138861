"""Fields that few clients fill in, and lists and filters at their edges. Every field of the requests of every advertised API is sent by
some case with another value than its default, and as null where that is allowed: run.py fails for one that is not."""
import struct
import uuid

from record_batch import batch

NOWHERE = uuid.UUID("00000000-0000-4000-8000-00000000dead")
TOPIC, OTHER, GROUP = "fields", "fields-2", "field-group"
CLASSIC = {"ProtocolType": "consumer", "ProtocolName": "range"}
SUBSCRIPTION = struct.pack(">hi", 0, 1) + struct.pack(">h", len(TOPIC)) + TOPIC.encode() + struct.pack(">i", -1)


def topics():
    for name in (TOPIC, OTHER):
        yield f"the topic {name}", "CreateTopics", 7, {"Topics": [{"Name": name, "NumPartitions": 2, "ReplicationFactor": 1, "Configs": [{"Name": "retention.ms", "Value": "-1"}]}], "TimeoutMs": 30000}
    yield "their ids", "Metadata", 12, {"Topics": [{"Name": name} for name in (TOPIC, OTHER)], "AllowAutoTopicCreation": False}
    for kind in (0, 1):
        yield f"the coordinator of kind {kind}", "FindCoordinator", 4, {"CoordinatorKeys": [GROUP], "KeyType": kind}
    for version in (3, 4, 5, 6):
        yield "assigned", "CreateTopics", version, {"Topics": [{"Name": f"assigned-{version}", "NumPartitions": -1, "ReplicationFactor": -1, "Assignments": [{"PartitionIndex": part, "BrokerIds": [1]} for part in (1, 0)]}], "TimeoutMs": 30000}
    yield "with documentation", "DescribeConfigs", 4, {"Resources": [{"ResourceType": 2, "ResourceName": TOPIC, "ConfigurationKeys": ["retention.ms"]}], "IncludeDocumentation": True}
    for name in (TOPIC, OTHER):
        for values in ([b"a", b"b"], [b"c"]):
            yield f"records in {name}", "Produce", 9, {"Acks": -1, "TimeoutMs": 10000, "TopicData": [{"Name": name, "PartitionData": [{"Index": 0, "Records": batch(values)}]}]}


def wanted(facts, version, topic=TOPIC, **fields):
    entry = {"TopicId": facts.topic_id(topic)} if version >= 13 else {"Topic": topic}
    return {**entry, "Partitions": [{"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20, **fields}]}


def fetch(version, replica=-1, partition=None, topics=(TOPIC,), state=None, **fields):
    def body(facts):
        sender = {"ReplicaState": state or {"ReplicaId": replica, "ReplicaEpoch": -1}} if version >= 15 else {"ReplicaId": replica}
        known = {name: value(facts) if callable(value) else value for name, value in fields.items()}
        return {**sender, "MaxWaitMs": 20, "MinBytes": 1, "MaxBytes": 1 << 20, "Topics": [wanted(facts, version, topic, **(partition or {})) for topic in topics], "SessionEpoch": -1, **known}
    return body


def fetching():
    for version in range(4, 19):
        yield "plain", "Fetch", version, fetch(version)
        # Consumers are -1, the console's debugger -2; brokers have their number.
        for replica in (-2, -3, 0, 1, 7):
            yield f"replica {replica}", "Fetch", version, fetch(version, replica)
        yield "replica 1 with an epoch of the leader", "Fetch", version, fetch(version, 1, {"CurrentLeaderEpoch": 0} if version >= 9 else None)
        yield "replica 1 with an epoch of the future", "Fetch", version, fetch(version, 1, {"CurrentLeaderEpoch": 900} if version >= 9 else None)
        yield "replica 1 of nobody", "Fetch", version, fetch(version, 1, {"Partition": 9})
        if version >= 5:
            yield "a log start offset", "Fetch", version, fetch(version, partition={"LogStartOffset": 1})
        if version >= 11:
            yield "a rack", "Fetch", version, fetch(version, RackId="rack-1")
        if version >= 12:
            for cluster in ("elsewhere", ""):
                yield f"the cluster '{cluster}'", "Fetch", version, fetch(version, ClusterId=cluster)
            for epoch, offset in ((0, 0), (0, 2), (0, 3), (0, 50), (1, 1), (900, 0), (-2, 0), (-1, 2)):
                yield f"last fetched epoch {epoch} at {offset}", "Fetch", version, fetch(version, partition={"LastFetchedEpoch": epoch, "FetchOffset": offset})
        if version >= 15:
            yield "replica 1 with a broker's epoch", "Fetch", version, fetch(version, state={"ReplicaId": 1, "ReplicaEpoch": 5})
            yield "nobody with a broker's epoch", "Fetch", version, fetch(version, state={"ReplicaId": -1, "ReplicaEpoch": 5})
        if version >= 17:
            yield "a replica's directory", "Fetch", version, fetch(version, partition={"ReplicaDirectoryId": NOWHERE})
        if version >= 18:
            yield "a replica's high watermark", "Fetch", version, fetch(version, partition={"HighWatermark": 2})
        for isolation in (-1, 2, 9):
            yield f"isolation {isolation}", "Fetch", version, fetch(version, IsolationLevel=isolation)
        for field, value in (("MaxWaitMs", -1), ("MinBytes", -1), ("MinBytes", 0), ("MaxBytes", 0), ("MaxBytes", -1)):
            yield f"{field} {value}", "Fetch", version, fetch(version, **{field: value})
        yield "partition max bytes -1", "Fetch", version, fetch(version, partition={"PartitionMaxBytes": -1})
        yield "partition max bytes 0", "Fetch", version, fetch(version, partition={"PartitionMaxBytes": 0})
        yield "a topic twice", "Fetch", version, fetch(version, topics=(TOPIC, OTHER, TOPIC))


def forgetting():
    def forgotten(version, topic, partitions):
        return lambda facts: [{**({"TopicId": facts.topic_id(topic)} if version >= 13 else {"Topic": topic}), "Partitions": partitions}]

    for version in range(7, 19):
        def step(label, topics=(), partition=None, **fields):
            return label, "Fetch", version, fetch(version, topics=topics, partition=partition, **{"SessionId": lambda facts: facts.session_id, **fields})

        yield step("a session of two", (TOPIC, OTHER), SessionId=0, SessionEpoch=0)
        yield step("both again from the start", (TOPIC, OTHER), SessionEpoch=1)
        yield step("one forgotten", SessionEpoch=2, ForgottenTopicsData=forgotten(version, TOPIC, [0]))
        yield step("the other from the start", (OTHER,), SessionEpoch=3)
        yield step("forgotten again, and a partition that was never there", SessionEpoch=4, ForgottenTopicsData=forgotten(version, TOPIC, [0, 7]))
        yield step("an unknown topic forgotten", SessionEpoch=5, ForgottenTopicsData=forgotten(version, NOWHERE if version >= 13 else "nobody", [0]))
        yield step("forgotten and asked for", (OTHER,), SessionEpoch=6, ForgottenTopicsData=forgotten(version, OTHER, [0]))
        yield step("what is left", (), SessionEpoch=7)
        yield step("the one comes back", (TOPIC,), SessionEpoch=8)
        yield step("the last forgotten", SessionEpoch=9, ForgottenTopicsData=forgotten(version, TOPIC, [0]))
        yield step("an end", SessionEpoch=-1)
        yield step("the session that ended", SessionEpoch=10)
        yield step("forgotten without a session", (TOPIC,), SessionId=0, SessionEpoch=-1, ForgottenTopicsData=forgotten(version, TOPIC, [0]))


def listing():
    def offsets(version, timestamp=-1, replica=-1, epoch=-1, **fields):
        part = {"PartitionIndex": 0, "Timestamp": timestamp, **({"CurrentLeaderEpoch": epoch} if version >= 4 else {})}
        return {"ReplicaId": replica, "Topics": [{"Name": TOPIC, "Partitions": [part]}], **fields}

    for version in range(1, 11):
        for replica in (-2, -3, 0, 1, 7):
            yield f"replica {replica}", "ListOffsets", version, offsets(version, replica=replica)
        if version >= 2:
            for isolation in (-1, 2):
                yield f"isolation {isolation}", "ListOffsets", version, offsets(version, IsolationLevel=isolation)
        if version >= 4:
            for epoch in (0, 1, -1, -2, 900):
                yield f"leader epoch {epoch}", "ListOffsets", version, offsets(version, epoch=epoch)
        if version >= 10:
            for timeout in (-1, 5):
                yield f"a timeout of {timeout}", "ListOffsets", version, offsets(version, TimeoutMs=timeout)
        for timestamp in (-6, -7, -(1 << 63), (1 << 63) - 1, 0, 1):
            yield f"time {timestamp}", "ListOffsets", version, offsets(version, timestamp)
    for version in range(2, 5):
        for replica in (-2, -1, 0, 1):
            for current, asked in ((-1, 0), (0, 0), (1, 0), (900, 0), (-2, 0), (-1, -2), (-1, 1), (-1, (1 << 31) - 1)):
                sender = {"ReplicaId": replica} if version >= 3 else {}
                yield f"replica {replica} at {current}: epoch {asked}", "OffsetForLeaderEpoch", version, {**sender, "Topics": [{"Topic": TOPIC, "Partitions": [{"Partition": 0, "CurrentLeaderEpoch": current, "LeaderEpoch": asked}]}]}


def committing():
    """What a commit carries, as OffsetFetch tells it; static members of the group."""
    join = {"GroupId": GROUP, "SessionTimeoutMs": 60000, "RebalanceTimeoutMs": 60000, "MemberId": "", "ProtocolType": "consumer", "GroupInstanceId": "one", "Protocols": [{"Name": "range", "Metadata": SUBSCRIPTION}]}
    yield "a static member with a reason", "JoinGroup", 9, {**join, "Reason": "because " * 40}
    yield "its assignment", "SyncGroup", 5, lambda facts: {"GroupId": GROUP, "GenerationId": facts.generation(GROUP), "MemberId": facts.member(GROUP), "GroupInstanceId": "one", **CLASSIC,
                                                          "Assignments": [{"MemberId": facts.member(GROUP), "Assignment": b"\0\1"}, {"MemberId": "nobody", "Assignment": b"\0\2"}]}

    def commit(version, epoch=-1, offset=5, index=0, metadata="note", **fields):
        part = {"PartitionIndex": index, "CommittedOffset": offset, "CommittedMetadata": metadata, **({"CommittedLeaderEpoch": epoch} if version >= 6 else {})}
        return lambda facts: {"GroupId": GROUP, "GenerationIdOrMemberEpoch": facts.generation(GROUP), "MemberId": facts.member(GROUP), **({"GroupInstanceId": "one"} if version >= 7 else {}),
                              "Topics": [{"Name": TOPIC, "Partitions": [part]}], **({"RetentionTimeMs": -1} if version <= 4 else {}), **fields}

    def fetched(label):
        for version in range(1, 10):
            wanted = [{"Name": TOPIC, "PartitionIndexes": [0, 1]}]
            yield label, "OffsetFetch", version, {"Groups": [{"GroupId": GROUP, "Topics": wanted}]} if version >= 8 else {"GroupId": GROUP, "Topics": wanted}

    for version in range(2, 10):
        yield "its own", "OffsetCommit", version, commit(version, epoch=version, offset=version)
        yield "the other partition", "OffsetCommit", version, commit(version, epoch=-1 if version % 2 else 0, index=1, metadata="" if version % 2 else None)
        yield from fetched(f"after version {version}")
        for offset in (-1, -5):
            yield f"offset {offset}", "OffsetCommit", version, commit(version, offset=offset)
        yield "an epoch below -1", "OffsetCommit", version, commit(version, epoch=-7)
        yield "an unknown partition", "OffsetCommit", version, commit(version, index=7)
        yield from fetched(f"after the odd ones of version {version}")
        if version <= 4:
            for retention in (0, 5, 86_400_000_000):
                yield f"a retention of {retention}", "OffsetCommit", version, commit(version, RetentionTimeMs=retention, GroupId=f"kept-{version}-{retention}", GenerationIdOrMemberEpoch=-1, MemberId="")
        if version >= 7:
            yield "another member of the instance", "OffsetCommit", version, commit(version, MemberId="nobody")
            yield "another instance", "OffsetCommit", version, commit(version, GroupInstanceId="two")
            yield "no instance", "OffsetCommit", version, commit(version, GroupInstanceId=None)
            yield "an instance alone", "OffsetCommit", version, commit(version, MemberId="", GenerationIdOrMemberEpoch=-1)
            yield "an instance of no group", "OffsetCommit", version, commit(version, GroupId="no-such-group", MemberId="", GenerationIdOrMemberEpoch=-1)
    for version in (8, 9):
        for member, epoch in ((None, -1), ("", -1), ("nobody", -1), ("nobody", 3), ("", 3), (None, 3), ("itself", 1), ("itself", 77), ("itself", 0)):
            for group in (GROUP, "no-such-group", "kept-2-0"):
                identity = (lambda facts, member=member, epoch=epoch: {"MemberId": facts.member(GROUP) if member == "itself" else member, "MemberEpoch": epoch}) if version >= 9 else (lambda facts: {})
                for topics in ([{"Name": TOPIC, "PartitionIndexes": [0]}], None):
                    yield f"{group}, member {member} at {epoch}, {'all' if topics is None else 'one'}", "OffsetFetch", version, lambda facts, identity=identity, group=group, topics=topics: {"Groups": [{"GroupId": group, "Topics": topics, **identity(facts)}]}
    for version in (3, 4):
        for label, fields in {"itself": {}, "another member": {"MemberId": "nobody"}, "another instance": {"GroupInstanceId": "two"}, "no instance": {"GroupInstanceId": None}, "an old generation": {"GenerationId": 0}}.items():
            yield label, "Heartbeat", version, lambda facts, fields=fields: {"GroupId": GROUP, "GenerationId": facts.generation(GROUP), "MemberId": facts.member(GROUP), "GroupInstanceId": "one", **fields}
    for version in (3, 4, 5):
        for label, fields in {"another member": {"MemberId": "nobody"}, "another instance": {"GroupInstanceId": "two"}, "another generation": {"GenerationId": 77}}.items():
            yield label, "SyncGroup", version, lambda facts, fields=fields: {"GroupId": GROUP, "GenerationId": facts.generation(GROUP), "MemberId": facts.member(GROUP), "GroupInstanceId": "one", **(CLASSIC if version >= 5 else {}), **fields}
    for version in range(0, 7):
        yield "the group", "DescribeGroups", version, {"Groups": [GROUP]}
    for version in (3, 4, 5):
        reason = {"Reason": "so it is"} if version >= 5 else {}
        for label, member in {"an unknown instance": {"MemberId": "", "GroupInstanceId": "two"}, "another member of the instance": {"MemberId": "nobody", "GroupInstanceId": "one"}}.items():
            yield label, "LeaveGroup", version, {"GroupId": GROUP, "Members": [{**member, **reason}]}
    yield "by its instance, with a reason", "LeaveGroup", 5, {"GroupId": GROUP, "Members": [{"MemberId": "", "GroupInstanceId": "one", "Reason": "r" * 300}]}
    yield "the group that was left", "DescribeGroups", 6, {"Groups": [GROUP]}


def transactions():
    for version in range(2, 6):
        name, group = f"field-{version}", f"field-txn-{version}"
        yield "an id", "InitProducerId", 5, {"TransactionalId": name, "TransactionTimeoutMs": 60000}

        def identity(facts, name=name):
            producer, epoch = facts.transactions.get(name, (-1, -1))
            return {"TransactionalId": name, "ProducerId": producer, "ProducerEpoch": epoch}
        yield "the group", "AddOffsetsToTxn", 3, lambda facts, identity=identity, group=group: {**identity(facts), "GroupId": group}
        yield "with epochs", "TxnOffsetCommit", version, lambda facts, identity=identity, group=group: {**identity(facts), "GroupId": group, "Topics": [
            {"Name": TOPIC, "Partitions": [{"PartitionIndex": index, "CommittedOffset": index, "CommittedLeaderEpoch": epoch, "CommittedMetadata": "m"} for index, epoch in ((0, 3), (1, -1))]}]}
        yield "the end", "EndTxn", 4, lambda facts, identity=identity: {**identity(facts), "Committed": True}
        yield "after the end", "DescribeTransactions", 0, {"TransactionalIds": [name]}
        for fetch_version in (5, 7, 9):
            wanted = [{"Name": TOPIC, "PartitionIndexes": [0, 1]}]
            yield "the epochs", "OffsetFetch", fetch_version, {"Groups": [{"GroupId": group, "Topics": wanted}]} if fetch_version >= 8 else {"GroupId": group, "Topics": wanted}


def returning():
    """The leader of a stable group is a static member that comes back: what it is told to leave out."""
    for version in (5, 7, 8, 9):
        group = f"field-static-{version}"
        join = {"GroupId": group, "SessionTimeoutMs": 60000, "RebalanceTimeoutMs": 60000, "MemberId": "", "ProtocolType": "consumer", "GroupInstanceId": "one", "Protocols": [{"Name": "range", "Metadata": SUBSCRIPTION}]}
        yield "its first time", "JoinGroup", version, join
        sync = min(version, 5)
        yield "its assignment", "SyncGroup", sync, lambda facts, group=group, sync=sync: {"GroupId": group, "GenerationId": facts.generation(group), "MemberId": facts.member(group), "GroupInstanceId": "one", **(CLASSIC if sync >= 5 else {}),
                                                                                         "Assignments": [{"MemberId": facts.member(group), "Assignment": b"\0\1"}]}
        yield "its second time", "JoinGroup", version, join
        yield "the group", "DescribeGroups", 6, {"Groups": [group]}
        yield "an offset of a topic that it reads", "OffsetDelete", 0, {"GroupId": group, "Topics": [{"Name": TOPIC, "Partitions": [{"PartitionIndex": 0}]}, {"Name": OTHER, "Partitions": [{"PartitionIndex": 0}, {"PartitionIndex": 9}]}]}
        yield "with other protocols", "JoinGroup", version, {**join, "Protocols": [{"Name": "range", "Metadata": SUBSCRIPTION + b"\0"}]}
        yield "its end", "LeaveGroup", 3, {"GroupId": group, "Members": [{"MemberId": "", "GroupInstanceId": "one"}]}


def describing():
    """Producers and transactions as they open and end."""
    look = {"DescribeProducers": {"Topics": [{"Name": TOPIC, "PartitionIndexes": [1]}]}, "DescribeTransactions": {"TransactionalIds": ["field-open"]}}

    def states(label):
        for api, body in look.items():
            yield label, api, 0, body
        for version in range(0, 3):
            yield label, "ListTransactions", version, {"StateFilters": ["Ongoing"]}

    def identity(facts):
        producer, epoch = facts.transactions.get("field-open", (-1, -1))
        return {"TransactionalId": "field-open", "ProducerId": producer, "ProducerEpoch": epoch}

    def write(sequence):
        def body(facts):
            known = identity(facts)
            records = batch([b"a", b"b"], attributes=0x10, producer_id=known["ProducerId"], producer_epoch=known["ProducerEpoch"], sequence=sequence)
            return {"TransactionalId": "field-open", "Acks": -1, "TimeoutMs": 10000, "TopicData": [{"Name": TOPIC, "PartitionData": [{"Index": 1, "Records": records}]}]}
        return body

    yield "an id", "InitProducerId", 5, {"TransactionalId": "field-open", "TransactionTimeoutMs": 60000}
    yield from states("new")
    for committed in (True, False):
        yield "its first records", "Produce", 12, write(0)
        yield from states("one batch")
        yield "more", "Produce", 12, write(2)
        yield from states("two batches")
        yield "the end", "EndTxn", 5, lambda facts, committed=committed: {**identity(facts), "Committed": committed}
        yield "settled", "DescribeTransactions", 0, look["DescribeTransactions"]
        yield from states("ended")
    internal = ("__consumer_offsets", "__transaction_state")
    yield "internal topics", "Metadata", 12, {"Topics": [{"Name": name} for name in internal], "AllowAutoTopicCreation": False}
    for name in internal:
        yield name, "DescribeTopicPartitions", 0, {"Topics": [{"Name": name}], "ResponsePartitionLimit": 3}


def asking():
    """Filters and lists at their edges: what is unknown, named twice, empty or in another case."""
    for kinds in (["consumer"], ["share"], ["streams"], ["unknown"], ["nonsense"], ["CLASSIC"], [" classic"], ["classic", "nonsense"], [""], ["consumer", "classic"]):
        yield f"types {kinds}", "ListGroups", 5, {"TypesFilter": kinds}
    for version in (4, 5):
        for states in (["STABLE"], [" Stable "], ["Stable", "Sleepy"], [""], ["Unknown"], ["Dead"], ["PreparingRebalance", "CompletingRebalance"], ["preparing_rebalance"], ["Assigning"], ["Empty"]):
            yield f"states {states}", "ListGroups", version, {"StatesFilter": states}
    for version in range(0, 7):
        yield "twice, and without a name", "DescribeGroups", version, {"Groups": [GROUP, GROUP, "", "kept-2-0"]}
        yield "nothing", "DescribeGroups", version, {"Groups": []}
    for version in range(0, 3):
        yield "twice, and without a name", "DeleteGroups", version, {"GroupsNames": [f"kept-{version + 2}-5", f"kept-{version + 2}-5", ""]}
        yield "nothing", "DeleteGroups", version, {"GroupsNames": []}
    for label, parts in {"twice": [0, 0], "one that was never committed": [1], "an unknown one": [9], "a negative one": [-1], "nothing": []}.items():
        yield label, "OffsetDelete", 0, {"GroupId": "kept-2-86400000000", "Topics": [{"Name": TOPIC, "Partitions": [{"PartitionIndex": part} for part in parts]}]}
    yield "no topics", "OffsetDelete", 0, {"GroupId": "kept-2-86400000000", "Topics": []}
    yield "no group", "OffsetDelete", 0, {"GroupId": "", "Topics": []}
    for version in range(1, 10):
        for label, wanted in {"a partition twice": [{"Name": TOPIC, "PartitionIndexes": [0, 0]}], "a topic twice": [{"Name": TOPIC, "PartitionIndexes": [0]}, {"Name": TOPIC, "PartitionIndexes": [0]}], "no partitions": [{"Name": TOPIC, "PartitionIndexes": []}], "no topics": [],
                              "a negative partition": [{"Name": TOPIC, "PartitionIndexes": [-1]}]}.items():
            yield label, "OffsetFetch", version, {"Groups": [{"GroupId": GROUP, "Topics": wanted}]} if version >= 8 else {"GroupId": GROUP, "Topics": wanted}
    for version in (8, 9):
        yield "a group twice", "OffsetFetch", version, {"Groups": [{"GroupId": GROUP, "Topics": None}] * 2}
        yield "no groups", "OffsetFetch", version, {"Groups": []}
    for version in (2, 9):
        for label, topics in {"nothing": [], "no partitions": [{"Name": TOPIC, "Partitions": []}], "a partition twice": [{"Name": TOPIC, "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 1}, {"PartitionIndex": 0, "CommittedOffset": 2}]}],
                              "a bad name": [{"Name": "a b", "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 1}]}], "no name": [{"Name": "", "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 1}]}]}.items():
            yield label, "OffsetCommit", version, {"GroupId": "odd", "GenerationIdOrMemberEpoch": -1, "MemberId": "", "Topics": topics}
        yield "without a group", "OffsetCommit", version, {"GroupId": "", "GenerationIdOrMemberEpoch": -1, "MemberId": "", "Topics": [{"Name": TOPIC, "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 1}]}]}
    for version in (4, 5):
        for kind in (0, 1, -1, 3):
            yield f"kind {kind}: twice, and without a name", "FindCoordinator", version, {"CoordinatorKeys": ["a", "a", ""], "KeyType": kind}
            yield f"kind {kind}: nothing", "FindCoordinator", version, {"CoordinatorKeys": [], "KeyType": kind}
    for version in range(1, 6):
        for key in ("field-group:1:0", "", "x"):
            yield f"a share partition '{key}'", "FindCoordinator", version, {"CoordinatorKeys": [key], "KeyType": 2} if version >= 4 else {"Key": key, "KeyType": 2}
    for label, topics in {"a partition twice": [{"Name": TOPIC, "PartitionIndexes": [0, 0]}], "a topic twice": [{"Name": TOPIC, "PartitionIndexes": [0]}] * 2, "a bad name": [{"Name": "a b", "PartitionIndexes": [0]}], "no name": [{"Name": "", "PartitionIndexes": [0]}],
                          "a negative partition": [{"Name": TOPIC, "PartitionIndexes": [-1]}], "no partitions": [{"Name": TOPIC, "PartitionIndexes": []}], "nothing": []}.items():
        yield label, "DescribeProducers", 0, {"Topics": topics}
    for version in range(1, 5):
        for label, topics in {"nothing": [], "no partitions": [{"Topic": TOPIC, "Partitions": []}], "an unknown partition": [{"Topic": TOPIC, "Partitions": [0, 9, -1]}], "a partition twice": [{"Topic": TOPIC, "Partitions": [0, 0]}]}.items():
            yield label, "DescribeLogDirs", version, {"Topics": topics}
        yield "all", "DescribeLogDirs", version, {"Topics": None}
    for version in range(0, 3):
        for election in (0, 1) if version else (0,):
            yield f"all, election {election}", "ElectLeaders", version, {"ElectionType": election, "TopicPartitions": None, "TimeoutMs": 1000} if version else {"TopicPartitions": None, "TimeoutMs": 1000}
    yield "no protocol", "SyncGroup", 5, {"GroupId": "no-such-group", "GenerationId": 1, "MemberId": "m", "ProtocolType": None, "ProtocolName": None}
    for version in range(0, 3):
        for label, body in {"a state twice": {"StateFilters": ["Ongoing", "Ongoing"]}, "no state": {"StateFilters": [""]}, "an unknown one twice": {"StateFilters": ["Sleepy", "Sleepy"]}, "every state": {"StateFilters": ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "PrepareEpochFence", "Dead"]},
                            "negative producers": {"ProducerIdFilters": [-1, -1]}}.items():
            yield label, "ListTransactions", version, body


def fields():
    for part in (topics, fetching, forgetting, listing, committing, returning, transactions, describing, asking):
        for label, api, version, body in part():
            yield f"{api} v{version}: {part.__name__}: {label}", api, version, body
