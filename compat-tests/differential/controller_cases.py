"""More requests for the controller: what its rules say at their edges."""
import uuid

NOWHERE = uuid.UUID("00000000-0000-4000-8000-00000000dead")
TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32


def create(name, **fields):
    return {"Topics": [{"Name": name, "NumPartitions": 1, "ReplicationFactor": 1, **fields}], "TimeoutMs": 30000}


def creation():
    def assigned(*assignments):
        return create("x", NumPartitions=-1, ReplicationFactor=-1, Assignments=[{"PartitionIndex": partition, "BrokerIds": brokers} for partition, brokers in assignments])

    yield "the topic of these cases", 7, create("edge")
    yield "no time", 7, {**create("no-time"), "TimeoutMs": 0}
    yield "less than no time", 7, {**create("less-time"), "TimeoutMs": -1}
    yield "defaults in an old version", 2, create("old-defaults", NumPartitions=-1, ReplicationFactor=-1)
    yield "too many partitions", 7, create("x", NumPartitions=10001)
    yield "too many partitions in all", 7, {"Topics": [{"Name": f"x{part}", "NumPartitions": 6000, "ReplicationFactor": 1} for part in range(2)], "TimeoutMs": 30000}
    yield "a configuration twice", 7, create("config-twice", Configs=[{"Name": "retention.ms", "Value": "1000"}, {"Name": "retention.ms", "Value": "2000"}])
    yield "an empty value", 7, create("x", Configs=[{"Name": "retention.ms", "Value": ""}])
    yield "an empty list", 7, create("empty-list", Configs=[{"Name": "cleanup.policy", "Value": ""}])
    yield "the longest name", 7, create("n" * 249)
    yield "names that collide with each other", 7, {"Topics": [{"Name": name, "NumPartitions": 1, "ReplicationFactor": 1} for name in ("pair.a", "pair_a")], "TimeoutMs": 30000}
    yield "good and bad together", 7, {"Topics": [{"Name": "mixed-good", "NumPartitions": 1, "ReplicationFactor": 1}, {"Name": "mixed-bad", "NumPartitions": 0, "ReplicationFactor": 1}], "TimeoutMs": 30000}
    yield "a name beyond ASCII", 7, create("tøpic")
    yield "unequal assignments", 7, assigned((0, [1]), (1, [1, 2]))
    yield "assigned twice", 7, assigned((0, [1]), (0, [1]))
    yield "assigned to an empty list", 7, assigned((0, []))
    yield "a negative partition", 7, assigned((-1, [1]))
    yield "a bad number and a bad factor", 7, create("x", NumPartitions=0, ReplicationFactor=0)
    yield "existing and bad", 7, create("edge", NumPartitions=0)
    yield "a bad name and a null value", 7, create("a b", Configs=[{"Name": "retention.ms", "Value": None}])
    yield "contradicting values", 7, create("x", Configs=[{"Name": "min.compaction.lag.ms", "Value": "9"}, {"Name": "max.compaction.lag.ms", "Value": "5"}])
    yield "the group topic's name with another dot", 7, create("__consumer.offsets2")


def deletion():
    def by(*topics):
        return {"Topics": [{"Name": name, "TopicId": identifier} for name, identifier in topics], "TimeoutMs": 30000}

    none = uuid.UUID(int=0)
    yield "DeleteTopics", "neither name nor id", 6, by((None, none))
    yield "DeleteTopics", "an id twice", 6, by((None, NOWHERE), (None, NOWHERE))
    yield "DeleteTopics", "a topic by name and again by id", 6, lambda facts: by(("config-twice", none), (None, facts.topic_id("config-twice")))
    yield "DeleteTopics", "a bad name", 6, by(("a b", none))
    yield "DeleteTopics", "an empty name", 6, by(("", none))
    yield "DeleteTopics", "nothing", 6, by()
    yield "DeleteTopics", "names twice in an old version", 4, {"TopicNames": ["q", "q", "r"], "TimeoutMs": 30000}
    yield "CreatePartitions", "a negative count", 3, {"Topics": [{"Name": "edge", "Count": -1, "Assignments": None}], "TimeoutMs": 30000}
    yield "CreatePartitions", "nothing", 3, {"Topics": [], "TimeoutMs": 30000}
    yield "CreatePartitions", "no time", 3, {"Topics": [{"Name": "edge", "Count": 2, "Assignments": None}], "TimeoutMs": 0}
    yield "CreatePartitions", "empty assignments", 3, {"Topics": [{"Name": "edge", "Count": 3, "Assignments": []}], "TimeoutMs": 30000}


def elections():
    yield "ElectLeaders", "an unknown type", 2, {"ElectionType": 7, "TopicPartitions": [{"Topic": "edge", "Partitions": [0]}], "TimeoutMs": 30000}
    yield "ElectLeaders", "nothing", 2, {"ElectionType": 0, "TopicPartitions": [], "TimeoutMs": 30000}
    yield "ElectLeaders", "a bad partition", 2, {"ElectionType": 0, "TopicPartitions": [{"Topic": "edge", "Partitions": [-1, 99]}], "TimeoutMs": 30000}
    yield "ListPartitionReassignments", "nothing", 0, {"TimeoutMs": 30000, "Topics": []}
    yield "ListPartitionReassignments", "of nobody", 0, {"TimeoutMs": 30000, "Topics": [{"Name": "nobody", "PartitionIndexes": [0]}]}
    yield "DescribeCluster", "fenced brokers too", 2, {"IncludeFencedBrokers": True}
    pages = {"no limit": {"Topics": [{"Name": "edge"}], "ResponsePartitionLimit": 0},
             "a negative limit": {"Topics": [{"Name": "edge"}], "ResponsePartitionLimit": -5}, "a negative cursor": {"Topics": [{"Name": "edge"}], "Cursor": {"TopicName": "edge", "PartitionIndex": -1}},
             "a cursor elsewhere": {"Topics": [{"Name": "edge"}], "Cursor": {"TopicName": "b", "PartitionIndex": 0}}, "a cursor behind": {"Topics": [{"Name": "edge"}], "Cursor": {"TopicName": "edge", "PartitionIndex": 50}},
             "a cursor at nobody": {"Topics": [{"Name": "nobody"}, {"Name": "edge"}], "Cursor": {"TopicName": "nobody", "PartitionIndex": 0}}, "a bad name": {"Topics": [{"Name": "a b"}]},
             "a topic twice": {"Topics": [{"Name": "edge"}, {"Name": "edge"}]}, "the page ends with the topic": {"Topics": [{"Name": "edge"}, {"Name": "zzz"}], "ResponsePartitionLimit": 2}}
    for label, body in pages.items():
        yield "DescribeTopicPartitions", label, 0, body
    for version in (0, 1, 4, 9, 12):
        yield "Metadata", "a topic twice", version, {"Topics": [{"Name": "edge"}, {"Name": "edge"}, {"Name": "nobody"}], "AllowAutoTopicCreation": False}
        yield "Metadata", "a bad name", version, {"Topics": [{"Name": "a b"}, {"Name": ""}], "AllowAutoTopicCreation": False}
    yield "Metadata", "ids twice", 12, lambda facts: {"Topics": [{"TopicId": facts.topic_id("edge"), "Name": None}] * 2 + [{"TopicId": NOWHERE, "Name": None}] * 2, "AllowAutoTopicCreation": True, "IncludeTopicAuthorizedOperations": True}
    yield "Metadata", "no name in version 10", 10, {"Topics": [{"TopicId": uuid.UUID(int=0), "Name": None}], "AllowAutoTopicCreation": False}


def described():
    for kind, names in {TOPIC: ("", "a b", "."), BROKER: ("-1", " 1"), LOGGER: ("", "x", "7"), METRICS: ("",), GROUP: ("",)}.items():
        for name in names:
            yield "DescribeConfigs", f"type {kind} '{name}'", 4, {"Resources": [{"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": None}]}
    yield "DescribeConfigs", "an unknown key", 4, {"Resources": [{"ResourceType": TOPIC, "ResourceName": "edge", "ConfigurationKeys": ["no.such"]}]}
    yield "DescribeConfigs", "a resource twice", 4, {"Resources": [{"ResourceType": TOPIC, "ResourceName": "edge", "ConfigurationKeys": ["retention.ms"]}] * 2}
    yield "DescribeConfigs", "a good and an unknown type", 4, {"Resources": [{"ResourceType": TOPIC, "ResourceName": "edge", "ConfigurationKeys": ["retention.ms"]}, {"ResourceType": 77, "ResourceName": "z", "ConfigurationKeys": None}]}
    yield "DescribeConfigs", "nothing", 4, {"Resources": []}
    for version in (0, 1):
        yield "ListConfigResources", "client metrics", version, {"ResourceTypes": [METRICS]} if version else {}


def altered():
    def change(kind, name, *configs):
        return {"Resources": [{"ResourceType": kind, "ResourceName": name, "Configs": [{"Name": key, "ConfigOperation": operation, "Value": value} for key, operation, value in configs]}]}

    def replace(kind, name, *configs):
        return {"Resources": [{"ResourceType": kind, "ResourceName": name, "Configs": [{"Name": key, "Value": value} for key, value in configs]}]}

    bodies = {"the default topic": (TOPIC, "", ("retention.ms", 0, "1")), "a bad topic name": (TOPIC, "a b", ("retention.ms", 0, "1")), "nothing to change": (TOPIC, "edge"),
              "delete what is not set": (TOPIC, "edge", ("segment.ms", 1, None)), "delete an unknown name": (TOPIC, "edge", ("no.such", 1, None)),
              "append twice": (TOPIC, "edge", ("cleanup.policy", 2, "compact,compact")), "append what is there": (TOPIC, "edge", ("cleanup.policy", 2, "compact")),
              "subtract what is not there": (TOPIC, "edge", ("cleanup.policy", 3, "burn")), "subtract everything": (TOPIC, "edge", ("cleanup.policy", 3, "delete,compact")),
              "append to nothing known": (TOPIC, "edge", ("no.such", 2, "x")), "a broker that is no number": (BROKER, "one", ("log.cleaner.threads", 0, "1")),
              "a negative broker": (BROKER, "-1", ("log.cleaner.threads", 0, "1")), "an unknown broker key": (BROKER, "1", ("no.such", 0, "1")), "append to a broker's number": (BROKER, "1", ("log.cleaner.threads", 2, "1")),
              "a bad broker value": (BROKER, "1", ("message.max.bytes", 0, "x")),
              "a logger of another broker": (LOGGER, "7", ("root", 0, "INFO")), "append to a logger": (LOGGER, "1", ("root", 2, "INFO")), "a logger that is not there": (LOGGER, "1", ("no.such.logger", 0, "INFO")),
              "a null broker value": (BROKER, "1", ("log.cleaner.threads", 0, None))}
    for label, (kind, name, *configs) in bodies.items():
        yield "IncrementalAlterConfigs", label, 1, change(kind, name, *configs)
    good, bad = change(TOPIC, "edge", ("retention.ms", 0, "77"))["Resources"], change(TOPIC, "nobody", ("retention.ms", 0, "77"))["Resources"]
    yield "IncrementalAlterConfigs", "good and bad together", 1, {"Resources": good + bad}
    yield "IncrementalAlterConfigs", "nothing", 1, {"Resources": []}
    yield "DescribeConfigs", "after all that", 4, {"Resources": [{"ResourceType": TOPIC, "ResourceName": "edge", "ConfigurationKeys": ["retention.ms", "cleanup.policy", "segment.ms"]}], "IncludeSynonyms": True}
    yield "AlterConfigs", "a name twice", 2, replace(TOPIC, "edge", ("retention.ms", "1"), ("retention.ms", "2"))
    yield "AlterConfigs", "a logger", 2, replace(LOGGER, "1", ("root", "INFO"))
    yield "AlterConfigs", "another broker", 2, replace(BROKER, "7", ("log.cleaner.threads", "1"))
    yield "AlterConfigs", "a read-only broker key", 2, replace(BROKER, "1", ("node.id", "9"))
    yield "AlterConfigs", "an unknown type", 2, replace(77, "1", ("x", "9"))
    yield "AlterConfigs", "the default topic", 2, replace(TOPIC, "", ("retention.ms", "9"))
    yield "AlterConfigs", "an unknown name", 2, replace(TOPIC, "edge", ("no.such", "9"))


def controller():
    for label, version, body in creation():
        yield f"CreateTopics v{version}: {label}", "CreateTopics", version, body
    for part in (deletion, elections, described, altered):
        for api, label, version, body in part():
            yield f"{api} v{version}: {label}", api, version, body
