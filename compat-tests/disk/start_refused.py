"""Two brokers on one directory, and directories that belong to somebody else: a clear message, exit code 1, and nothing written."""
import os
import subprocess

from rig import BINARY, WORK, Broker, free_port


def refused(broker, *words):
    status = broker.spawn().ended(20)
    message = broker.output().strip().splitlines()[-1]
    assert status == 1, f"status {status}: {message}"
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
    print(message)


def tree(directory):
    return subprocess.run(["find", directory, "-printf", "%P %s %m %T@\n"], capture_output=True, text=True, check=True).stdout


# Two brokers.
first = Broker(f"{WORK}/one").start()
before = tree(first.directories[0])
second = Broker(f"{WORK}/one")
refused(second, first.directories[0], "lock")
assert tree(first.directories[0]) == before, "the second broker wrote"
first.create("still-there")
first.stop()

# Somebody else's directory, for a user who may not write there (root may everywhere).
nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
os.chmod(WORK, 0o755)
owned = Broker(f"{WORK}/one", prefix=nobody)
before = tree(owned.directories[0])
refused(owned, owned.directories[0], "ermission denied")
assert tree(owned.directories[0]) == before, "a broker without permission wrote"

os.makedirs(f"{WORK}/bare/data", mode=0o555)
refused(Broker(f"{WORK}/bare", prefix=nobody), f"{WORK}/bare/data", "ermission denied")
assert os.listdir(f"{WORK}/bare/data") == []

# A file where the directory should be.
open(f"{WORK}/file", "w").close()
os.makedirs(f"{WORK}/holder")
open(f"{WORK}/holder/data", "w").close()
refused(Broker(f"{WORK}/holder"), f"{WORK}/holder/data")
