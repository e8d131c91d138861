"""The application of this directory, halted and restarted, on a broker that is killed and restarted meanwhile.

    chaos.py CLASSPATH --guarantee exactly_once_v2|at_least_once --halts N --kills N [--apache-kafka SCRIPT]

A broker of its own (OTTLA_BIN), or Apache Kafka by that script. Java halts itself; the broker gets SIGKILL.
"""
import argparse
import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "raw"))
from ports import free_port

OVERRIDES = {
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.num.partitions": "5",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
START_SECONDS_MAX = 60
RUN_SECONDS_MAX = 600  # of the application, from its start to its halt: only one that hangs takes so long, on any machine


class Broker:
    def __init__(self, directory, port, apache_kafka):
        self.directory, self.port, self.apache_kafka, self.process = directory, port, apache_kafka, None

    def start(self):
        if self.apache_kafka:
            settings = [f"{key}={value}" for key, value in OVERRIDES.items()]
            environment = dict(os.environ, KAFKA_HEAP_OPTS="-Xms256M -Xmx512M")
            subprocess.run([self.apache_kafka, "start", self.directory, str(self.port), *settings], check=True, env=environment)
            return
        command = [os.environ["OTTLA_BIN"], "--data", f"{self.directory}/data", "--override", f"listeners=PLAINTEXT://127.0.0.1:{self.port}"]
        for key, value in OVERRIDES.items():
            command += ["--override", f"{key}={value}"]
        self.process = subprocess.Popen(command, stdout=open(f"{self.directory}/log", "ab"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"the broker did not start: {open(f'{self.directory}/log').read()[-2000:]}")
                time.sleep(0.05)

    def end(self, number):
        if self.apache_kafka:
            pid = int(open(f"{self.directory}/pid").read())
            os.kill(pid, number)
            while os.path.exists(f"/proc/{pid}") and "Z" != open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]:
                time.sleep(0.05)
        else:
            self.process.send_signal(number)
            status = self.process.wait()
            if number == signal.SIGTERM and status != 0:
                sys.exit(f"the broker ended with {status}: {open(f'{self.directory}/log').read()[-2000:]}")


class Chaos:
    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self.broker = Broker(directory, port, options.apache_kafka)
        self.random = random.Random(options.seed)
        self.failure = None
        self.children = []
        self.halts, self.halted = 0, threading.Condition()

    def java(self, *arguments, **settings):
        command = ["java", "-Xmx256M", "-XX:TieredStopAtLevel=1", "-cp", self.options.classpath, *arguments]
        self.children.append(subprocess.Popen(command, stderr=open(f"{self.directory}/{arguments[0]}.log", "ab"), **settings))
        return self.children[-1]

    def ledger(self, *arguments):
        process = self.java("Ledger", self.bootstrap, *arguments)
        if process.wait() != 0:
            self.tail("Ledger.log", "Application.out", "log")
            sys.exit(f"FAILED {self.options.guarantee}: {' '.join(arguments)}; what is left is in {self.directory}")

    def tail(self, *names):
        for name in names:
            if os.path.exists(f"{self.directory}/{name}"):
                print(f"--- {name}", *open(f"{self.directory}/{name}").read().splitlines()[-15:], sep="\n")

    def application(self, halt_after):
        # With exactly_once_v2 Streams throws away what a halt left of its stores, and reads the changelogs. It is thrown away here:
        # several tasks that Streams 4.3 finds "corrupted" as it starts may never consume again (seen with Apache Kafka's broker too).
        # The process id stays: the transactional ids are those of the halted one, whose transactions this one ends.
        for task in glob.glob(f"{self.directory}/state/*/[0-9]_[0-9]"):
            shutil.rmtree(task)
        out = open(f"{self.directory}/Application.out", "ab")
        return self.java("Application", self.bootstrap, self.options.guarantee, f"{self.directory}/state", str(halt_after), stdout=out)

    def kill_brokers(self):
        try:
            for kill in range(self.options.kills):
                # Spread over the halts, however long a halt takes on this machine.
                with self.halted:
                    self.halted.wait_for(lambda: self.halts >= kill * self.options.halts // self.options.kills)
                time.sleep(self.random.uniform(4, 9))
                self.broker.end(signal.SIGKILL)
                time.sleep(self.random.uniform(0, 2))
                self.broker.start()
        except (Exception, SystemExit) as error:  # the main thread says it
            self.failure = error

    def run(self):
        self.broker.start()
        self.ledger("prepare")
        feeder = self.java("Ledger", self.bootstrap, "feed", str(self.options.rate), stdin=subprocess.PIPE)
        killer = threading.Thread(target=self.kill_brokers, daemon=True)
        killer.start()
        ends = 0
        for halt in range(self.options.halts):
            application = self.application(self.random.randrange(100, 4000))
            try:
                status = application.wait(RUN_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                application.kill()
                sys.exit(f"the application did not come to its halt {halt}; what is left is in {self.directory}")
            ends += status != 137
            with self.halted:
                self.halts += 1
                self.halted.notify()
        application = self.application(-1)
        killer.join()
        if self.failure:
            sys.exit(f"FAILED {self.failure}")
        feeder.stdin.close()
        if feeder.wait() != 0:
            self.tail("Ledger.log")
            sys.exit("FAILED the feeder")
        self.ledger("complete", self.options.guarantee)
        application.terminate()
        application.wait()
        self.ledger("verify", self.options.guarantee)
        self.broker.end(signal.SIGTERM)
        replaced = open(f"{self.directory}/Application.out").read().count("a thread is replaced")
        print(f"ok {self.options.guarantee}: {self.options.halts} halts ({ends} ended otherwise), {self.options.kills} kills of the broker, {replaced} threads replaced")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classpath")
    parser.add_argument("--guarantee", default="exactly_once_v2")
    parser.add_argument("--halts", type=int, default=4)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--rate", type=int, default=100, help="orders per second")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--apache-kafka")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="ottla-streams.")
    chaos = Chaos(options, directory)
    try:
        chaos.run()
    except BaseException:
        for child in chaos.children:
            child.kill()
        try:
            chaos.broker.end(signal.SIGKILL)
        except Exception:
            pass
        raise
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
