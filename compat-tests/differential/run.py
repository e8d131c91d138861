"""The same requests to Ottla and to Apache Kafka; the decoded answers compared.

    differential/run [--only REGEX] [--list] [--parts NAME,NAME]

Each broker starts fresh and gets every case of cases.py in order. What must differ (ids, ports, times) is normalised; what
differs for a reason is in known.py, and PROTOCOL.md lists the reason. Anything else fails, and so does, when all parts run, a version
or a field of a request that Ottla advertises and no case sends. With --verbose: what never was in an answer, too.
"""
import argparse
import importlib.resources
import os
import re
import socket
import struct
import sys
import time
import uuid

from cases import all_cases
from known import reason_for
from schema import NULL_SENT, RECEIVED, SENT, Message, covers

MESSAGES = {}


def message(name):
    if name not in MESSAGES:
        MESSAGES[name] = Message(name)
    return MESSAGES[name]


def request_names():
    return [file.name.removesuffix(".json") for file in importlib.resources.files("kafka.protocol.schemas.resources").iterdir() if file.name.endswith("Request.json")]


API_NAMES = {message(name).key: name.removesuffix("Request") for name in request_names()}


class Facts:
    """What one broker answered so far, for the requests and the normaliser."""

    def __init__(self):
        self.topic_ids, self.members, self.generations = {}, {}, {}
        self.transactions = {}  # producer id and epoch by transactional id
        self.producers = {}  # transactional id by producer id
        self.session_id, self.producer_id = 0, -1

    def topic_id(self, name):
        return name if isinstance(name, uuid.UUID) else self.topic_ids.get(name, uuid.UUID(int=1))

    def member(self, group):
        return self.members.get(group, "")

    def generation(self, group):
        return self.generations.get(group, -1)

    def learn(self, api, request, answer):
        if api == "Metadata":
            for topic in answer.get("Topics") or []:
                if topic.get("TopicId", uuid.UUID(int=0)).int and topic.get("Name"):
                    self.topic_ids[topic["Name"]] = topic["TopicId"]
        if api == "CreateTopics":
            for topic in answer["Topics"]:
                if topic.get("TopicId", uuid.UUID(int=0)).int:
                    self.topic_ids[topic["Name"]] = topic["TopicId"]
        if api == "JoinGroup" and isinstance(request, dict) and answer["MemberId"] and answer["ErrorCode"] in (0, 79):
            self.members[request["GroupId"]] = answer["MemberId"]
            if answer["ErrorCode"] == 0:
                self.generations[request["GroupId"]] = answer["GenerationId"]
        if api == "Fetch" and answer.get("SessionId"):
            self.session_id = answer["SessionId"]
        if api == "InitProducerId" and answer["ErrorCode"] == 0 and not request["TransactionalId"]:
            self.producer_id = answer["ProducerId"]
        if api in ("InitProducerId", "EndTxn") and answer["ErrorCode"] == 0 and request["TransactionalId"] and answer.get("ProducerId", -1) >= 0:
            self.transactions[request["TransactionalId"]] = answer["ProducerId"], answer["ProducerEpoch"]
            self.producers[answer["ProducerId"]] = request["TransactionalId"]


class Broker:
    def __init__(self, address):
        self.host, _, port = address.partition(":")
        self.port, self.facts, self.socket, self.correlation = int(port), Facts(), None, 0

    def connect(self):
        if self.socket is None:
            self.socket = socket.create_connection((self.host, self.port), timeout=20)

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def ask(self, api, version, body):
        """The decoded answer, or a word for what happened instead; a coordinator that is on its way is waited for."""
        for _ in range(50):
            answer = self.ask_once(api, version, body)
            if not re.search(r"'ErrorCode': (14|15|16)\b", repr(answer)):
                break
            time.sleep(0.1)
        if api == "UpdateFeatures":
            time.sleep(0.3)  # Apache Kafka's brokers hear of it after it was answered
        for _ in range(500):
            # Apache Kafka answers when a transaction is decided; its markers follow.
            if api != "DescribeTransactions" or "'TransactionState': 'Prepare" not in repr(answer):
                break
            time.sleep(0.01)
            answer = self.ask_once(api, version, body)
        return answer

    def ask_once(self, api, version, body):
        request = message(api + "Request")
        body = body(self.facts) if callable(body) else body
        data = body if isinstance(body, bytes) else request.encode(body, version)
        self.connect()
        self.correlation += 1
        header = struct.pack(">hhih", request.key, version, self.correlation, 4) + b"diff" + (b"\0" if request.flexible(version) else b"")
        self.socket.sendall(struct.pack(">i", len(header) + len(data)) + header + data)
        try:
            answer = self.receive(struct.unpack(">i", self.receive(4))[0])
        except (ConnectionError, struct.error):
            self.close()
            return "the connection closes"
        except TimeoutError:
            self.close()
            return "no answer"
        if struct.unpack(">i", answer[:4])[0] != self.correlation:
            self.close()
            return "an answer to another request"
        try:
            decoded = self.decode(api, version, answer[4:])
        except (AssertionError, struct.error, UnicodeDecodeError) as error:
            return f"an answer that cannot be decoded: {error}"
        self.facts.learn(api, body, decoded)
        return decoded

    @staticmethod
    def decode(api, version, answer):
        request, response = message(api + "Request"), message(api + "Response")
        if api == "ApiVersions":
            body_version = version if version in request.versions() else 0
            return response.decode(answer, body_version)
        return response.decode(answer[1 if response.flexible(version) else 0:], version)

    def receive(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def normalise(self, api, value, field=""):
        names = {identifier: name for name, identifier in self.facts.topic_ids.items()}
        members = {identifier: group for group, identifier in self.facts.members.items()}
        if isinstance(value, dict):
            return {name: self.normalise(api, part, name) for name, part in value.items()}
        if isinstance(value, list):
            parts = [self.normalise(api, part, field) for part in value]
            if api == "DescribeTransactions" and field == "Partitions":
                return sorted(parts)  # Kafka's come in the order of a hash map
            return sorted(parts, key=repr) if parts and isinstance(parts[0], dict) else parts
        if isinstance(value, uuid.UUID):
            return f"<id of {names[value]}>" if value in names else str(value)
        if field == "ProducerId" and value in self.facts.producers:
            return f"<producer of {self.facts.producers[value]}>"
        if field == "Timestamp" and isinstance(value, int) and value > 1_750_000_000_000:
            return "<time of a marker>"
        if field == "Records" and isinstance(value, bytes):
            return records_of(value)
        if field in ("ThrottleTimeMs", "TransactionStartTimeMs", "LogAppendTimeMs", "LastTimestamp", "SessionId", "ProducerId", "BrokerEpoch", "TotalBytes", "UsableBytes", "LogDir", "ClientHost", "FinalizedFeaturesEpoch"):
            return value if value in (0, -1, None) else f"<{field}>"
        if field in ("Host", "ClusterId"):
            return f"<{field}>"
        if field == "Port":
            return "<port>" if value == self.port else value
        if isinstance(value, str):
            for member, group in members.items():
                value = value.replace(member, f"<member of {group}>")
            for identifier, name in names.items():
                value = value.replace(kafka_text(identifier), f"<id of {name}>")
            value = re.sub(r"(diff|one|instance)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<member>", value)
            value = re.sub(r"-?\d{13,19}", "<time>", value)
            return re.sub(r"[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])", "<id>", value)
        return value


def records_of(data):
    """Batches of producers and markers without what differs: ids, the checksum over them, and the time of a marker."""
    batches, position = [], 0
    while len(data) - position >= 61:
        length = 12 + struct.unpack(">i", data[position + 8:position + 12])[0]
        batch, position = bytearray(data[position:position + length]), position + length
        is_control = batch[22] & 0x20
        if struct.unpack(">q", batch[43:51])[0] >= 0:
            batch[17:21], batch[43:51] = b"\0" * 4, b"\0" * 8
        if is_control:
            batch[27:43] = b"\0" * 16
        batches.append(bytes(batch).hex())
    return batches + [data[position:].hex()]


def kafka_text(identifier):
    import base64
    return base64.urlsafe_b64encode(identifier.bytes).decode().rstrip("=")


def differences(path, ours, theirs):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(set(ours) | set(theirs)):
            yield from differences(f"{path}.{name}", ours.get(name, "<absent>"), theirs.get(name, "<absent>"))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (our, their) in enumerate(zip(ours, theirs)):
            yield from differences(f"{path}[{index}]", our, their)
    elif ours != theirs:
        yield path, ours, theirs


def rows_of(api, answer):
    """The configurations that an answer lists."""
    parts = answer.get({"DescribeConfigs": "Results", "CreateTopics": "Topics"}.get(api), [])
    return [row for part in parts for row in part.get("Configs") or []]


def comparable(api, ours, theirs):
    """What both can be expected to say: rows of tables that Ottla has in part are compared where both have them."""
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return ours, theirs
    if api == "ApiVersions":
        # By name, so that known.py can say which one may differ. What Ottla has, Kafka must have too.
        both = {row["ApiKey"] for row in ours["ApiKeys"]}
        for answer in (ours, theirs):
            answer["ApiKeys"] = {API_NAMES[row["ApiKey"]]: row for row in answer["ApiKeys"] if row["ApiKey"] in both}
        for kind in ("SupportedFeatures", "FinalizedFeatures"):
            if kind in ours and kind in theirs:
                known = {feature["Name"] for feature in ours[kind]}
                theirs[kind] = [feature for feature in theirs[kind] if feature["Name"] in known or feature["Name"] == "transaction.version"]
    for row in rows_of(api, ours) + rows_of(api, theirs):
        if row["Name"] == "min.insync.replicas":
            # Kafka stores it as a cluster default when it finalizes eligible leader replicas, which Ottla does not have.
            row.pop("ConfigSource", None), row.pop("Synonyms", None), row.pop("IsDefault", None)
    if api == "DescribeConfigs":
        for our, their in zip(ours["Results"], theirs["Results"]):
            both = {row["Name"] for row in our["Configs"] or []} & {row["Name"] for row in their["Configs"] or []}
            for result in (our, their):
                result["Configs"] = [row for row in result["Configs"] or [] if row["Name"] in both]
                for row in result["Configs"]:
                    row.pop("Documentation", None)
    return ours, theirs


def compare(ottla, kafka, api, version, body):
    answers = [broker.normalise(api, broker.ask(api, version, body)) for broker in (ottla, kafka)]
    return list(differences("", *comparable(api, *answers)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--parts", default="", help="functions of PARTS in cases.py; the others are not sent")
    parser.add_argument("--verbose", action="store_true", help="print the known differences too")
    options = parser.parse_args()
    cases = list(all_cases([name for name in options.parts.split(",") if name]))
    if options.list:
        print("\n".join(label for label, *_ in cases))
        return 0
    ottla, kafka = Broker(os.environ["OTTLA"]), Broker(os.environ["KAFKA"])
    same, known, different, sent = 0, 0, 0, set()
    for label, api, version, body in cases:
        found = compare(ottla, kafka, api, version, body)
        sent.add((message(api + "Request").key, version))
        for _ in range(3):
            # Apache Kafka's brokers hear of a change after it was answered: a read may need a moment.
            if not found or not api.startswith(("Describe", "Metadata", "List")) or "Transactions" in api:
                break
            time.sleep(0.3)
            found = compare(ottla, kafka, api, version, body)
        unexplained = [(path, ours, theirs) for path, ours, theirs in found if not reason_for(label, api, path, ours, theirs)]
        if not re.search(options.only, label):
            continue
        if not found:
            same += 1
            continue
        known, different = known + (not unexplained), different + bool(unexplained)
        for path, ours, theirs in found if options.verbose else unexplained:
            reason = reason_for(label, api, path, ours, theirs)
            print(f"{'known' if reason else 'DIFFERENT'} {label}\n    {path}\n    ottla {str(ours)[:300]}\n    kafka {str(theirs)[:300]}" + (f"\n    {reason}" if reason else ""))
    print(f"{same} answers are the same, {known} differ for a known reason, {different} differ")
    unsent = [] if options.parts else list(never_sent(ottla, sent))
    for what in unsent:
        print(f"NEVER SENT {what}")
    for what in never_answered(ottla) if options.verbose else ():
        print(f"never another answer than the default: {what}")
    print(f"{same + known} passed, {different + len(unsent)} failed")
    return 1 if different or unsent or not same else 0


def advertised(ottla):
    """Key, name and versions of every API that Ottla advertises and answers."""
    for entry in ottla.ask("ApiVersions", 0, {})["ApiKeys"]:
        name = API_NAMES[entry["ApiKey"]]
        first = max(entry["MinVersion"], message(name + "Request").versions()[0])
        yield entry["ApiKey"], name, range(first, entry["MaxVersion"] + 1)


def never_sent(ottla, sent):
    """Versions, and fields of requests, that no case tries: what nobody fills in could be ignored unnoticed."""
    for key, name, versions in advertised(ottla):
        yield from (f"{name} v{version}" for version in versions if (key, version) not in sent)
        for path, field in message(name + "Request").all_fields():
            identity = name + "Request", id(field)
            if identity not in SENT and any(covers(field["versions"], version) for version in versions):
                yield name + path
            if identity not in NULL_SENT and any(covers(field.get("nullableVersions"), version) for version in versions):
                yield f"{name}{path} as null"


def never_answered(ottla):
    """Fields of answers that no case brings to another value than their default."""
    for _, name, versions in advertised(ottla):
        yield from (f"{name}{path}" for path, field in message(name + "Response").all_fields()
                    if any(covers(field["versions"], version) for version in versions) and (name + "Response", id(field)) not in RECEIVED)


if __name__ == "__main__":
    sys.exit(main())
