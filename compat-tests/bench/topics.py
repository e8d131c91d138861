"""Topics over the raw client: created, counted, deleted."""
import struct
import time

from client import string


def create(client, name, partitions, configs=()):
    """Creates a topic and waits until every partition has a leader that answers ListOffsets."""
    entries = struct.pack(">i", len(configs)) + b"".join(string(key) + string(value) for key, value in configs)
    topic = struct.pack(">i", 1) + string(name) + struct.pack(">ihi", partitions, 1, 0) + entries
    answer = client.call(19, 2, topic + struct.pack(">i?", 60_000, False))
    error, = struct.unpack(">h", answer[10 + len(name):12 + len(name)])  # throttle time, one topic, its name
    if error != 0:
        raise SystemExit(f"topic {name}: error {error}")
    while end_offsets(client, name, partitions) is None:
        time.sleep(0.02)


def end_offsets(client, name, partitions):
    """The next offset of each partition, or None when one has no leader yet."""
    wanted = b"".join(struct.pack(">iq", index, -1) for index in range(partitions))
    answer = client.call(2, 1, struct.pack(">ii", -1, 1) + string(name) + struct.pack(">i", partitions) + wanted)
    position, offsets = 4 + 2 + len(name) + 4, {}
    for _ in range(partitions):
        index, error, _, offset = struct.unpack(">ihqq", answer[position:position + 22])
        if error != 0:
            return None
        offsets[index] = offset
        position += 22
    return [offsets[index] for index in range(partitions)]


def names(client):
    """All topics but the broker's own."""
    answer = client.call(3, 1, struct.pack(">i", -1))
    position, found = 0, []

    def number(format_):
        nonlocal position
        value, = struct.unpack_from(">" + format_, answer, position)
        position += struct.calcsize(">" + format_)
        return value

    def text():
        nonlocal position
        length = number("h")
        position += max(length, 0)
        return answer[position - length:position].decode() if length >= 0 else None

    for _ in range(number("i")):  # brokers
        number("i"), text(), number("i"), text()
    number("i")
    for _ in range(number("i")):
        number("h")
        found.append(text())
        number("b")
        for _ in range(number("i")):
            number("h"), number("i"), number("i")
            for _ in range(2):  # replicas, and those in sync
                count = number("i")
                position += 4 * count
    return [name for name in found if not name.startswith("__")]


def delete_all(client, prefix="bench-", keep=()):
    """Deletes what a run made, so that the next one finds neither dirty pages nor a full disk. The count."""
    doomed = [name for name in names(client) if name.startswith(prefix) and name not in keep]
    for first in range(0, len(doomed), 100):
        some = doomed[first:first + 100]
        client.call(20, 1, struct.pack(">i", len(some)) + b"".join(string(name) for name in some) + struct.pack(">i", 60_000))
    return len(doomed)
