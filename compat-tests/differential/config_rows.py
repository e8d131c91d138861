"""DescribeConfigs of Ottla and of Apache Kafka, row by row: both start with the same properties file and get the same changes.

    differential/configs [--verbose]

Every row is compared: that it is there, its value, type, source, synonyms, sensitivity, and whether it can change. What differs
has a reason below or fails. Nothing is left out: a row that only one of them has is a difference.
"""
import argparse
import os
import re
import sys
import time

from run import Broker

TOPIC, BROKER, SET, DELETE, APPEND = 2, 4, 0, 1, 2

# (resource, row, column, reason); the first that matches counts.
KNOWN = [
    (r"broker", r"^log\.dirs?$|^metadata\.log\.dir$", r"^(Value|Synonyms)", "each has directories of its own; Ottla's default is not one that a reboot empties"),
    (r"broker", r"^(listeners|listener\.security\.protocol\.map)$", r"^ReadOnly$", "listeners are opened at the start only"),
    (r"broker", r"^num\.recovery\.threads\.per\.data\.dir$", r"^ReadOnly$", "recovery is over before dynamic values are known"),
    (r"broker", r"^(node\.id|process\.roles|controller\.listener\.names)$", r"^Synonyms", "Kafka has no default for what must be given; Ottla needs none of them"),
    (r"broker", r"^leader\.replication\.throttled\.rate$", r"^HasDocumentation$", "Ottla says of every row what it makes of it"),
]

FIXED = [  # given to both at the start; KAFKA=… in `configs` must agree
    "num.partitions=3", "log.retention.hours=24", "log.segment.bytes=2097152", "num.io.threads=4", "ssl.keystore.password=secret",
    "sasl.jaas.config=secret", "no.such.key=secret", "listener.name.plaintext.max.connections=77", "log.roll.jitter.hours=1",
    "producer.id.expiration.check.interval.ms=500000", "message.max.bytes=2000000", "group.max.size=500",
    "listener.name.plaintext.ssl.keystore.password=secret", "connections.max.idle.ms=700000", "broker.rack=r1", "super.users=User:a",
]

CHANGES = [  # resource type, name, operations
    (BROKER, "1", [("log.retention.ms", SET, "90000000"), ("max.connections", SET, "1000"), ("num.io.threads", SET, "5"), ("log.cleaner.threads", SET, "2")]),
    (BROKER, "", [("message.max.bytes", SET, "3000000"), ("log.retention.ms", SET, "80000000"), ("no.such.default", SET, "x"), ("max.connections.per.ip", SET, "900"), ("background.threads", SET, "12")]),
    (BROKER, "1", [("leader.replication.throttled.rate", SET, "1000000"), ("ssl.keystore.location", SET, "/x")]),
    (BROKER, "1", [("leader.replication.throttled.rate", SET, "1000000")]),
    (BROKER, "1", [("num.io.threads", SET, "50")]),
    (BROKER, "1", [("num.io.threads", SET, "0")]),
    (BROKER, "", [("ssl.truststore.password", SET, "x")]),
    (BROKER, "", [("listener.name.plaintext.ssl.keystore.type", SET, "PEM")]),
    (BROKER, "", [("sasl.kerberos.kinit.cmd", SET, "x")]),
    (BROKER, "1", [("group.max.size", SET, "3")]),
    (BROKER, "1", [("log.cleaner.threads", SET, "many")]),
    (BROKER, "1", [("log.cleaner.threads", APPEND, "1")]),
    (BROKER, "1", [("compression.type", SET, "none")]),
    (BROKER, "1", [("num.replica.fetchers", SET, "2"), ("metric.reporters", SET, "")]),
    (TOPIC, "rows", [("retention.ms", SET, "70000000"), ("cleanup.policy", SET, "compact,delete"), ("compression.type", SET, "zstd"), ("flush.ms", SET, "5000")]),
    (TOPIC, "rows", [("compression.type", DELETE, None), ("segment.bytes", SET, "1048576"), ("segment.ms", SET, "100000")]),
    (BROKER, "1", [("log.retention.ms", DELETE, None), ("log.roll.ms", SET, "50000"), ("unclean.leader.election.enable", SET, "true")]),
]


def alter(kind, name, operations):
    configs = [{"Name": key, "ConfigOperation": operation, "Value": value} for key, operation, value in operations]
    return {"Resources": [{"ResourceType": kind, "ResourceName": name, "Configs": configs}], "ValidateOnly": False}


def describe(kind, name):
    resource = {"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": None}
    return {"Resources": [resource], "IncludeSynonyms": True, "IncludeDocumentation": True}


def plain(text, port):
    return re.sub(rf":({port}|{port + 1})\b", lambda match: ":<port>" if match[1] == str(port) else ":<controller port>", text) if isinstance(text, str) else text


def rows(broker, kind, name):
    answer = broker.ask("DescribeConfigs", 4, describe(kind, name))
    result = answer["Results"][0]
    found = {}
    for row in result["Configs"] or []:
        row["Value"] = plain(row["Value"], broker.port)
        row["HasDocumentation"] = bool(row.pop("Documentation"))
        row["Synonyms"] = [(synonym["Name"], plain(synonym["Value"], broker.port), synonym["Source"]) for synonym in row["Synonyms"]]
        assert row["Name"] not in found, f"{row['Name']} twice"
        found[row.pop("Name")] = row
    return result["ErrorCode"], found


def compare(ottla, kafka, kind, name):
    (our_error, ours), (their_error, theirs) = rows(ottla, kind, name), rows(kafka, kind, name)
    if our_error != their_error:
        yield "", "ErrorCode", our_error, their_error
    # What is there because it was given comes first in both, each by an order of its own.
    given = ("listener.name", "no.such", "super.", "producer.id.expiration.check", "leader.replication")
    our_order, their_order = ([key for key in found if key in ours and key in theirs and name and not key.startswith(given)] for found in (ours, theirs))
    if our_order != their_order:
        yield next(our for our, their in zip(our_order, their_order) if our != their), "order", our_order, their_order
    for key in sorted(set(ours) | set(theirs)):
        if key not in ours or key not in theirs:
            yield key, "row", ours.get(key, "<absent>"), theirs.get(key, "<absent>")
            continue
        for column in sorted(set(ours[key]) | set(theirs[key])):
            if ours[key].get(column) != theirs[key].get(column):
                yield key, column, ours[key].get(column), theirs[key].get(column)


def reason_for(resource, key, column):
    for resource_pattern, key_pattern, column_pattern, reason in KNOWN:
        if re.search(resource_pattern, resource) and re.search(key_pattern, key) and re.search(column_pattern, column):
            return reason
    return None


class Report:
    def __init__(self, verbose):
        self.same, self.known, self.different, self.verbose = 0, 0, 0, verbose

    def tell(self, when, resource, found, number):
        unexplained = 0
        for key, column, ours, theirs in found:
            reason = reason_for(resource, key, column)
            unexplained += not reason
            if self.verbose or not reason:
                print(f"{'known' if reason else 'DIFFERENT'} {when}: {resource} {key} {column}\n    ottla {ours}\n    kafka {theirs}" + (f"\n    {reason}" if reason else ""))
        rows_that_differ = len({key for key, *_ in found})
        self.same += number - rows_that_differ
        self.known += rows_that_differ if not unexplained else 0
        self.different += rows_that_differ if unexplained else 0


def look(report, ottla, kafka, when):
    for kind, name, resource in ((BROKER, "1", "broker"), (BROKER, "", "cluster default"), (TOPIC, "rows", "topic")):
        for attempt in range(10):
            found = list(compare(ottla, kafka, kind, name))
            if all(reason_for(resource, key, column) for key, column, *_ in found) or attempt == 9:
                break
            time.sleep(0.2)  # Apache Kafka's broker hears of a change after it was answered
        number = len(rows(kafka, kind, name)[1])
        report.tell(when, resource, found, number)
        print(f"{when}: {resource}: {number} rows, {len({key for key, *_ in found})} differ")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbose", action="store_true", help="print the known differences too")
    parser.add_argument("--fixed", action="store_true", help="print the properties that both get")
    options = parser.parse_args()
    if options.fixed:
        print("\n".join(FIXED))
        return 0
    ottla, kafka, report = Broker(os.environ["OTTLA"]), Broker(os.environ["KAFKA"]), Report(options.verbose)
    topic = {"Name": "rows", "NumPartitions": 1, "ReplicationFactor": 1, "Assignments": [], "Configs": []}
    for broker in (ottla, kafka):
        answer = broker.ask("CreateTopics", 7, {"Topics": [topic], "timeoutMs": 10_000, "validateOnly": False})
        assert answer["Topics"][0]["ErrorCode"] == 0, answer
    look(report, ottla, kafka, "at first")
    for number, (kind, name, operations) in enumerate(CHANGES, 1):
        answers = [broker.ask("IncrementalAlterConfigs", 1, alter(kind, name, operations))["Responses"][0] for broker in (ottla, kafka)]
        ours, theirs = ((answer["ErrorCode"], answer["ErrorMessage"]) for answer in answers)
        same = ours == theirs
        report.same, report.different = report.same + same, report.different + (not same)
        if not same:
            print(f"DIFFERENT change {number} {operations}\n    ottla {ours}\n    kafka {theirs}")
    look(report, ottla, kafka, "after the changes")
    print(f"{report.same} are the same, {report.known} differ for a known reason, {report.different} differ")
    print(f"{report.same + report.known} passed, {report.different} failed")
    return 1 if report.different or not report.same else 0


if __name__ == "__main__":
    sys.exit(main())
