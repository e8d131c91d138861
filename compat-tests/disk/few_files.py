"""256 file descriptors: more connections than that neither spin the acceptor nor disturb clients that are connected already."""
import socket
import time

from rig import WORK, Broker, one, produce, until

broker = Broker(f"{WORK}/few", prefix=["prlimit", "--nofile=256"], overrides=["ottla.ballast.bytes=0"]).start()
broker.create("old", partitions=4)
old = broker.client()
assert produce(old, "old", one(b"first"))[0] == 0
others = []
for _ in range(400):
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(("127.0.0.1", broker.port))
    others.append(connection)
time.sleep(1)
cpu, started, written = broker.cpu_seconds(), time.monotonic(), 0
while time.monotonic() < started + 4:
    error, offset = produce(old, "old", one(b"beside"), written % 4)
    assert error == 0, f"an old client got error {error}"
    written += 1
    time.sleep(0.02)
share = (broker.cpu_seconds() - cpu) / (time.monotonic() - started)
assert share < 0.3, f"the broker used {share:.0%} of a processor while it could accept nobody"
for connection in others:
    connection.close()
took = until("a new client being accepted", broker.answers, seconds=20)
assert len(broker.read("old")) > 1
broker.stop()
print(f"{written} records of the old client beside 400 connections at {share:.1%} of a processor; accepted again after {took:.1f} s")
