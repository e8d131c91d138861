"""A full disk of 64 MiB: records are refused with an error that clients repeat; reads, commits, deletion of topics and retention stay up,
also over a restart; writing goes on within ten seconds after there is room again."""
import os
import time

from rig import STORAGE_ERROR, Broker, batch, check_acknowledged, loop_disk, one, produce, until

RESUMED_WITHIN = 10
disk = loop_disk("full", 64)
broker = Broker(disk).start()
BULK = batch([os.urandom(1 << 18)], base_timestamp=int(time.time() * 1000))
acknowledged = {("kept", 0): {}}
bulks = {}


def fill(topic):
    """Writes until the broker refuses; every refusal must be one that clients repeat."""
    client = broker.client()
    while True:
        error, offset = produce(client, topic, BULK)
        if error:
            assert error == STORAGE_ERROR, f"error {error}"
            return
        bulks[topic] = bulks.get(topic, 0) + 1
        assert sum(bulks.values()) < 1000, "the disk does not fill"


def write(value):
    error, offset = produce(broker.client(), "kept", one(value))
    assert error in (0, STORAGE_ERROR), f"error {error}"
    if error == 0:
        acknowledged[("kept", 0)][offset] = value
    return error == 0


def full_but_up(step):
    """What must work on a full disk."""
    assert not write(b"refused"), f"{step}: a record was taken on a full disk"
    before, started = broker.cpu_seconds(), time.monotonic()
    assert broker.commit("group", "kept", step), f"{step}: no commit on a full disk"
    assert broker.committed("group", "kept") == step
    check_acknowledged(broker, acknowledged)
    time.sleep(1)
    share = (broker.cpu_seconds() - before) / (time.monotonic() - started)
    assert share < 0.8, f"{step}: a full disk costs {share:.0%} of a processor"
    assert not write(b"refused"), f"{step}: a record was taken on a full disk"


def resumes(step, free):
    """`free()` makes room; records are taken within ten seconds of the room being there."""
    def room():
        return os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    before = room()
    free()
    # The first look of the retention comes 30 s after the start, as in Kafka.
    until(f"{step}: room", lambda: room() > before + (2 << 20), seconds=45)
    took = until(f"{step}: records being taken again", lambda: write(b"after " + step.encode()), seconds=RESUMED_WITHIN)
    print(f"{step}: writing went on {took:.1f} s after there was room", flush=True)


for topic in ("kept", "victim", "aged"):
    broker.create(topic, segment_bytes="1048576")
for number in range(100):
    assert write(b"%d" % number)
for _ in range(40):
    assert produce(broker.client(), "aged", BULK)[0] == 0
fill("victim")
full_but_up(1)
resumes("a topic deleted", lambda: broker.delete("victim"))
broker.create("victim", segment_bytes="1048576")
fill("victim")
full_but_up(2)
resumes("retention", lambda: broker.configure("aged", retention_bytes="1048576", segment_bytes="1048576"))
fill("victim")
full_but_up(3)

# A restart on a full disk, after kill -9 and in order.
broker.kill()
broker.start()
fill("victim")
full_but_up(4)
broker.stop()
broker.start()
fill("victim")
full_but_up(5)

# Somebody else's file fills the disk and goes.
resumes("a topic deleted after a restart", lambda: broker.delete("victim"))
filler = open(disk + "/filler", "wb")
try:
    while True:
        filler.write(bytes(1 << 20))
        filler.flush()
except OSError:
    pass
broker.create("victim", segment_bytes="1048576")
fill("victim")
full_but_up(6)


def remove_filler():
    filler.truncate(0)
    os.unlink(disk + "/filler")


resumes("another's file removed", remove_filler)
count = check_acknowledged(broker, acknowledged)
broker.stop()
broker.start()
check_acknowledged(broker, acknowledged)
broker.stop()
print(f"{count} acknowledged records and {sum(bulks.values())} bulks: all of the kept topic are there")
