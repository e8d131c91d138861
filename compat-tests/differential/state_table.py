"""The table of a transaction's states: (state × request × version × epoch relation), each cell with a transactional id of its own.

A cell is the steps to its state, the request, and what DescribeTransactions says afterwards. All answers are compared. The states
that markers pass through (Prepare…) cannot be held from outside; Ottla's own table test has them.
"""
from transaction_cases import add_offsets, add_partitions, as_producer, commit_offsets, describe, end, initialize, markers, produce, settle

TOPIC = "txn-table"


def states(name):
    """The steps to each state: (api, version, body)."""
    start = ("InitProducerId", 5, initialize(name))
    add = ("AddPartitionsToTxn", 3, add_partitions(name, {TOPIC: [0]}, 3))
    write_1 = ("Produce", 11, produce(name, 11, topic=TOPIC))
    write_2 = ("Produce", 12, produce(name, 12, topic=TOPIC))

    def ended(version, committed):
        return ("EndTxn", version, end(name, committed))
    yield "unknown", []
    yield "empty", [start]
    yield "ongoing, nothing written", [start, add]
    yield "ongoing, version 1", [start, add, write_1]
    yield "ongoing, version 2", [start, write_2]
    yield "committed, version 1", [start, add, write_1, ended(4, True), settle(name)]
    yield "aborted, version 1", [start, add, write_1, ended(4, False), settle(name)]
    yield "committed, version 2", [start, write_2, ended(5, True), settle(name)]
    yield "aborted, version 2", [start, write_2, ended(5, False), settle(name)]
    yield "aborted by a successor", [start, write_2, start, settle(name)]
    yield "taken over by a successor", [start, write_2, start, settle(name), start]


RELATIONS = {"current": {}, "one before": {"epoch": -1}, "one ahead": {"epoch": 1}, "another id": {"producer": 500_000}}


def requests(name):
    """(label, api, version, body by relation); a body that knows no relation comes once."""
    def expecting(**relation):
        return as_producer(name, lambda producer_id, epoch, facts: initialize(name, ProducerId=producer_id, ProducerEpoch=epoch), **relation)
    for version in range(0, 6):
        yield "as new", "InitProducerId", version, initialize(name)
        if version >= 3:
            yield "expecting", "InitProducerId", version, expecting
    for version in range(0, 6):
        yield "the partition", "AddPartitionsToTxn", version, lambda version=version, **relation: add_partitions(name, {TOPIC: [0]}, version, **relation)
        if version >= 4:
            yield "the partition, asked for", "AddPartitionsToTxn", version, lambda version=version, **relation: add_partitions(name, {TOPIC: [0]}, version, verify_only=True, **relation)
    for version in range(0, 5):
        yield "a group", "AddOffsetsToTxn", version, lambda **relation: add_offsets(name, name, **relation)
    for version in range(0, 6):
        for committed in (True, False):
            yield "commit" if committed else "abort", "EndTxn", version, lambda committed=committed, **relation: end(name, committed, **relation)
        yield "an offset", "TxnOffsetCommit", version, lambda **relation: commit_offsets(name, name, topic=TOPIC, **relation)
    for version in range(3, 14):
        for sequence in (0, 1):
            yield f"from {sequence}", "Produce", version, lambda version=version, sequence=sequence, **relation: produce(name, version, topic=TOPIC, sequence=sequence, **relation)
    for version in (1,):
        for committed in (True, False):
            yield "commit" if committed else "abort", "WriteTxnMarkers", version, lambda version=version, committed=committed, **relation: markers(name, committed, version, topics={TOPIC: [0]}, **relation)
    yield "it", "DescribeTransactions", 0, describe(name)


def cells(level, versions):
    """(state, label, api, version, relation), numbered by the order of the enumeration."""
    for state, steps in states(""):
        if level == 0 and any((api, version) in (("Produce", 12), ("EndTxn", 5)) for api, version, _ in steps):
            # UNSUPPORTED_VERSION, after which Apache Kafka's coordinator takes the change as under way for ever: every later request is
            # CONCURRENT_TRANSACTIONS. Ottla refuses the request and nothing else.
            continue
        for label, api, version, body in requests(""):
            for relation in RELATIONS if callable(body) else ["no relation"]:
                if version in versions.get(api, (version,)):
                    yield state, label, api, version, relation


def table(prefix, level, versions):
    for number, (state, label, api, version, relation) in enumerate(cells(level, versions)):
        name = f"{prefix}-{number}"
        cell = f"{api} v{version}: {prefix}: {state} × {label} × {relation}"
        steps = dict(states(name))[state]
        body = next(body for other, its_api, its_version, body in requests(name) if (other, its_api, its_version) == (label, api, version))
        for step, (step_api, step_version, step_body) in enumerate(steps):
            yield f"{cell}, step {step} to the state", step_api, step_version, step_body
        yield cell, api, version, body(**RELATIONS[relation]) if relation in RELATIONS else body
        yield f"{cell}, the state after it", *settle(name)


# What differs between versions, where the cluster's level is not the newest.
FEW = {"InitProducerId": (2, 3, 4), "AddPartitionsToTxn": (3, 5), "AddOffsetsToTxn": (4,), "EndTxn": (1, 4, 5), "TxnOffsetCommit": (3, 4, 5), "Produce": (10, 11, 12)}


def finalize(level, upgrade):
    update = {"Feature": "transaction.version", "MaxVersionLevel": level, "UpgradeType": upgrade}
    return f"UpdateFeatures v1: transaction.version is {level}", "UpdateFeatures", 1, {"timeoutMs": 10000, "FeatureUpdates": [update]}


def state_table():
    yield from table("table", 2, {})
    for level in (1, 0):
        yield finalize(level, 2)
        yield from table(f"table of level {level}", level, FEW)
    yield finalize(2, 1)
