"""A file system that turns read-only under the broker, as ext4 does after an error, and one that is so from the start."""
import os

from rig import REFUSALS, Broker, Writers, check_acknowledged, loop_disk, shell, until

disk = loop_disk("read-only", 64)
broker = Broker(disk).start()
broker.create("flushed", partitions=2, flush_messages="1")
places = [("flushed", 0), ("flushed", 1)]
writers = Writers(broker, places)
until("the first records", lambda: min(writers.count(place) for place in places) > 20)
shell("mount", "-o", "remount,abort", disk, check=False)
status = broker.ended(30)
writers.stop()
assert status == 1, f"the process ended with {status}"
errors = {error for _, error, _ in writers.refused if isinstance(error, int)}
assert errors <= REFUSALS, f"errors {errors}"
assert "Stopping serving logs in dir" in broker.output(), broker.output()[-1500:]

# Its journal is replayed by a mount that may write.
shell("umount", disk)
shell("mount", "-o", "loop", disk + ".img", disk)
shell("umount", disk)
shell("mount", "-o", "loop,ro", disk + ".img", disk)
status = broker.spawn().ended(20)
message = broker.output().splitlines()[-1]
assert status == 1 and disk in message and "ead-only file system" in message, f"{status}: {message}"

shell("umount", disk)
shell("mount", "-o", "loop", disk + ".img", disk)
broker.start()
count = check_acknowledged(broker, writers.acknowledged)
broker.stop()
shell("umount", disk)
print(f"{count} acknowledged records are there; read-only from the start: {message}")
