"""Transactions: every API and version, good and bad input. The table of states is in state_table.py."""
from record_batch import batch

TRANSACTIONAL = 0x10
TIMEOUT = 900_000


def initialize(name, timeout=TIMEOUT, **fields):
    return {"TransactionalId": name, "TransactionTimeoutMs": timeout, **fields}


def as_producer(name, body, epoch=0, producer=0):
    """The body with the identity that this broker gave; `epoch` and `producer` are added to it."""
    def call(facts):
        producer_id, producer_epoch = facts.transactions.get(name, (-1, -1))
        return body(producer_id + producer if producer_id >= 0 else 77_777, producer_epoch + epoch, facts)
    return call


def add_partitions(name, partitions, version, verify_only=False, **relation):
    topics = [{"Name": topic, "Partitions": numbers} for topic, numbers in partitions.items()]

    def body(producer_id, epoch, facts):
        if version < 4:
            return {"V3AndBelowTransactionalId": name, "V3AndBelowProducerId": producer_id, "V3AndBelowProducerEpoch": epoch, "V3AndBelowTopics": topics}
        return {"Transactions": [{"TransactionalId": name, "ProducerId": producer_id, "ProducerEpoch": epoch, "VerifyOnly": verify_only, "Topics": topics}]}
    return as_producer(name, body, **relation)


def add_offsets(name, group, **relation):
    return as_producer(name, lambda producer_id, epoch, facts: {"TransactionalId": name, "ProducerId": producer_id, "ProducerEpoch": epoch, "GroupId": group}, **relation)


def end(name, committed, **relation):
    return as_producer(name, lambda producer_id, epoch, facts: {"TransactionalId": name, "ProducerId": producer_id, "ProducerEpoch": epoch, "Committed": committed}, **relation)


def commit_offsets(name, group, offset=5, topic="txn", partitions=(0,), metadata="note", **fields):
    relation = {key: fields.pop(key) for key in ("epoch", "producer") if key in fields}
    topics = [{"Name": topic, "Partitions": [{"PartitionIndex": number, "CommittedOffset": offset, "CommittedMetadata": metadata} for number in partitions]}]

    def body(producer_id, epoch, facts):
        known = {key: value(facts) if callable(value) else value for key, value in fields.items()}
        return {"TransactionalId": name, "GroupId": group, "ProducerId": producer_id, "ProducerEpoch": epoch, "Topics": topics, **known}
    return as_producer(name, body, **relation)


def produce(name, version, values=(b"a",), sequence=0, topic="txn", partition=0, transactional_id="its own", attributes=TRANSACTIONAL, **relation):
    def body(producer_id, epoch, facts):
        entry = {"TopicId": facts.topic_id(topic)} if version >= 13 else {"Name": topic}
        records = batch(list(values), attributes=attributes, producer_id=producer_id, producer_epoch=epoch, sequence=sequence)
        return {"TransactionalId": name if transactional_id == "its own" else transactional_id, "Acks": -1, "TimeoutMs": 10000,
                "TopicData": [{**entry, "PartitionData": [{"Index": partition, "Records": records}]}]}
    return as_producer(name, body, **relation)


def markers(name, committed, version, coordinator_epoch=0, topics=None, **relation):
    def body(producer_id, epoch, facts):
        marker = {"ProducerId": producer_id, "ProducerEpoch": epoch, "TransactionResult": committed, "CoordinatorEpoch": coordinator_epoch,
                  "Topics": [{"Name": topic, "PartitionIndexes": numbers} for topic, numbers in (topics or {"txn": [0]}).items()]}
        return {"Markers": [marker]}
    return as_producer(name, body, **relation)


def describe(*names):
    return {"TransactionalIds": list(names)}


def settle(name):
    """The transaction as it is when its markers are written (run.py waits for that)."""
    return "DescribeTransactions", 0, describe(name)


def topics():
    for name, partitions in (("txn", 3), ("txn-open", 1), ("txn-read", 2), ("txn-table", 1)):
        yield f"the topic {name}", "CreateTopics", 7, {"Topics": [{"Name": name, "NumPartitions": partitions, "ReplicationFactor": 1,
                                                    "Configs": [{"Name": "retention.ms", "Value": "-1"}]}], "TimeoutMs": 30000}  # the records are old


def coordinators():
    for version in range(0, 6):
        yield "a transactional id", "FindCoordinator", version, {"CoordinatorKeys": ["txn"], "KeyType": 1} if version >= 4 else {"Key": "txn", "KeyType": 1}
    yield "an empty transactional id", "FindCoordinator", 5, {"CoordinatorKeys": ["", "a"], "KeyType": 1}


def identities():
    for version in range(0, 6):
        name = f"init-{version}"
        for label, body in {"a new id": initialize(name), "again": initialize(name), "an empty id": initialize(""), "no timeout": initialize(name, 0), "a negative timeout": initialize(name, -1),
                            "a timeout too long": initialize(name, TIMEOUT + 1), "no id and a bad timeout": initialize(None, -5)}.items():
            yield label, "InitProducerId", version, body
        if version >= 3:
            def expected(name=name, epoch=0, producer=0):
                return as_producer(name, lambda producer_id, producer_epoch, facts: initialize(name, ProducerId=producer_id, ProducerEpoch=producer_epoch), epoch=epoch, producer=producer)
            yield "its own identity", "InitProducerId", version, expected()
            yield "the identity before (a retry)", "InitProducerId", version, expected(epoch=-1)
            yield "two epochs ago", "InitProducerId", version, expected(epoch=-2)
            yield "an epoch of the future", "InitProducerId", version, expected(epoch=1)
            yield "another producer", "InitProducerId", version, expected(producer=500_000)
            yield "an id without an epoch", "InitProducerId", version, as_producer(name, lambda producer_id, epoch, facts, name=name: initialize(name, ProducerId=producer_id, ProducerEpoch=-1))
            yield "an epoch without an id", "InitProducerId", version, initialize(name, ProducerId=-1, ProducerEpoch=3)
            yield "no id, and an identity", "InitProducerId", version, initialize(None, ProducerId=5, ProducerEpoch=3)
            yield "an identity for a new id", "InitProducerId", version, initialize(f"fresh-{version}", ProducerId=5, ProducerEpoch=3)
        yield "after all that", *settle(name)


def partitions():
    for version in range(0, 6):
        name = f"add-{version}"
        yield "an id", "InitProducerId", 5, initialize(name)
        for label, wanted in {"a partition": {"txn-table": [0]}, "again": {"txn-table": [0]}, "two topics": {"txn-table": [0], "txn": [0, 1]}, "an unknown topic among them": {"nobody": [0], "txn": [0]},
                              "an unknown partition": {"txn": [0, 9]}, "none": {}, "a partition twice": {"txn": [2, 2]}, "an internal topic": {"__consumer_offsets": [0]}, "a bad name": {"a b": [0]}}.items():
            yield label, "AddPartitionsToTxn", version, add_partitions(name, wanted, version)
            if version >= 4:
                yield label + ", asked for", "AddPartitionsToTxn", version, add_partitions(name, wanted, version, verify_only=True)
        yield "no transactional id", "AddPartitionsToTxn", version, add_partitions("", {"txn": [0]}, version)
        yield "an unknown id", "AddPartitionsToTxn", version, add_partitions("nobody", {"txn": [0]}, version)
        yield "what was added", *settle(name)
        yield "the end", "EndTxn", 4, end(name, False)
        yield "after the end", *settle(name)
    for version in range(0, 5):
        name = f"offsets-{version}"
        yield "an id", "InitProducerId", 5, initialize(name)
        yield "a group", "AddOffsetsToTxn", version, add_offsets(name, "group-of-transactions")
        yield "again", "AddOffsetsToTxn", version, add_offsets(name, "group-of-transactions")
        yield "no group", "AddOffsetsToTxn", version, add_offsets(name, "")
        yield "no transactional id", "AddOffsetsToTxn", version, add_offsets("", "group-of-transactions")
        yield "an unknown id", "AddOffsetsToTxn", version, add_offsets("nobody", "group-of-transactions")
        yield "what was added", *settle(name)
        yield "the end", "EndTxn", 4, end(name, True)
        yield "after the end", *settle(name)
    two = {"Transactions": [{"TransactionalId": name, "ProducerId": 1, "ProducerEpoch": 0, "VerifyOnly": False, "Topics": [{"Name": "txn", "Partitions": [0]}]} for name in ("nobody", "")]}
    for version in (4, 5):
        yield "two transactions", "AddPartitionsToTxn", version, two
    for version in range(0, 6):
        yield "no transactional id", "EndTxn", version, end("", True)
        yield "an unknown id", "EndTxn", version, end("nobody", True)


def producing():
    for version in range(3, 14):
        name = f"produce-{version}"
        yield "an id", "InitProducerId", 5, initialize(name)
        yield "not added", "Produce", version, produce(name, version)
        yield "what was added by that", *settle(name)
        yield "add", "AddPartitionsToTxn", 3, add_partitions(name, {"txn": [0]}, 3)
        for label, fields in {"added": {"sequence": 1 if version >= 12 else 0}, "the same again": {"sequence": 1 if version >= 12 else 0}, "a gap": {"sequence": 9}, "not transactional, in a transaction": {"sequence": 2, "attributes": 0, "transactional_id": None},
                              "without its id": {"sequence": 2, "transactional_id": None}, "with another id": {"sequence": 2, "transactional_id": "somebody"}, "an old epoch": {"epoch": -1}, "a new epoch": {"epoch": 1}, "another producer": {"producer": 500_000},
                              "another partition": {"partition": 1}, "an unknown partition": {"partition": 9}, "an empty id": {"transactional_id": ""}}.items():
            yield label, "Produce", version, produce(name, version, **fields)
        yield "what was added", *settle(name)
        yield "the end", "EndTxn", 5 if version >= 12 else 4, end(name, version % 2 == 0)
        yield "after the end", *settle(name)
        yield "after the end, not added", "Produce", version, produce(name, version, sequence=0 if version >= 12 else 5)
        yield "after that", *settle(name)
        yield "the second end", "EndTxn", 5 if version >= 12 else 4, end(name, True)
        yield "after the second end", *settle(name)
    yield "the producers", "DescribeProducers", 0, {"Topics": [{"Name": "txn", "PartitionIndexes": [0, 1, 2]}]}


def reading():
    def fetch(partition, isolation, version, offset=0, topic="txn-read"):
        def body(facts):
            entry = {"TopicId": facts.topic_id(topic)} if version >= 13 else {"Topic": topic}
            replica = {} if version >= 15 else {"ReplicaId": -1}
            return {**replica, "MaxWaitMs": 20, "MinBytes": 1, "MaxBytes": 1 << 20, "IsolationLevel": isolation, "SessionEpoch": -1, "SessionId": 0,
                    "Topics": [{**entry, "Partitions": [{"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20}]}]}
        return body

    def look(label):
        for isolation in (0, 1):
            for version in range(4, 18):
                yield f"{label}, isolation {isolation}", "Fetch", version, fetch(0, isolation, version)
            yield f"{label}, from 2, isolation {isolation}", "Fetch", 13, fetch(0, isolation, 13, 2)
            yield f"{label}, from 4, isolation {isolation}", "Fetch", 13, fetch(0, isolation, 13, 4)
            for version in range(2, 11):
                for timestamp in (-1, -2, -3, 1_700_000_000_000):
                    if timestamp == -3 and version < 7:
                        continue
                    yield f"{label}, time {timestamp}, isolation {isolation}", "ListOffsets", version, {"ReplicaId": -1, "IsolationLevel": isolation, "Topics": [
                        {"Name": "txn-read", "Partitions": [{"PartitionIndex": 0, "CurrentLeaderEpoch": -1, "Timestamp": timestamp}]}]}
    yield "one", "InitProducerId", 5, initialize("reader-1")
    yield "two", "InitProducerId", 5, initialize("reader-2")
    yield "open", "Produce", 12, produce("reader-1", 12, [b"open-1"], topic="txn-read")
    yield "plain", "Produce", 12, produce("reader-1", 12, [b"plain"], topic="txn-read", attributes=0, transactional_id=None, sequence=0, producer=500_000)
    yield "two is open", "Produce", 12, produce("reader-2", 12, [b"open-2", b"open-3"], topic="txn-read")
    yield from look("both open")
    yield "one is aborted", "EndTxn", 5, end("reader-1", False)
    yield "settled", *settle("reader-1")
    yield from look("one aborted")
    yield "one goes on", "Produce", 12, produce("reader-1", 12, [b"second"], topic="txn-read")
    yield "two is committed", "EndTxn", 5, end("reader-2", True)
    yield "settled", *settle("reader-2")
    yield from look("two committed")
    yield "one is aborted again", "EndTxn", 4, end("reader-1", False)
    yield "settled", *settle("reader-1")
    yield from look("all ended")
    yield "the producers", "DescribeProducers", 0, {"Topics": [{"Name": "txn-read", "PartitionIndexes": [0, 1]}]}


def offsets():
    def fetched(label, group, stable=(False, True)):
        for require_stable in stable:
            for version in range(7, 10):
                for topics in ([{"Name": "txn", "PartitionIndexes": [0, 1, 2]}], None):
                    body = {"Groups": [{"GroupId": group, "Topics": topics}]} if version >= 8 else {"GroupId": group, "Topics": topics}
                    yield f"{label}, {'all' if topics is None else 'some'}, stable {require_stable}", "OffsetFetch", version, {**body, "RequireStable": require_stable}
    for version in range(0, 6):
        name, group = f"commit-{version}", f"txn-group-{version}"
        yield "an id", "InitProducerId", 5, initialize(name)
        yield "not added", "TxnOffsetCommit", version, commit_offsets(name, group)
        yield "what was added by that", *settle(name)
        yield "add", "AddOffsetsToTxn", 4, add_offsets(name, group)
        yield "added", "TxnOffsetCommit", version, commit_offsets(name, group, partitions=(0, 1))
        for label, fields in {"again": {"offset": 6}, "an unknown topic": {"topic": "nobody"}, "an unknown partition": {"partitions": (0, 9)}, "no group": {"group": ""}, "metadata too long": {"metadata": "x" * 5000}, "no metadata": {"metadata": None, "partitions": (2,)},
                              "an old epoch": {"epoch": -1}, "a new epoch": {"epoch": 1}, "another producer": {"producer": 500_000}, "a negative offset": {"offset": -3, "partitions": (2,)}, "no partitions": {"partitions": ()}}.items():
            yield label, "TxnOffsetCommit", version, commit_offsets(name, fields.pop("group", group), **fields)
        if version >= 3:
            yield "a generation in no group", "TxnOffsetCommit", version, commit_offsets(name, f"nothing-{version}", GenerationId=3, MemberId="m")
            yield "a generation in a simple group", "TxnOffsetCommit", version, commit_offsets(name, group, GenerationId=3, MemberId="m")
            yield "a member of a simple group", "TxnOffsetCommit", version, commit_offsets(name, group, MemberId="m")
            yield "an instance of a simple group", "TxnOffsetCommit", version, commit_offsets(name, group, GroupInstanceId="i")
        yield "no transactional id", "TxnOffsetCommit", version, commit_offsets("", group)
        yield "an unknown id", "TxnOffsetCommit", version, commit_offsets("nobody", group)
        yield from fetched("pending", group)
        yield "the group", "DescribeGroups", 6, {"Groups": [group]}
        yield "delete one", "OffsetDelete", 0, {"GroupId": group, "Topics": [{"Name": "txn", "Partitions": [{"PartitionIndex": 2}]}]}
        yield from fetched("one deleted", group, (True,))
        yield "the end", "EndTxn", 5 if version >= 5 else 4, end(name, version % 2 == 1)
        yield "after the end", *settle(name)
        yield from fetched("decided", group)
    yield "an id", "InitProducerId", 5, initialize("deleter")
    yield "pending in a group", "TxnOffsetCommit", 5, commit_offsets("deleter", "txn-deleted")
    yield "the group with pending offsets", "DeleteGroups", 2, {"GroupsNames": ["txn-deleted"]}
    yield "the end", "EndTxn", 5, end("deleter", True)
    yield "after the end", *settle("deleter")
    yield from fetched("the group is gone", "txn-deleted", (True,))
    yield from members(fetched)


def members(fetched):
    """KIP-447: who commits is asked for generation, member and instance."""
    group = "txn-members"
    protocols = [{"Name": "range", "Metadata": b"\0\0\0\0\0\1\0\3txn\xff\xff\xff\xff"}]
    join = {"GroupId": group, "SessionTimeoutMs": 10000, "RebalanceTimeoutMs": 10000, "ProtocolType": "consumer", "Protocols": protocols, "GroupInstanceId": "one"}
    yield "a static member", "JoinGroup", 9, {**join, "MemberId": ""}
    yield "an id", "InitProducerId", 5, initialize("member")

    def cases(label):
        for version in (2, 3, 4, 5):
            yield f"{label}, unnamed", "TxnOffsetCommit", version, commit_offsets("member", group)
            if version < 3:
                continue
            for what, generation, member, instance in (("itself", 0, True, "one"), ("itself without its instance", 0, True, None), ("an old generation", -1, True, "one"), ("a future generation", 1, True, "one"), ("a stranger", 0, False, None),
                                                       ("another with its instance", 0, False, "one"), ("an unknown instance", 0, True, "two"), ("no generation", None, True, "one"), ("a generation alone", 0, None, None)):
                yield f"{label}, {what}", "TxnOffsetCommit", version, commit_offsets(
                    "member", group, GenerationId=(lambda facts, generation=generation: -1 if generation is None else facts.generation(group) + generation),
                    MemberId=(lambda facts, member=member: "" if member is None else facts.member(group) if member else "nobody"), GroupInstanceId=instance)
    yield "the transaction takes the group in", "AddOffsetsToTxn", 4, add_offsets("member", group)
    yield from cases("before its assignment")
    yield "its assignment", "SyncGroup", 5, lambda facts: {"GroupId": group, "GenerationId": facts.generation(group), "MemberId": facts.member(group), "GroupInstanceId": "one", "ProtocolType": "consumer", "ProtocolName": "range",
                                                          "Assignments": [{"MemberId": facts.member(group), "Assignment": b""}]}
    yield from cases("stable")
    yield from fetched("pending", group, (True,))
    yield "the end", "EndTxn", 5, end("member", True)
    yield "after the end", *settle("member")
    yield from fetched("decided", group, (True,))


def writing_markers():
    for version in (1,):
        name = f"marker-{version}"
        yield "an id", "InitProducerId", 5, initialize(name)
        yield "its second epoch", "InitProducerId", 5, initialize(name)
        yield "an open transaction", "Produce", 12, produce(name, 12, topic="txn-open")
        for label, fields in {"an old epoch": {"epoch": -1}, "an unknown topic": {"topics": {"nobody": [0]}}, "an unknown partition": {"topics": {"txn-open": [7]}}, "another producer": {"producer": 500_000, "topics": {"txn-open": [0]}}}.items():
            yield label, "WriteTxnMarkers", version, markers(name, False, version, **{"topics": {"txn-open": [0]}, **fields})
        yield "abort it", "WriteTxnMarkers", version, markers(name, False, version, topics={"txn-open": [0]})
        yield "again", "WriteTxnMarkers", version, markers(name, False, version, topics={"txn-open": [0]})
        yield "an older coordinator", "WriteTxnMarkers", version, markers(name, False, version, coordinator_epoch=-1, topics={"txn-open": [0]})
        yield "a newer coordinator", "WriteTxnMarkers", version, markers(name, False, version, coordinator_epoch=5, topics={"txn-open": [0]})
        yield "the old coordinator", "WriteTxnMarkers", version, markers(name, False, version, coordinator_epoch=4, topics={"txn-open": [0]})
        yield "a newer epoch", "WriteTxnMarkers", version, markers(name, True, version, epoch=3, coordinator_epoch=5, topics={"txn-open": [0]})
        yield "two topics", "WriteTxnMarkers", version, markers(name, True, version, epoch=3, coordinator_epoch=5, topics={"txn": [0, 1], "__consumer_offsets": [0]})
        yield "nothing", "WriteTxnMarkers", version, {"Markers": []}
        yield "the producers", "DescribeProducers", 0, {"Topics": [{"Name": "txn-open", "PartitionIndexes": [0]}]}


def asking():
    yield "two and nobody", "DescribeTransactions", 0, describe("init-0", "commit-1", "nobody", "")
    yield "nothing", "DescribeTransactions", 0, describe()
    yield "one twice", "DescribeTransactions", 0, describe("init-0", "init-0")
    for version in range(0, 3):
        for label, body in {"all": {}, "ongoing": {"StateFilters": ["Ongoing"]}, "empty": {"StateFilters": ["Empty", "Dead"]}, "an unknown state": {"StateFilters": ["Sleepy", "CompleteCommit"]}, "only unknown states": {"StateFilters": ["Sleepy"]},
                            "a state in another case": {"StateFilters": ["ongoing"]}, "nobody's": {"ProducerIdFilters": [123456789]}}.items():
            yield label, "ListTransactions", version, body
        yield "one producer's", "ListTransactions", version, as_producer("init-0", lambda producer_id, epoch, facts: {"ProducerIdFilters": [producer_id]})
        if version >= 1:
            for duration in (-1, 0, 3_600_000):
                yield f"longer than {duration}", "ListTransactions", version, {"DurationFilter": duration}
        if version >= 2:
            for pattern in ("init-.*", "init", "", "(", "[a-z]+-1", None, "INIT.*", "^commit-[0-3]$"):
                yield f"by pattern {pattern}", "ListTransactions", version, {"TransactionalIdPattern": pattern}


def transactions():
    for part in (topics, coordinators, identities, partitions, producing, reading, offsets, writing_markers, asking):
        for label, api, version, body in part():
            yield f"{api} v{version}: {part.__name__}: {label}", api, version, body
