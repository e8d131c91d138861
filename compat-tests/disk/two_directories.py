"""Of two log directories one fails: its partitions answer KAFKA_STORAGE_ERROR or have no leader, the other directory's serve on. When the
first one fails, which holds the metadata, the process ends with a clear message."""
import os
import shutil
import subprocess
import time

from rig import REFUSALS, STORAGE_ERROR, WORK, Broker, Writers, check_acknowledged, one, produce, skip, until

SYNCS = "fdatasync,fsync,sync_file_range,syncfs"
if not shutil.which("strace"):
    skip("no strace")
places = [("flushed", partition) for partition in range(4)]


def fail_syncs_in(broker, directory):
    files = [argument for name in os.listdir(directory) if name.startswith("flushed-")
             for argument in ("-P", f"{directory}/{name}/00000000000000000000.log")]
    tracer = subprocess.Popen(["strace", "-f", *files, "-o", f"{WORK}/two.strace", "-e", f"trace={SYNCS}",
                               "-e", f"inject={SYNCS}:error=EIO:when=2+", "-p", str(broker.process.pid)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until("strace", lambda: "attached" in tracer.stderr.readline())
    return tracer


def start(name):
    broker = Broker(f"{WORK}/{name}-a", f"{WORK}/{name}-b").start()
    broker.create("flushed", partitions=4, flush_messages="1")
    writers = Writers(broker, places)
    until("the first records", lambda: min(writers.count(place) for place in places) > 10)
    held = {directory: [int(name.rsplit("-", 1)[1]) for name in os.listdir(directory) if name.startswith("flushed-")]
            for directory in broker.directories}
    assert all(held.values()), f"the partitions are not spread: {held}"
    return broker, writers, held


# The second one fails: the first serves on.
broker, writers, held = start("second")
first, second = broker.directories
tracer = fail_syncs_in(broker, second)
until("the directory being offline", lambda: f"Stopping serving logs in dir {second}" in broker.output())
tracer.terminate()
tracer.wait(20)
before = {partition: writers.count(("flushed", partition)) for partition in held[first]}
until("the other directory serving on",
      lambda: all(writers.count(("flushed", partition)) > count + 50 for partition, count in before.items()))
client = broker.client()
for partition in held[second]:
    error, _ = produce(client, "flushed", one(b"refused"), partition)
    assert error in (STORAGE_ERROR, 5, 6), f"partition {partition} of the failed directory: error {error}"
writers.stop()
errors = {error for _, error, _ in writers.refused if isinstance(error, int)}
assert errors <= REFUSALS, f"errors {errors}"
broker.create("after")
check_acknowledged(broker, {place: records for place, records in writers.acknowledged.items() if place[1] in held[first]})
assert broker.commit("group", "flushed", 5), "no commit after one directory failed"
broker.kill()
broker.start()
count = check_acknowledged(broker, writers.acknowledged)
broker.stop()
print(f"second directory failed: {count} acknowledged records are there after the restart")

# The first one, which holds the metadata: the process ends.
broker, writers, held = start("first")
tracer = fail_syncs_in(broker, broker.directories[0])
status = broker.ended(30)
tracer.wait(20)
writers.stop()
assert status == 1, f"the process ended with {status}"
assert f"Stopping serving logs in dir {broker.directories[0]}" in broker.output(), broker.output()[-1500:]
broker.start()
count = check_acknowledged(broker, writers.acknowledged)
broker.stop()
print(f"first directory failed: {count} acknowledged records are there after the restart")
