"""Transactions per second, CPU per transaction and commit latency of Ottla beside Apache Kafka. See run."""
import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "raw"))
from ports import free_port

TICKS = os.sysconf("SC_CLK_TCK")
SETTINGS = {"group.initial.rebalance.delay.ms": "0"}


class Ottla:
    name = "Ottla"

    def __init__(self, directory, _):
        self.bootstrap = f"127.0.0.1:{free_port()}"
        self.process = subprocess.Popen(
            [os.environ["OTTLA_BIN"], "--data", f"{directory}/data", "--override", f"listeners=PLAINTEXT://{self.bootstrap}"],
            stdout=open(f"{directory}/log", "w"), stderr=subprocess.STDOUT)
        self.pid = self.process.pid
        wait_until_open(self.bootstrap)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class ApacheKafka:
    name = "Apache Kafka"

    def __init__(self, directory, script):
        self.directory, self.script, port = directory, script, free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        subprocess.run([script, "start", directory, str(port)], check=True)
        self.pid = int(open(f"{directory}/pid").read())

    def stop(self):
        subprocess.run([self.script, "stop", self.directory], check=True)


def wait_until_open(bootstrap):
    host, port = bootstrap.split(":")
    for _ in range(200):
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the broker did not start")


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(options, broker, producers, records):
    command = ["java", "-Xmx512M", "-XX:+UseSerialGC", "-cp", options.classpath, "Load", broker.bootstrap, str(producers), str(records), str(options.warm_up), str(options.seconds)]
    with tempfile.TemporaryFile("w+") as errors:
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        begun = load.stdout.readline()
        before = cpu_seconds(broker.pid)
        ended = load.stdout.readline()
        broker_cpu = cpu_seconds(broker.pid) - before
        figures = load.stdout.readline().split()
        if load.wait() != 0 or (begun, ended) != ("begin\n", "end\n") or len(figures) != 5:
            errors.seek(0)
            raise SystemExit(f"the load of {broker.name} failed:\n{errors.read()[-3000:]}")
    transactions, seconds, own_cpu, median, late = map(float, figures)
    return {"transactions/s": transactions / seconds, "broker CPU us": broker_cpu / transactions * 1e6, "load CPU us": own_cpu / transactions * 1e6,
            "commit p50 ms": median, "commit p99 ms": late}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("classpath")
    parser.add_argument("apache_kafka")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warm-up", type=float, default=4)
    parser.add_argument("--only", choices=["ottla", "kafka"])
    options = parser.parse_args()
    kinds = [kind for kind, name in ((Ottla, "ottla"), (ApacheKafka, "kafka")) if options.only in (None, name)]
    brokers = []
    try:
        for kind in kinds:
            brokers.append(kind(tempfile.mkdtemp(prefix="ottla-bench."), options.apache_kafka))
        columns = ["transactions/s", "broker CPU us", "commit p50 ms", "commit p99 ms", "load CPU us"]
        print(f"{'producers x records':20} {'broker':13}" + "".join(f"{column:>16}" for column in columns), flush=True)
        for producers in (1, 8):
            for records in (1, 100):
                figures = {broker.name: [] for broker in brokers}
                for round_number in range(options.rounds):
                    for broker in brokers if round_number % 2 == 0 else brokers[::-1]:
                        figures[broker.name].append(measure(options, broker, producers, records))
                for name, rounds in figures.items():
                    medians = "".join(f"{statistics.median(one[column] for one in rounds):16.2f}" for column in columns)
                    print(f"{f'{producers} x {records}':20} {name:13}" + medians, flush=True)
    finally:
        for broker in brokers:
            broker.stop()


if __name__ == "__main__":
    main()
