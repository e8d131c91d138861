import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;

/** What every program of checks here shares: running the checks, comparing, fresh names, clients. */
class Checks {
    interface Check { void run() throws Exception; }
    interface Condition { boolean holds() throws Exception; }

    static final long PATIENCE_SECONDS = 60;

    static String bootstrap;
    static String only = "";
    static Admin admin;

    /** Arguments: HOST:PORT, and perhaps a part of the names of the checks to run. */
    static void connect(String[] arguments) {
        bootstrap = arguments[0];
        if (arguments.length > 1) only = arguments[1];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    /** Runs them in their order, prints one line for each, and ends the process. */
    static void run(Map<String, Check> checks) {
        checks.keySet().removeIf(name -> !name.contains(only));
        int failed = 0;
        for (Map.Entry<String, Check> check : checks.entrySet()) {
            try {
                check.getValue().run();
                System.out.println("ok " + check.getKey());
            } catch (Throwable error) {
                failed++;
                System.out.println("FAILED " + check.getKey());
                error.printStackTrace(System.out);
            }
        }
        admin.close();
        System.out.println((checks.size() - failed) + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    static void require(boolean condition, Object what) {
        if (!condition) throw new AssertionError(String.valueOf(what));
    }

    static void equal(Object expected, Object actual) {
        require(Objects.equals(expected, actual), "expected " + expected + ", got " + actual);
    }

    static byte[] bytes(String text) { return text == null ? null : text.getBytes(StandardCharsets.UTF_8); }

    static String freshName() { return "java-" + UUID.randomUUID(); }

    static String freshTopic(int partitions) throws Exception {
        String topic = freshName();
        // The records of checks have times of long ago: without this the retention takes them when it comes by.
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(Map.of("retention.ms", "-1")))).all().get(30, TimeUnit.SECONDS);
        return topic;
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, ?> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", bootstrap));
        all.putAll(settings);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<String, String> consumer(String group, Map<String, ?> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest",
            "enable.auto.commit", "false", "session.timeout.ms", "6000", "heartbeat.interval.ms", "500"));
        if (group != null) all.put("group.id", group);
        all.putAll(settings);
        return new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
    }

    static void produce(String topic, int partition, int from, int to) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            List<Future<RecordMetadata>> sends = new ArrayList<>();
            for (int i = from; i < to; i++) {
                sends.add(producer.send(new ProducerRecord<>(topic, partition, 1_700_000_000_000L + i, null, bytes("v" + i))));
            }
            for (Future<RecordMetadata> send : sends) send.get(30, TimeUnit.SECONDS);
        }
    }

    static List<ConsumerRecord<String, String>> poll(Consumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (records.size() < count && System.nanoTime() < deadline) consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        equal(count, records.size());
        return records;
    }

    /** Waits for what another process does in its own time. */
    static void eventually(String what, Condition condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
        while (!condition.holds()) {
            require(System.nanoTime() < deadline, "not within " + PATIENCE_SECONDS + " s: " + what);
            Thread.sleep(20);
        }
    }

    static void refused(Class<? extends Exception> expected, Check action) throws Exception {
        try {
            action.run();
        } catch (Exception error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            require(expected.isInstance(cause), "expected " + expected.getSimpleName() + ", got " + cause);
            return;
        }
        throw new AssertionError("not refused with " + expected.getSimpleName());
    }
}
