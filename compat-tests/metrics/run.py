"""The checks of `run`."""
import atexit
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE) + "/raw")
from checks import check, end  # noqa: E402
from client import BINARY, Broker, string  # noqa: E402
from ports import free_port  # noqa: E402

PARTITIONS, TOPICS = 10_000, 20
SCRAPES = 8


def get(url, timeout=30):
    """Status code and body."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_for(what, ready, seconds=60):
    until = time.monotonic() + seconds
    while not (value := ready()):
        if time.monotonic() > until:
            raise SystemExit(f"FAILED waiting for {what}")
        time.sleep(0.1)
    return value


def start(*arguments):
    http = free_port()
    broker = Broker("--override", f"ottla.http.listeners=http://127.0.0.1:{http}", *arguments)
    atexit.register(broker.process.kill)
    broker.client()
    broker.http = f"http://127.0.0.1:{http}"
    wait_for("readiness", lambda: get(broker.http + "/health/ready")[0] == 200)
    return broker


def health(*arguments, environment=None):
    started = time.perf_counter()
    result = subprocess.run([BINARY, "health", *arguments], capture_output=True, text=True,
                            env=os.environ | (environment or {}))
    return result.returncode, result.stdout + result.stderr, (time.perf_counter() - started) * 1000


def check_health():
    broker = start()
    address = broker.http.removeprefix("http://")
    code, text, milliseconds = health("--url", broker.http)
    check("health asks over HTTP", code == 0 and '"UP"' in text, text)
    print(f"   ottla health: {milliseconds:.1f} ms")
    listeners = {"KAFKA_OTTLA_HTTP_LISTENERS": f"http://{address}"}
    code, text, _ = health(environment=listeners)
    check("health finds the broker's own variable", code == 0 and '"UP"' in text, text)
    code, text, milliseconds = health("--bootstrap-server", f"127.0.0.1:{broker.port}")
    check("health asks by Kafka's protocol", code == 0 and "answers" in text, text)
    nobody = free_port()
    variables = {"KAFKA_OTTLA_HTTP_LISTENERS": f"http://127.0.0.1:{nobody}",
                 "KAFKA_LISTENERS": f"PLAINTEXT://127.0.0.1:{broker.port}"}
    code, text, _ = health(environment=variables)
    check("without HTTP, health asks the listener", code == 0 and "answers" in text, text)
    status = json.loads(get(broker.http + "/status")[1])
    check("status", status["phase"] == "running" and status["nodeId"] == 1, status)
    other = subprocess.run([BINARY, "--ephemeral", "--override", "listeners=PLAINTEXT://127.0.0.1:0", "--override",
                            f"ottla.http.listeners={broker.http}"], capture_output=True, text=True, timeout=20)
    check("a port that was asked for must be free", other.returncode == 1 and "ottla.http.listeners" in other.stderr, other)
    broker.stop()
    code, text, _ = health("--url", broker.http)
    check("nobody is not healthy", code == 1, text)
    code, text, _ = health("--bootstrap-server", f"127.0.0.1:{broker.port}")
    check("nobody answers by Kafka's protocol", code == 1, text)


class Load:
    """A producer, a group that follows and one that stopped, until the end."""

    def __init__(self, broker):
        self.bootstrap = f"127.0.0.1:{broker.port}"
        self.processes = []
        self.stopping = threading.Event()
        subprocess.run(["kcat", "-b", self.bootstrap, "-P", "-t", "dashboards"], input="x\n" * 50, text=True, check=True)
        behind = ["kcat", "-b", self.bootstrap, "-G", "behind", "-X", "auto.offset.reset=earliest", "-c", "5", "dashboards"]
        subprocess.run(behind, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        follow = ["kcat", "-b", self.bootstrap, "-G", "follows", "-X", "auto.commit.interval.ms=200", "-X",
                  "auto.offset.reset=earliest", "dashboards"]
        self.consumer = subprocess.Popen(follow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.producer = subprocess.Popen(["kcat", "-b", self.bootstrap, "-P", "-t", "dashboards", "-X", "linger.ms=20"],
                                         stdin=subprocess.PIPE, text=True)
        self.writer = threading.Thread(target=self.write, daemon=True)
        self.writer.start()
        for process in (self.consumer, self.producer):
            atexit.register(process.kill)

    def write(self):
        while not self.stopping.wait(0.02):
            self.producer.stdin.write("payload of a record\n")
            self.producer.stdin.flush()

    def stop(self):
        self.stopping.set()
        self.writer.join()
        self.producer.stdin.close()
        self.producer.wait(20)
        self.consumer.terminate()
        self.consumer.wait(20)


class Prometheus:
    def __init__(self, broker):
        self.directory = tempfile.mkdtemp(prefix="ottla-prometheus.")
        target = broker.http.removeprefix("http://")
        with open(self.directory + "/prometheus.yml", "w") as config:
            config.write("global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
                         f"scrape_configs: [{{job_name: kafka, static_configs: [{{targets: ['{target}']}}]}}]\n")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(self.directory + "/log", "w")
        self.process = subprocess.Popen(["prometheus", f"--config.file={self.directory}/prometheus.yml",
                                         f"--storage.tsdb.path={self.directory}/data",
                                         f"--web.listen-address=127.0.0.1:{port}"], stdout=self.log, stderr=self.log)

        atexit.register(self.process.kill)

    def query(self, expression):
        """The values of the series."""
        code, text = get(self.url + "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        answer = json.loads(text)
        assert code == 200 and answer["status"] == "success", text
        return [float(series["value"][1]) for series in answer["data"]["result"]]

    def has_data(self, expression, above_zero):
        values = self.query(expression)
        return any(value > 0 for value in values) if above_zero else bool(values)

    def has_scraped(self):
        try:
            return self.query("sum(count_over_time(up[1h]))") >= [SCRAPES] and self.query("up") == [1]
        except (urllib.error.URLError, ConnectionError):
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.directory)


def queries():
    lines = [line.strip() for line in open(HERE + "/queries") if line.strip() and not line.startswith("#")]
    for line in lines:
        # An expression may contain the separator, between quotes and without blanks.
        dashboard, panel, expression, *more = [part.strip() for part in line.split(" | ")]
        assert not more or more == ["> 0"], line
        yield dashboard, panel, expression, bool(more)


def check_dashboards():
    broker = start()
    load = Load(broker)
    prometheus = Prometheus(broker)
    try:
        wait_for("Prometheus", prometheus.has_scraped)
        missing = asked = list(queries())
        # A rate over two scrapes is zero where a busy machine let the producer rest meanwhile: such a query is asked again.
        until = time.monotonic() + 30
        while missing and time.monotonic() < until:
            missing = [query for query in missing if not prometheus.has_data(*query[2:])]
        told = "".join(f"\n{dashboard}: {panel}: {expression}" for dashboard, panel, expression, _ in missing)
        check(f"{len(asked)} queries of dashboards return data", not missing, told)
        text = get(broker.http + "/metrics")[1]
        linted = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        # 3: names that are not in style, as the JMX exporter's are not.
        check("promtool reads the scrape", linted.returncode in (0, 3), linted.stderr[-2000:])
    finally:
        load.stop()
        prometheus.stop()
    broker.stop()


def create_topics_request(name, partitions):
    """CreateTopics v2 of one topic."""
    topic = string(name) + struct.pack(">ihii", partitions, 1, 0, 0)
    return struct.pack(">i", 1) + topic + struct.pack(">i?", 60_000, False)


def check_scrape_of_many():
    broker = start()
    client = broker.client()
    for number in range(TOPICS):
        answer = client.call(19, 2, create_topics_request(f"many-{number}", PARTITIONS // TOPICS))
        error, = struct.unpack(">h", answer[8 + 2 + len(f"many-{number}"):][:2])
        assert error == 0, error
    client.produce_until_acknowledged("small")
    stop, latencies = threading.Event(), []

    def ping():
        while not stop.is_set():
            started = time.perf_counter()
            assert client.produce("small") == 0
            latencies.append((time.perf_counter() - started) * 1000)
            time.sleep(0.001)

    def median_and_worst(work):
        latencies.clear()
        work()
        ordered = sorted(latencies)
        return ordered[len(ordered) // 2], ordered[-1]

    pinger = threading.Thread(target=ping)
    pinger.start()
    try:
        idle = median_and_worst(lambda: time.sleep(1))
        scrapes = []

        def scrape():
            for _ in range(3):
                started, cpu = time.perf_counter(), broker.cpu_seconds()
                code, text = get(broker.http + "/metrics")
                scrapes.append((time.perf_counter() - started, broker.cpu_seconds() - cpu))
                assert code == 200
                scrape.text = text

        before = broker.memory_mib()
        busy = median_and_worst(scrape)
    finally:
        stop.set()
        pinger.join()
    lines = scrape.text.count("\nkafka_topic_partition_current_offset{")
    check(f"a scrape has all of {PARTITIONS} partitions", lines == PARTITIONS + 1, lines)
    seconds, cpu = min(scrapes)
    print(f"   scrape of {PARTITIONS} partitions: {len(scrape.text) / 1e6:.1f} MB, {seconds * 1000:.0f} ms, CPU {cpu * 1000:.0f} ms; "
          f"memory {before:.0f} -> {broker.memory_mib('VmHWM'):.0f} MiB at most")
    print(f"   one record produced meanwhile: median {busy[0]:.2f} ms, worst {busy[1]:.1f} ms; "
          f"without a scrape {idle[0]:.2f} and {idle[1]:.1f}")
    # Readers that take nothing hold their places and nothing else.
    stuck = [urllib.request.urlopen(broker.http + "/metrics", timeout=10) for _ in range(2)]
    check("a third scrape beside two stuck ones is told to come back", get(broker.http + "/metrics")[0] == 503)
    check("health answers beside them", get(broker.http + "/health/ready")[0] == 200)
    for answer in stuck:
        answer.close()
    wait_for("a place", lambda: get(broker.http + "/metrics")[0] == 200)
    broker.stop()


if __name__ == "__main__":
    check_health()
    check_dashboards()
    check_scrape_of_many()
    end()
