"""A file system that turns read-only under the broker, as ext4 does after an error, and one that is so from the start."""
import os

from rig import REFUSALS, Broker, Writers, check_acknowledged, loop_disk, shell, until

# A sync that is under way while ext4's journal is aborted may be reported as done: jbd2 finds its transaction neither running
# nor committing and takes it for committed. A loop of pwrite and fdatasync without any broker loses its last write that way in
# about one of four rounds (Linux 6.18). So the newest acknowledged record of each partition proves nothing here; each one
# before it was followed by a sync that worked.
UNDER_WAY = 1

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
newest = {place: sorted(records)[-UNDER_WAY:] for place, records in writers.acknowledged.items()}
certain = {place: {offset: value for offset, value in records.items() if offset not in newest[place]}
           for place, records in writers.acknowledged.items()}
assert min(len(records) for records in certain.values()) >= 20, certain
count = check_acknowledged(broker, certain)
broker.stop()
shell("umount", disk)
print(f"{count} acknowledged records are there; read-only from the start: {message}")
