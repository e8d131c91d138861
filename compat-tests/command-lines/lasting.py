"""Commands that last, beside each other and beyond a broker: what cannot be a line of lines.txt. Each scenario runs with Apache Kafka's
tools and with ours, as in run.py, and tells what it saw; the same comparisons are made."""
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "raw"))
from ports import free_port  # noqa: E402
from run import COMPARISONS, OTTLA, Kafka, Ottla, Theirs, class_of, normalized  # noqa: E402

SECONDS_MAX = 120


class Untagged:
    tags = set()


class Command:
    """A command that runs; its output is in files."""

    def __init__(self, tools, *words, **options):
        self.files = [tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")]
        command = [OTTLA, *words] if tools == "ours" else Theirs.java(class_of(words[0])) + list(words[1:])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self.files[0], stderr=self.files[1], text=True, **options)

    def text(self, which=0):
        self.files[which].seek(0)
        return self.files[which].read()

    def say(self, *lines):
        self.process.stdin.write("".join(line + "\n" for line in lines))
        self.process.stdin.flush()

    def end(self, how=None):
        """Exit code, output and errors."""
        if how is None:
            self.process.stdin.close()
        else:
            self.process.send_signal(how)
        code = self.process.wait(SECONDS_MAX)
        return code, self.text(0), self.text(1)


def until(what, ready):
    deadline = time.monotonic() + SECONDS_MAX
    while not (value := ready()):
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.1)
    return value


class Scenario:
    """The tools that are asked, the broker, and what looks on: our commands, which are quick."""

    def __init__(self, tools, broker):
        self.tools, self.broker = tools, broker
        self.address = ["--bootstrap-server", f"127.0.0.1:{broker.port}"]

    def start(self, name, *words):
        return Command(self.tools, name, *self.address, *words)

    def run(self, name, *words, lines=()):
        command = self.start(name, *words)
        if lines:
            command.say(*lines)
        return self.shown(command.end())

    def shown(self, ended):
        code, out, err = ended
        return code, normalized(out, self.broker, Untagged), normalized(err, self.broker, Untagged)

    def look(self, name, *words):
        return subprocess.run([OTTLA, name, *self.address, *words], capture_output=True, text=True, timeout=SECONDS_MAX).stdout

    def members(self, group):
        """Numbers of partitions of the members."""
        rows = [row.split() for row in self.look("kafka-consumer-groups", "--describe", "--group", group, "--members").splitlines()]
        return sorted(int(row[-1]) for row in rows if row and row[0] == group)

    def end_offset(self, topic):
        rows = self.look("kafka-get-offsets", "--topic", topic).split()
        return sum(int(row.rsplit(":", 1)[1]) for row in rows)


def two_consumers(it):
    """Partitions are shared; one leaves by SIGINT, the other goes on with all of them."""
    it.look("kafka-topics", "--create", "--topic", "shared", "--partitions", "4")
    words = ("--topic", "shared", "--group", "two", "--from-beginning", "--formatter-property", "print.partition=true")
    consumers = [it.start("kafka-console-consumer", *words) for _ in range(2)]
    until("two members", lambda: it.members("two") == [2, 2])
    produce = ("--topic", "shared", "--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
    it.run("kafka-console-producer", *produce, lines=[f"key-{number}:{number}" for number in range(40)])
    rows = lambda consumer: consumer.text().splitlines()  # noqa: E731
    until("40 records", lambda: sum(len(rows(consumer)) for consumer in consumers) >= 40)
    partitions = [{row.split("\t")[0] for row in rows(consumer)} for consumer in consumers]
    seen = {"partitions of each": sorted(map(len, partitions)), "read by both": sorted(partitions[0] & partitions[1])}
    for name, left in (("first", 1), ("second", 0)):
        consumer = consumers.pop()
        code, out, err = it.shown(consumer.end(signal.SIGINT))
        counted = f"Processed a total of {len(out.splitlines())} messages" in err
        # How many it read depends on who got which partitions.
        seen[f"{name} exit"] = (code, counted, err.replace(str(len(out.splitlines())), "<count>"))
        if left:
            until("the other to have everything", lambda: it.members("two") == [4])
            before = len(rows(consumers[0]))
            it.run("kafka-console-producer", *produce, lines=[f"key-{number}:again" for number in range(40)])
            until("40 more records", lambda: len(rows(consumers[0])) >= before + 40)
            again = [row for row in rows(consumers[0]) if row.endswith("\tagain")]
            seen["partitions of the one left"] = len({row.split("\t")[0] for row in again})
            seen["read again"] = len(rows(consumers[0])) - before
    seen["members at the end"] = it.members("two")
    return seen


def lag_of_an_active_group(it):
    """What kafka-consumer-groups shows while a member holds the partitions, and when it is gone."""
    it.look("kafka-topics", "--create", "--topic", "lagging", "--partitions", "1")
    it.run("kafka-console-producer", "--topic", "lagging", lines=[str(number) for number in range(10)])
    it.look("kafka-consumer-groups", "--group", "slow", "--topic", "lagging", "--reset-offsets", "--to-offset", "3", "--execute")
    consumer = it.start("kafka-console-consumer", "--topic", "lagging", "--group", "slow", "--command-property", "enable.auto.commit=false")
    until("seven records", lambda: len(consumer.text().splitlines()) == 7)
    describe = ("kafka-consumer-groups", "--describe", "--group", "slow")
    seen = {"active": it.run(*describe), "members": it.run(*describe, "--members", "--verbose"), "state": it.run(*describe, "--state")}
    seen["consumer"] = it.shown(consumer.end(signal.SIGTERM))
    until("no member", lambda: it.members("slow") == [])
    seen["gone"] = it.run(*describe)
    return seen


def without_acknowledgements(it):
    it.look("kafka-topics", "--create", "--topic", "unacknowledged", "--partitions", "1")
    lines = [str(number) for number in range(1_000)]
    seen = {"producer": it.run("kafka-console-producer", "--topic", "unacknowledged", "--request-required-acks", "0", lines=lines)}
    consumed = it.run("kafka-console-consumer", "--topic", "unacknowledged", "--from-beginning", "--max-messages", "1000")
    assert consumed[1].split() == lines, "records are missing, or out of order"
    seen["records"] = consumed
    return seen


def over_a_restart(it):
    """Lines that come while there is no broker are sent once it is back."""
    if isinstance(it.broker, Kafka):
        return None
    it.look("kafka-topics", "--create", "--topic", "patient", "--partitions", "1")
    producer = it.start("kafka-console-producer", "--topic", "patient")
    producer.say("before")
    until("the first record", lambda: it.end_offset("patient") == 1)
    it.broker.stop()
    producer.say(*[f"while {number}" for number in range(10)])
    it.broker.start()
    until("the rest", lambda: it.end_offset("patient") == 11)
    producer.say("after")
    return {"producer": it.shown(producer.end()),
            "records": it.run("kafka-console-consumer", "--topic", "patient", "--from-beginning", "--max-messages", "12")}


def in_the_background(it):
    """kafka-server-start -daemon, which is a script of Apache Kafka's and not among its artifacts: what it says was read there."""
    if it.tools == "theirs" or isinstance(it.broker, Kafka):
        return None
    directory = os.path.join(it.broker.directory, "background")
    os.makedirs(directory)
    properties, port = os.path.join(directory, "server.properties"), free_port()
    with open(properties, "w", encoding="utf-8") as file:
        file.write(f"listeners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={directory}/data\nottla.http.listeners=\n")
    done = subprocess.run([OTTLA, "kafka-server-start", "-daemon", properties], capture_output=True, text=True,
                          env=dict(os.environ, LOG_DIR=directory + "/logs"), timeout=SECONDS_MAX)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
    output = directory + "/logs/kafkaServer.out"
    until("the broker", lambda: "Kafka Server started" in open(output).read())
    pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and properties.encode() in command_line(pid)]
    assert len(pids) == 1, pids
    assert os.getpgid(pids[0]) == pids[0], "it ends with the terminal"
    os.kill(pids[0], signal.SIGTERM)
    until("its end", lambda: "shut down completed" in open(output).read())
    return None


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


SCENARIOS = [two_consumers, lag_of_an_active_group, without_acknowledgements, over_a_restart, in_the_background]


def lane(name, results, failures):
    tools, broker = name.split()[0], None
    try:
        broker = (Kafka if name.endswith("kafka") else Ottla)("lasting-" + name.replace(" ", "-"))
        for scenario in SCENARIOS:
            results[name][scenario.__name__] = scenario(Scenario(tools, broker))
    except BaseException as error:  # noqa: BLE001
        failures.append(f"{name}: {error!r}")
    finally:
        if broker is not None:
            broker.stop()


def main():
    started, failures = time.monotonic(), []
    results = {name: {} for names in COMPARISONS.values() for name in names}
    lanes = [threading.Thread(target=lane, args=(name, results, failures)) for name in results]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    same = 0
    for scenario in SCENARIOS:
        for comparison, (left, right) in COMPARISONS.items():
            ours, theirs = (results[name].get(scenario.__name__) for name in (left, right))
            for key in {**(ours or {}), **(theirs or {})} if ours and theirs else ():
                if ours.get(key) == theirs.get(key):
                    same += 1
                else:
                    failures.append(f"{scenario.__name__} [{comparison}] {key}\n  {left}: {ours.get(key)!r}\n  {right}: {theirs.get(key)!r}")
    if os.environ.get("VERBOSE"):
        for name, each in results.items():
            for scenario, seen in each.items():
                for key, value in (seen or {}).items():
                    print(f"--- {name}: {scenario}: {key}: {value!r}")
    for failure in failures:
        print("FAIL", failure)
    print(f"{len(SCENARIOS)} scenarios in {time.monotonic() - started:.0f} s")
    print(f"{same} passed, {len(failures)} failed")
    sys.exit(1 if failures or not same else 0)


main()
