"""The checks of `run`. This process plays the machine that runs the containers."""
import atexit
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE) + "/raw")
from checks import check, end  # noqa: E402
from client import BINARY  # noqa: E402

GATEWAY, BROKER, CLIENT = "10.77.0.1", "10.77.0.2", "10.77.0.3"
PORT, OTHER_PORT, INTERNAL_PORT = 9092, 19092, 29092

def run(*command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def make_networks():
    """A bridge with two containers; the machine is their gateway."""
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    os.mkdir("/run/netns")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "bridge0", "type", "bridge")
    run("ip", "address", "add", GATEWAY + "/24", "dev", "bridge0")
    run("ip", "link", "set", "bridge0", "up")
    for name, address in (("broker", BROKER), ("client", CLIENT)):
        run("ip", "netns", "add", name)
        run("ip", "link", "add", "to-" + name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", "to-" + name, "master", "bridge0", "up")
        for command in (["link", "set", "lo", "up"], ["address", "add", address + "/24", "dev", "eth0"],
                        ["link", "set", "eth0", "up"], ["route", "add", "default", "via", GATEWAY]):
            run("ip", "-n", name, *command)


class PublishedPort:
    """As docker-proxy: a port of the machine that leads to one of the container. The container sees the gateway's address."""

    def __init__(self, port, to):
        self.listener = socket.create_server(("0.0.0.0", port))
        self.to = to
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection((BROKER, self.to))
            except OSError:
                return
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        # Wakes the thread that accepts.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Broker:
    def __init__(self, **variables):
        self.directory = tempfile.mkdtemp(prefix="ottla-listeners.")
        self.log = self.directory + "/log"
        # What container engines put into every container.
        inside = f"touch /run/.containerenv && exec {BINARY} --ephemeral"
        environment = os.environ | {"KAFKA_OTTLA_HTTP_LISTENERS": ""} | variables
        self.process = subprocess.Popen(["ip", "netns", "exec", "broker", "sh", "-c", inside], env=environment,
                                        stdout=open(self.log, "w"), stderr=subprocess.STDOUT)
        atexit.register(self.process.kill)
        self.wait("is ready|Kafka Server started")

    def text(self):
        return open(self.log).read()

    def wait(self, pattern, seconds=20):
        until = time.monotonic() + seconds
        while not re.search(pattern, self.text()):
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit(f"FAILED waiting for {pattern}: {self.text()}")
            time.sleep(0.05)

    def warnings(self):
        return [line for line in self.text().splitlines() if "WARN" in line and "advertised.listeners" in line]

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        check("no panic", "panicked" not in self.text(), self.text())
        shutil.rmtree(self.directory)


def told(server, namespace=None):
    """The broker's address as a client that begins at `server` is told it."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    result = subprocess.run([*inside, "kcat", "-b", server, "-L", "-m", "10"], capture_output=True, text=True)
    found = re.search(r"broker 1 at (\S+)", result.stdout)
    return found.group(1) if found else result.stdout + result.stderr


def produces(server, namespace=None):
    """Whether a client that begins at `server` can work with the address that it is told."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    command = [*inside, "kcat", "-b", server, "-P", "-t", "reached", "-X", "message.timeout.ms=5000"]
    return subprocess.run(command, input="x\n", capture_output=True, text=True).returncode == 0


def works(name, server, address, namespace=None):
    actual = told(server, namespace)
    check(f"{name} is told {address}", actual == address, actual)
    check(f"{name} reaches it", produces(server, namespace))


def same_port_published():
    published = PublishedPort(PORT, PORT)
    broker = Broker()
    broker.wait("leads to listener PLAINTEXT")
    works("the host, through the published port", f"localhost:{PORT}", f"localhost:{PORT}")
    works("another container", f"{BROKER}:{PORT}", f"{BROKER}:{PORT}", "client")
    works("the broker's own container", f"localhost:{PORT}", f"127.0.0.1:{PORT}", "broker")
    check("nobody is warned", not broker.warnings(), broker.text())
    broker.stop()
    published.close()


def other_port_published():
    published = PublishedPort(OTHER_PORT, PORT)
    broker = Broker()
    works("the host, through another port", f"localhost:{OTHER_PORT}", f"{BROKER}:{PORT}")
    works("another container", f"{BROKER}:{PORT}", f"{BROKER}:{PORT}", "client")
    broker.stop()
    published.close()


def others_port_published():
    """The host's port leads to another broker."""
    published = PublishedPort(PORT, INTERNAL_PORT)
    broker = Broker(KAFKA_LISTENERS=f"PLAINTEXT://:{PORT},INTERNAL://:{INTERNAL_PORT}",
                    KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT",
                    KAFKA_INTER_BROKER_LISTENER_NAME="INTERNAL")
    check("nobody is told a port that leads elsewhere", told(f"{BROKER}:{PORT}") == f"{BROKER}:{PORT}", broker.text())
    broker.stop()
    published.close()


def two_listeners():
    published = PublishedPort(PORT, PORT)
    broker = Broker(KAFKA_LISTENERS=f"INTERNAL://:{INTERNAL_PORT},EXTERNAL://:{PORT}",
                    KAFKA_ADVERTISED_LISTENERS=f"INTERNAL://{BROKER}:{INTERNAL_PORT},EXTERNAL://localhost:{PORT}",
                    KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT",
                    KAFKA_INTER_BROKER_LISTENER_NAME="INTERNAL")
    works("the host, at its listener", f"localhost:{PORT}", f"localhost:{PORT}")
    works("a container, at its listener", f"{BROKER}:{INTERNAL_PORT}", f"{BROKER}:{INTERNAL_PORT}", "client")
    check("nobody is warned", not broker.warnings(), broker.text())
    wrong = told(f"{BROKER}:{PORT}", "client")
    check("a container at the host's listener is told what was set", wrong == f"localhost:{PORT}", wrong)
    told(f"{BROKER}:{PORT}", "client")
    warnings = broker.warnings()
    is_useful = len(warnings) == 1 and "EXTERNAL" in warnings[0] and CLIENT in warnings[0] and "listeners=" in warnings[0]
    check("and the log says so, once, with the fix", is_useful, warnings)
    broker.stop()
    published.close()


def name_that_the_host_does_not_know():
    published = PublishedPort(PORT, PORT)
    broker = Broker(KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://kafka:{PORT}")
    check("the host is told what was set", told(f"localhost:{PORT}") == f"kafka:{PORT}")
    warnings = broker.warnings()
    check("and the log says why it fails", len(warnings) == 1 and "kafka" in warnings[0], warnings)
    broker.stop()
    published.close()


def as_apache_kafka():
    broker = Broker(KAFKA_OTTLA_ADVERTISED_LISTENERS="hostname")
    actual = told(f"{BROKER}:{PORT}", "client")
    check("with hostname everyone is told the machine's name", actual == f"{os.uname().nodename}:{PORT}", actual)
    broker.stop()


if __name__ == "__main__":
    make_networks()
    same_port_published()
    other_port_published()
    others_port_published()
    two_listeners()
    name_that_the_host_does_not_know()
    as_apache_kafka()
    end()
