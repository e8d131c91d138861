"""Runs the lines of lines.txt four times: Apache Kafka's tools and ours, each against Apache Kafka and against Ottla, every time on a
fresh broker. Apache Kafka's tools against Apache Kafka say what is right; the other three are compared:

  broker     Apache Kafka's tools: Ottla beside Apache Kafka
  commands   on Ottla: our commands beside Apache Kafka's tools
  on Kafka   on Apache Kafka: our commands beside Apache Kafka's tools

Standard output, standard error and exit code must be the same but for what `normalized` leaves out. A difference that the table
gives a reason for must be there: one that is gone has to leave the table."""
import base64
import difflib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "raw"))
from ports import free_port  # noqa: E402

WORK = os.environ["WORK"]
OTTLA = os.environ["OTTLA_BIN"]
KAFKA_TOOL = os.environ["KAFKA_TOOL"]
LINE_SECONDS_MAX = 100
COMPARISONS = {"broker": ("theirs on ottla", "theirs on kafka"), "commands": ("ours on ottla", "theirs on ottla"),
               "on Kafka": ("ours on kafka", "theirs on kafka")}
BROKER = {"offsets.topic.replication.factor": "1", "transaction.state.log.replication.factor": "1",
          "transaction.state.log.min.isr": "1", "group.initial.rebalance.delay.ms": "0", "node.id": "1",
          "process.roles": "broker,controller"}


class Line:
    def __init__(self, section, text, number):
        self.section, self.text, self.number = section, text, number
        self.tags, self.input, self.known = set(), "", {}


def read_table(pattern):
    """`== section`, `% tag`, `< input line`, `$ command line`, `~ comparison: reason of a difference`."""
    lines, section, tags, given = [], "", set(), ""
    for number, text in enumerate(open(os.path.join(HERE, "lines.txt"), encoding="utf-8"), 1):
        mark, rest = text[:2].strip(), text[2:].rstrip("\n")
        if text.startswith("=="):
            section = rest.strip()
        elif mark == "%":
            tags |= set(rest.split())
        elif mark == "<":
            given += rest + "\n"
        elif mark == "$":
            line = Line(section, rest.strip(), number)
            line.tags, line.input, tags, given = tags, given, set(), ""
            lines.append(line)
        elif mark == "~":
            name, _, reason = rest.partition(":")
            assert name.strip() in COMPARISONS and reason.strip(), f"lines.txt:{number}: {text}"
            lines[-1].known[name.strip()] = reason.strip()
        else:
            assert mark in ("", "#"), f"lines.txt:{number}: {text}"
    return [line for line in lines if re.search(pattern, line.section)]


def wait_for(port, process, log):
    for _ in range(1200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process is not None and process.poll() is not None:
                break
            time.sleep(0.05)
    sys.exit("a broker did not start:\n" + open(log).read()[-3000:])


class Ottla:
    def __init__(self, name):
        self.port, self.directory = free_port(), os.path.join(WORK, name)
        os.makedirs(self.directory)
        self.start()

    def start(self):
        log = os.path.join(self.directory, "log")
        command = [OTTLA, "--data", os.path.join(self.directory, "data")]
        settings = dict(BROKER, listeners=f"PLAINTEXT://127.0.0.1:{self.port}")
        for key, value in settings.items():
            command += ["--override", f"{key}={value}"]
        self.process = subprocess.Popen(command, stdout=open(log, "a"), stderr=subprocess.STDOUT)
        wait_for(self.port, self.process, log)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


class Kafka:
    def __init__(self, name):
        self.port, self.directory = free_port(), os.path.join(WORK, name)
        environment = dict(os.environ, KAFKA_HEAP_OPTS=os.environ.get("KAFKA_HEAP_OPTS", "-Xmx400M"))
        settings = [f"{key}={value}" for key, value in BROKER.items() if key not in ("node.id", "process.roles")]
        subprocess.run([KAFKA_TOOL, "start", self.directory, str(self.port), *settings], check=True, env=environment)

    def stop(self):
        subprocess.run([KAFKA_TOOL, "stop", self.directory], check=True)


def class_of(tool):
    """The class of a tool, from the script that starts Apache Kafka."""
    if tool in CLASSES:
        return CLASSES[tool]
    raise SystemExit(f"no such tool: {tool}")


CLASSES = {"kafka-server-start": "kafka.Kafka"} | {name: cls for name, cls in re.findall(r"^\s+(kafka-[\w-]+)\) echo ([\w.]+) ;;", open(KAFKA_TOOL).read(), re.M)}


class Theirs:
    """Apache Kafka's tools, in one JVM; in one of their own where the tool ends the JVM by itself."""

    def __init__(self):
        self.process = subprocess.Popen(self.java("CommandLines"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        stderr=open(os.path.join(WORK, "harness-errors"), "a"))

    @staticmethod
    def java(cls):
        classpath = os.environ["KAFKA_CLASSPATH"]
        home = classpath.split(":")[1]
        return ["java", "-Xmx256M", "-XX:TieredStopAtLevel=1", "-Xshare:auto", f"-Dlog4j.configuration=file:{home}/log4j.properties",
                "-cp", classpath, cls]

    def run(self, line, words):
        cls, arguments = class_of(words[0]), words[1:]
        if "jvm" in line.tags:
            done = subprocess.run(self.java(cls) + arguments, input=line.input, capture_output=True, text=True, timeout=LINE_SECONDS_MAX)
            return done.returncode, done.stdout, done.stderr
        encode = lambda text: base64.b64encode(text.encode()).decode() or "-"  # noqa: E731
        self.process.stdin.write(" ".join([cls, encode(line.input), *map(encode, arguments)]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        assert len(answer) == 3, f"the tools' JVM is gone at: {line.text}"
        decode = lambda text: "" if text == "-" else base64.b64decode(text).decode(errors="replace")  # noqa: E731
        return int(answer[0]), decode(answer[1]), decode(answer[2])

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)


class Ours:
    def run(self, line, words):
        command = [OTTLA, *words]
        done = subprocess.run(command, input=line.input, capture_output=True, text=True, timeout=LINE_SECONDS_MAX, errors="replace")
        return done.returncode, done.stdout, done.stderr

    def stop(self):
        pass


STACK_LINE = re.compile(r"^\s+at |^\s+\.\.\. \d+ (more|common)|^Caused by: |^\s+Suppressed: |^\s*\[CIRCULAR|^ \([\w.$]+\)$")
LOG_LINE = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] ")
# The second is an advertisement for a protocol that is not served here yet.
NOISE = re.compile(r"^\d{4}-\d\d-\d\dT\S+Z \S+ ERROR Reconfiguration failed|^The consumer rebalance protocol \(KIP-848\) is production-ready!")
IN_THREAD = re.compile(r'^Exception in thread "main" (?:(?:[a-z]\w*\.)+\w+: )?')
THROWN = re.compile(r"^(?:[a-z]\w*\.)+\w*(?:Exception|Error|Failure)(?:: (.*))?$")


def normalized(text, broker, line):
    """Without stack traces and log lines; ports, ids and times by a word."""
    kept, after_log = [], False
    rows = text.splitlines()
    for row, following in zip(rows, rows[1:] + [""]):
        if LOG_LINE.match(row):
            after_log = True
            continue
        if STACK_LINE.match(row) or NOISE.match(row):
            continue
        row = IN_THREAD.sub("", row)
        thrown = THROWN.match(row)
        if thrown and "trace" in line.tags:
            continue
        # Either of a log line, or the message again.
        if thrown and ((after_log and STACK_LINE.match(following)) or (kept and (thrown.group(1) or "null") == kept[-1])):
            continue
        after_log = False
        kept.append(row.rstrip())
    text = "\n".join(row for row in kept).strip("\n")
    text = text.replace(broker.directory, "DIR").replace(f"127.0.0.1:{broker.port}", "BROKER").replace(str(broker.port), "PORT")
    text = re.sub(r"(TopicId: |Cluster ID: |cluster\.id=|directory\.id=|TopicId ')[\w-]{22}", r"\1<id>", text)
    text = re.sub(r"(?<!\d)1[67]\d{11}(?!\d)", "<time>", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z?", "<time>", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>", text)
    # A Set.of has another order in every JVM.
    text = text.replace("[[config], [bootstrap-server]]", "[[bootstrap-server], [config]]")
    text = re.sub(r"Epoch: \d+", "Epoch: <epoch>", text)
    if "uuid" in line.tags:
        text = re.sub(r"^[\w-]{22}$", "<id>", text, flags=re.M)
    if "letters" in line.tags:
        text = re.sub(r"\s+", "", text)
    if "columns" in line.tags:
        text = "\n".join(re.sub(r"\s+", " ", row).strip() for row in text.splitlines())
    if "sort" in line.tags:
        text = "\n".join(sorted(text.splitlines()))
    return text


def run_all(lines, tools, broker, results):
    files = os.path.join(broker.directory, "files")
    shutil.copytree(os.path.join(HERE, "files"), files)
    for name in os.listdir(files):
        path = os.path.join(files, name)
        text = open(path).read()
        open(path, "w").write(text.replace("@DIR@", broker.directory))
    for line in lines:
        if ("theirs" in line.tags and isinstance(tools, Ours)) or ("ours" in line.tags and isinstance(tools, Theirs)):
            continue
        text = line.text.replace("BROKER", f"127.0.0.1:{broker.port}").replace("FILES", files).replace("DIR", broker.directory)
        started = time.monotonic()
        code, out, err = tools.run(line, shlex.split(text))
        # Apache Kafka answers an alteration before it counts: until two answers are the same.
        for _ in range(20 if "settle" in line.tags else 0):
            time.sleep(0.3)
            before, (code, out, err) = (code, out, err), tools.run(line, shlex.split(text))
            if before == (code, out, err):
                break
        results[line.number] = (code, normalized(out, broker, line), normalized(err, broker, line), time.monotonic() - started)


def compare(lines, results):
    same, known, failed = 0, 0, []
    for line in lines:
        for name, (left, right) in COMPARISONS.items():
            ours, theirs = results[left].get(line.number), results[right].get(line.number)
            if ours is None or theirs is None:
                continue
            is_same = ours[:3] == theirs[:3]
            if is_same and name in line.known:
                failed.append((line, name, f"no longer differs: {line.known[name]}", None, None))
            elif is_same:
                same += 1
            elif name in line.known:
                known += 1
            else:
                failed.append((line, name, f"{left} (<) and {right} (>) differ", ours, theirs))
    return same, known, failed


def show(failure):
    line, name, text, ours, theirs = failure
    print(f"FAIL lines.txt:{line.number} [{name}] {text}\n  $ {line.text}")
    if ours is None:
        return
    if ours[0] != theirs[0]:
        print(f"  exit code {ours[0]} instead of {theirs[0]}")
    for what, index in (("out", 1), ("err", 2)):
        difference = list(difflib.unified_diff(theirs[index].splitlines(), ours[index].splitlines(), lineterm="", n=1))[2:]
        for row in difference[:40]:
            print(f"  {what} {row}")


def main():
    lines = read_table(sys.argv[1] if len(sys.argv) > 1 else "")
    results = {name: {} for names in COMPARISONS.values() for name in names}
    brokers, failures = [], []

    def lane(name, tools, make):
        try:
            broker = make(name.replace(" ", "-"))
            brokers.append(broker)
            with_tools = tools()
            run_all(lines, with_tools, broker, results[name])
            with_tools.stop()
        except BaseException as error:  # noqa: BLE001
            failures.append(f"{name}: {error!r}")

    started = time.monotonic()
    lanes = [("theirs on kafka", Theirs, Kafka), ("theirs on ottla", Theirs, Ottla), ("ours on ottla", Ours, Ottla),
             ("ours on kafka", Ours, Kafka)]
    threads = [threading.Thread(target=lane, args=each) for each in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for broker in brokers:
        try:
            broker.stop()
        except Exception as error:  # noqa: BLE001
            failures.append(repr(error))
    for failure in failures:
        print("FAIL", failure)
    same, known, failed = compare(lines, results)
    if os.environ.get("VERBOSE"):
        for line in lines:
            for name in results:
                if line.number in results[name]:
                    code, out, err, seconds = results[name][line.number]
                    print(f"--- {name}: $ {line.text} [{code}] {seconds:.2f} s\n{out}\n--err\n{err}")
    for failure in failed:
        show(failure)
    seconds = {name: sum(result[3] for result in each.values()) for name, each in results.items()}
    print(", ".join(f"{name} {spent:.1f} s" for name, spent in seconds.items()))
    print(f"{len(lines)} command lines in {time.monotonic() - started:.0f} s: {same} comparisons equal, {known} differ for the reason given")
    print(f"{same + known} passed, {len(failed) + len(failures)} failed")
    sys.exit(1 if failed or failures or not same else 0)


if __name__ == "__main__":
    main()
