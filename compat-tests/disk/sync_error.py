"""fdatasync fails with EIO (strace injects it): the log directory goes offline at once, nothing is acknowledged that is not there after a
restart, no file is synced again. With one log directory the process ends with a clear message."""
import re
import shutil
import subprocess
import sys
import time

from rig import REFUSALS, WORK, Broker, Writers, check_acknowledged, skip, until

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
SYNCS = "fdatasync,fsync,sync_file_range,syncfs"
if not shutil.which("strace"):
    skip("no strace")


def inject(broker, after_syncs, log):
    """Lets so many syncs of a thread pass, then fails every one."""
    command = ["strace", "-f", "-y", "-ttt", "-o", log, "-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:error=EIO:when={after_syncs}+",
               "-p", str(broker.process.pid)]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    line = tracer.stderr.readline()
    if "attached" not in line:
        skip(f"strace cannot attach: {line}")
    return tracer


def synced_again(log):
    """A file whose sync failed and that was synced once more."""
    failed = set()
    for line in open(log):
        call = re.search(r"(?:fdatasync|fsync)\(\d+<([^>]*)>", line)
        if not call:
            continue
        if call[1] in failed:
            return call[1]
        if "EIO" in line:
            failed.add(call[1])
    return None


places = [("flushed", partition) for partition in range(4)]
for number in range(ROUNDS):
    broker = Broker(f"{WORK}/sync-{number}").start()
    broker.create("flushed", partitions=4, flush_messages="1")
    writers = Writers(broker, places)
    until("the first records", lambda: min(writers.count(place) for place in places) > 20)
    log = f"{WORK}/sync-{number}.strace"
    tracer = inject(broker, 1 + 7 * number, log)
    status = broker.ended(30)
    ended = time.monotonic()
    tracer.wait(20)
    writers.stop()
    assert status == 1, f"the process ended with {status}: {broker.output()[-1500:]}"
    errors = {error for _, error, _ in writers.refused if isinstance(error, int)}
    assert errors <= REFUSALS, f"errors {errors}"
    assert synced_again(log) is None, f"{synced_again(log)} was synced again after its sync had failed; see {log}"
    said = [line for line in broker.output().splitlines() if "Stopping serving logs in dir" in line or "offline" in line]
    assert said and "Input/output error" in broker.output(), f"no clear message: {broker.output()[-1500:]}"
    broker.start()
    count = check_acknowledged(broker, writers.acknowledged)
    broker.stop()
    print(f"round {number}: {count} acknowledged records are there; it said: {said[0][:200]}")
