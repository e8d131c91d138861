"""What is counted: each case prepares a connection once, then sends the same requests again and again."""
import itertools

import frames as f
from frames import Reader


class Load:
    """A prepared case. `burst` frames are sent together, then as many answers are taken and checked."""

    def __init__(self, client, frame, check, burst=1):
        self.client, self.frame, self.check, self.burst = client, frame, check, burst

    def run(self, requests):
        for _ in range(requests // self.burst):
            frames = self.frame() if callable(self.frame) else self.frame * self.burst
            self.client.send(frames)
            for _ in range(self.burst):
                self.check(self.client.answer())


class Session:
    """A fetch session over `partitions` of each topic. The first has news again and again: it is asked for from the same offset."""

    def __init__(self, client, topic_ids, partitions, **limits):
        self.topic_id, self.limits, self.epoch = topic_ids[0], limits, 0
        everything = [(index, 0) for index in range(partitions)]
        client.send(f.fetch([(topic_id, everything) for topic_id in topic_ids], session=(0, 0), **limits))
        self.id = f.fetched(client.answer())
        assert self.id != 0, "no session"

    def frame(self, with_news):
        self.epoch += 1
        changed = [(self.topic_id, [(0, 0)])] if with_news else []
        return f.fetch(changed, session=(self.id, self.epoch), **self.limits)


def producing(count, size, burst=1, **options):
    def prepare(client, name):
        topic = f.create_topic(client, name, 1)
        return Load(client, f.produce(topic, f.records(count, size, **options)), f.produced, burst)
    return prepare


def producing_in_turn(producers):
    """One record of one idempotent producer after the other. What the partition knows of all the others must not matter."""
    def prepare(client, name):
        topic, sent, turn = f.create_topic(client, name, 1), [0] * producers, itertools.cycle(range(producers))

        def frame():
            producer = next(turn)
            records = f.records(1, 100, producer_id=producer, producer_epoch=0, sequence=sent[producer])
            sent[producer] += 1
            return f.produce(topic, records)
        load = Load(client, frame, f.produced)
        load.run(producers)
        return load
    return prepare


def fetching(partitions, count, size, batches=1, with_news=True, **limits):
    def prepare(client, name):
        each = min(partitions, 1_000)
        topics = [f.create_topic(client, f"{name}-{index}", each) for index in range(partitions // each)]
        frame = f.produce(topics[0], f.records(count, size))
        for _ in range(batches if with_news else 0):
            client.send(frame)
            f.produced(client.answer())
        session = Session(client, topics, each, **limits)
        least = min(count * size * batches, 1 << 20) * 9 // 10 if with_news else 0

        def check(answer):
            f.fetched(answer)
            assert len(answer) >= least, f"{len(answer)} bytes"
        return Load(client, lambda: session.frame(with_news), check)
    return prepare


def committing(client, name):
    f.create_topic(client, name, 1)
    f.find_coordinator(client, name)
    generation, member = f.join_group(client, name)
    return Load(client, f.offset_commit(name, name, 1, generation, member), f.committed)


def beating(client, name):
    f.find_coordinator(client, name)
    generation, member = f.join_group(client, name)
    return Load(client, f.heartbeat(name, generation, member), f.heartbeaten)


def describing(client, name):
    f.create_topic(client, name, 6)
    return Load(client, f.metadata(name), lambda answer: Reader(answer).take(">i"))


# The names are those of the table `budgets`; many partitions come last, since they stay.
CASES = {
    "produce 1 x 100 B": producing(1, 100),
    "produce 1 x 100 B, 5 in flight": producing(1, 100, burst=5),
    "produce 120 x 1 KiB": producing(120, 1024),
    "produce 1,200 x 100 B": producing(1_200, 100),
    "produce 1 x 100 B, 1 producer id": producing_in_turn(1),
    "produce 1 x 100 B, 10,000 producer ids": producing_in_turn(10_000),
    "fetch 1 x 100 B": fetching(1, 1, 100),
    "fetch 1 MiB": fetching(1, 120, 1024, batches=12),
    "fetch nothing": fetching(1, 1, 100, with_news=False),
    "offset commit": committing,
    "heartbeat": beating,
    "metadata": describing,
    "fetch 1 x 100 B of 1,000 partitions": fetching(1_000, 1, 100),
    "fetch 1 x 100 B of 10,000 partitions": fetching(10_000, 1, 100),
    "fetch nothing of 10,000 partitions": fetching(10_000, 1, 100, with_news=False),
}

# Bytes of payload that a request of these moves.
PAYLOAD = {"produce 120 x 1 KiB": 120 * 1024, "fetch 1 MiB": 1 << 20}
