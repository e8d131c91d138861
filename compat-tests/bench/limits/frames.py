"""The requests that are counted, encoded by hand, in the newest versions that the broker serves."""
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "raw"))
from record_batch import batch, varint  # noqa: E402

CLIENT_ID = b"limits"
NO_TAGS = b"\x00"
NULL = b"\x00"


def sized(data):
    """A compact string or compact bytes."""
    data = data.encode() if isinstance(data, str) else data
    return varint(len(data) + 1) + data


def array(elements):
    elements = list(elements)
    return varint(len(elements) + 1) + b"".join(elements)


def frame(key, version, body, correlation=7):
    """A whole frame with a request header v2."""
    request = struct.pack(">hhih", key, version, correlation, len(CLIENT_ID)) + CLIENT_ID + NO_TAGS + body
    return struct.pack(">i", len(request)) + request


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values[0] if len(values) == 1 else values

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(">B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def bytes(self):
        length = self.varint()
        if length == 0:
            return None
        self.at += length - 1
        return self.data[self.at - length + 1:self.at]


class Client:
    """A blocking connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(1 << 21)

    def receive(self, count):
        if count > len(self.buffer):
            self.buffer = bytearray(count)
        view, at = memoryview(self.buffer)[:count], 0
        while at < count:
            got = self.socket.recv_into(view[at:])
            if got == 0:
                raise ConnectionError("closed")
            at += got
        return view

    def answer(self):
        """The next answer, behind its correlation id and tags (response header v1)."""
        length, = struct.unpack(">i", self.receive(4))
        return self.receive(length)[5:]

    def send(self, frames):
        self.socket.sendall(frames)

    def call(self, key, version, body):
        self.send(frame(key, version, body))
        return Reader(bytes(self.answer()))


def create_topic(client, name, partitions, configs=()):
    """CreateTopics v7; the topic's id."""
    pairs = array(sized(key) + sized(value) + NO_TAGS for key, value in configs)
    topic = sized(name) + struct.pack(">ih", partitions, 1) + array([]) + pairs + NO_TAGS
    answer = client.call(19, 7, array([topic]) + struct.pack(">i?", 60_000, False) + NO_TAGS)
    answer.take(">i")
    assert answer.varint() == 2
    answer.bytes()
    topic_id = answer.take(">16s")
    error = answer.take(">h")
    assert error == 0, f"CreateTopics: error {error}"
    return topic_id


def produce(topic_id, records, partition=0, acks=-1):
    """Produce v13."""
    data = struct.pack(">i", partition) + sized(records) + NO_TAGS
    return frame(0, 13, NULL + struct.pack(">hi", acks, 30_000) + array([topic_id + array([data]) + NO_TAGS]) + NO_TAGS)


def produced(answer):
    """Checks the answer to one partition's Produce; the base offset."""
    answer = Reader(answer)
    assert answer.varint() == 2
    answer.take(">16s")
    assert answer.varint() == 2
    _, error, offset = answer.take(">ihq")
    assert error == 0, f"Produce: error {error}"
    return offset


def fetch(topics, session=(0, -1), min_bytes=1, wait=0, max_bytes=50 << 20, partition_max=1 << 20):
    """Fetch v17 of (topic id, (partition, offset) pairs)."""
    def entry(index, offset):
        return struct.pack(">iiqiqi", index, -1, offset, -1, -1, partition_max) + NO_TAGS
    topics = array(topic_id + array(entry(*pair) for pair in pairs) + NO_TAGS for topic_id, pairs in topics)
    start = struct.pack(">iiibii", wait, min_bytes, max_bytes, 0, *session)
    return frame(1, 17, start + topics + array([]) + sized("") + NO_TAGS)


def fetched(answer):
    """The session's id of a Fetch answer without an error."""
    _, error, session = Reader(answer).take(">ihi")
    assert error == 0, f"Fetch: error {error}"
    return session


def offset_commit(group, topic, offset, generation=-1, member=""):
    """OffsetCommit v9 of one partition."""
    entry = struct.pack(">iqi", 0, offset, -1) + sized("") + NO_TAGS
    body = sized(group) + struct.pack(">i", generation) + sized(member) + NULL
    return frame(8, 9, body + array([sized(topic) + array([entry]) + NO_TAGS]) + NO_TAGS)


def committed(answer):
    answer = Reader(answer)
    answer.take(">i")
    assert answer.varint() == 2
    answer.bytes()
    assert answer.varint() == 2
    _, error = answer.take(">ih")
    assert error == 0, f"OffsetCommit: error {error}"


def join_group(client, group):
    """Joins as the only member (JoinGroup v9, SyncGroup v5); generation and member id."""
    member = ""
    while True:
        protocol = sized("range") + sized(b"") + NO_TAGS
        body = sized(group) + struct.pack(">ii", 600_000, 60_000) + sized(member) + NULL + sized("consumer") + array([protocol])
        answer = client.call(11, 9, body + NULL + NO_TAGS)
        _, error, generation = answer.take(">ihi")
        answer.bytes(), answer.bytes(), answer.bytes(), answer.take(">?")
        member = answer.bytes().decode()
        if error == 79:  # MEMBER_ID_REQUIRED
            continue
        assert error in (0, 15, 14, 16), f"JoinGroup: error {error}"
        if error == 0:
            break
    assignment = sized(member) + sized(b"") + NO_TAGS
    body = sized(group) + struct.pack(">i", generation) + sized(member) + NULL + sized("consumer") + sized("range")
    answer = client.call(14, 5, body + array([assignment]) + NO_TAGS)
    _, error = answer.take(">ih")
    assert error == 0, f"SyncGroup: error {error}"
    return generation, member


def heartbeat(group, generation, member):
    """Heartbeat v4."""
    return frame(12, 4, sized(group) + struct.pack(">i", generation) + sized(member) + NULL + NO_TAGS)


def heartbeaten(answer):
    _, error = Reader(answer).take(">ih")
    assert error == 0, f"Heartbeat: error {error}"


def find_coordinator(client, group):
    """FindCoordinator v4, until the coordinator is there."""
    while True:
        answer = client.call(10, 4, b"\x00" + array([sized(group)]) + NO_TAGS)
        answer.take(">i")
        answer.varint()
        answer.bytes()
        answer.take(">i")
        answer.bytes()
        answer.take(">i")
        if answer.take(">h") == 0:
            return


def metadata(topic):
    """Metadata v12 of one topic by name."""
    return frame(3, 12, array([bytes(16) + sized(topic) + NO_TAGS]) + b"\x00\x00" + NO_TAGS)


def records(count, size, **options):
    """A batch of `count` values of `size` bytes."""
    return batch([bytes((index * 7 + size) & 0xFF for index in range(size))] * count, keys=[None] * count, **options)
