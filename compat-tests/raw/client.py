"""A raw-socket client and a broker of its own for the scripts that need no client library."""
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

from record_batch import batch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("OTTLA_BIN", os.path.join(os.environ.get("CARGO_TARGET_DIR", ROOT + "/target"), "release/ottla"))


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def metadata_request(topic):
    """Metadata v4 of one topic, with automatic creation."""
    return struct.pack(">i", 1) + string(topic) + b"\x01"


def produce_request(topic, value=b"x"):
    """Produce v3 of one record to partition 0, acks=all."""
    records = batch([value], base_timestamp=int(time.time() * 1000))
    return struct.pack(">hhii", -1, -1, 10_000, 1) + string(topic) + struct.pack(">iii", 1, 0, len(records)) + records


class Client:
    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, key, version, body):
        """Sends one request with a version 1 header; the answer's body."""
        request = struct.pack(">hhi", key, version, 7) + string("raw") + body
        self.socket.sendall(struct.pack(">i", len(request)) + request)
        length, = struct.unpack(">i", self.receive(4))
        answer = self.receive(length)
        assert struct.unpack(">i", answer[:4])[0] == 7
        return answer[4:]

    def receive(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data

    def produce(self, topic, value=b"x"):
        """The error code of one produced record."""
        answer = self.call(0, 3, produce_request(topic, value))
        return struct.unpack(">h", answer[4 + 2 + len(topic) + 4 + 4:][:2])[0]

    def produce_until_acknowledged(self, topic):
        while True:
            self.call(3, 4, metadata_request(topic))
            error = self.produce(topic)
            if error == 0:
                return
            assert error in (3, 5, 6), f"error {error}"  # not there yet, no leader yet


class Broker:
    def __init__(self, *arguments, stdout=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.directory = tempfile.mkdtemp(prefix="ottla-raw.")
        self.log = open(self.directory + "/log", "w+")
        listeners = f"listeners=PLAINTEXT://127.0.0.1:{self.port}"
        self.started = time.perf_counter()
        self.process = subprocess.Popen([BINARY, "--data", self.directory + "/data", "--override", listeners, *arguments],
                                        stdout=self.log if stdout is None else stdout, stderr=self.log)

    def client(self):
        while True:
            try:
                return Client(self.port)
            except ConnectionRefusedError:
                if self.process.poll() is not None:
                    raise SystemExit("the broker ended: " + open(self.directory + "/log").read())

    def memory_mib(self, field="VmRSS"):
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(rf"{field}:\s+(\d+)", status).group(1)) / 1024

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0, "the broker did not stop well: " + open(self.directory + "/log").read()
        assert "panicked" not in open(self.directory + "/log").read(), "the broker panicked: see " + self.directory
        shutil.rmtree(self.directory)
