"""A write to one partition's log fails with EIO: the log directory goes offline at once and nothing false is acknowledged; with one log
directory the process ends with a clear message, and starts again when the disk is well."""
import shutil
import subprocess

from rig import REFUSALS, WORK, Broker, Writers, check_acknowledged, skip, until

WRITES = "write,writev,pwrite64,pwritev,pwritev2"
if not shutil.which("strace"):
    skip("no strace")
broker = Broker(f"{WORK}/write").start()
broker.create("written", partitions=2)
places = [("written", 0), ("written", 1)]
writers = Writers(broker, places)
until("the first records", lambda: min(writers.count(place) for place in places) > 20)
path = f"{broker.directories[0]}/written-0/00000000000000000000.log"
tracer = subprocess.Popen(["strace", "-f", "-P", path, "-o", f"{WORK}/write.strace", "-e", f"trace={WRITES}",
                           "-e", f"inject={WRITES}:error=EIO:when=3+", "-p", str(broker.process.pid)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
until("strace", lambda: "attached" in tracer.stderr.readline())
status = broker.ended(30)
tracer.wait(20)
writers.stop()
assert status == 1, f"the process ended with {status}"
errors = {error for _, error, _ in writers.refused if isinstance(error, int)}
assert errors <= REFUSALS, f"errors {errors}"
assert "Input/output error" in broker.output() and path in broker.output(), broker.output()[-1500:]
broker.start()
count = check_acknowledged(broker, writers.acknowledged)
broker.stop()
print(f"{count} acknowledged records are there")
