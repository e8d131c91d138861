import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/**
 * Produces the same batches to two brokers, has both compact, and compares what a consumer reads with what a naive model keeps.
 * Usage: Compaction OTTLA KAFKA [--records N] [--seed S], or Compaction commit|verify-commits OTTLA
 *
 * The first and the last of three phases are deterministic: min.cleanable.dirty.ratio=1 holds the cleaner back while records are
 * produced, and 0.001, set at run time, lets it do exactly one cleaning of everything. Segments end where the records' timestamps
 * jump by more than segment.ms.
 */
public class Compaction {
    static final String HOLD = "1", GO = "0.001";
    static final long HOUR = 3_600_000L, BEGIN = 1_704_067_200_000L;
    static final int PHASES = 3, SEGMENTS = 4;
    static int recordsPerPhase = 400;
    static long seed = 1;

    record Kept(long offset, long timestamp, String key, String value, String headers) {}

    /** What a topic is created with. */
    record Kind(String codec, boolean idempotent, Map<String, String> configs) {
        String name() { return "compaction-" + codec + (idempotent ? "" : "-plain") + (keepsTombstones() ? "-tombstones" : ""); }
        boolean keepsTombstones() { return !"0".equals(configs.get("delete.retention.ms")); }
    }

    /** What a cleaner without limits would keep. */
    static class Model {
        record Entry(long offset, long timestamp, String key, String value, String headers, int batch) {}
        final List<Entry> log = new ArrayList<>();
        final Set<Integer> withHorizon = new HashSet<>();
        int batches = 0;

        void clean(long end, boolean horizonPasses) {
            Map<String, Long> newest = new HashMap<>();
            for (Entry entry : log) if (entry.offset < end) newest.put(entry.key, entry.offset);
            Set<Integer> first = new HashSet<>();
            log.removeIf(entry -> entry.offset < end && (newest.get(entry.key) > entry.offset
                || entry.value == null && horizonPasses && withHorizon.contains(entry.batch)));
            for (Entry entry : log) if (entry.offset < end && entry.value == null) first.add(entry.batch);
            withHorizon.addAll(first);
        }

        List<Kept> kept() {
            return log.stream().map(e -> new Kept(e.offset, e.timestamp, e.key, e.value, e.headers)).toList();
        }
    }

    static class Broker implements AutoCloseable {
        final String name, bootstrap;
        final Admin admin;
        final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();

        Broker(String name, String bootstrap) {
            this.name = name;
            this.bootstrap = bootstrap;
            admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        }

        void create(Kind kind) throws Exception {
            Map<String, String> configs = new HashMap<>(kind.configs);
            configs.putAll(Map.of("cleanup.policy", "compact", "segment.ms", "" + HOUR, "min.cleanable.dirty.ratio", HOLD));
            admin.createTopics(List.of(new NewTopic(kind.name(), 1, (short) 1).configs(configs))).all().get();
        }

        void set(String topic, String key, String value) throws Exception {
            var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            var change = new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all().get();
        }

        /** Sends records as one batch; gives the offset of the first. */
        long send(Kind kind, List<ProducerRecord<byte[], byte[]>> records) throws Exception {
            var producer = producers.computeIfAbsent(kind.name(), ignored -> new KafkaProducer<>(Map.of(
                "bootstrap.servers", bootstrap, "compression.type", kind.codec, "enable.idempotence", "" + kind.idempotent, "acks", "all",
                "linger.ms", "600000", "delivery.timeout.ms", "700000", "batch.size", "900000", "max.block.ms", "30000"), new ByteArraySerializer(), new ByteArraySerializer()));
            List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
            for (var record : records) sent.add(producer.send(record));
            producer.flush();
            long first = sent.get(0).get().offset();
            for (int index = 0; index < sent.size(); index++) require(sent.get(index).get().offset() == first + index, "offsets have gaps");
            return first;
        }

        List<Kept> read(String topic) {
            Map<String, Object> configs = Map.of("bootstrap.servers", bootstrap, "max.poll.records", "100000", "fetch.max.wait.ms", "50");
            List<Kept> kept = new ArrayList<>();
            try (var consumer = new KafkaConsumer<>(configs, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                var partition = new TopicPartition(topic, 0);
                consumer.assign(List.of(partition));
                consumer.seekToBeginning(List.of(partition));
                long end = consumer.endOffsets(List.of(partition)).get(partition);
                while (consumer.position(partition) < end) {
                    for (var record : consumer.poll(Duration.ofMillis(200))) {
                        kept.add(new Kept(record.offset(), record.timestamp(), text(record.key()), text(record.value()), headers(record.headers())));
                    }
                }
            }
            return kept;
        }

        @Override public void close() {
            producers.values().forEach(KafkaProducer::close);
            admin.close();
        }
    }

    static String text(byte[] bytes) { return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8); }

    static String headers(Iterable<Header> headers) {
        StringBuilder text = new StringBuilder();
        for (Header header : headers) text.append(header.key()).append('=').append(text(header.value())).append(';');
        return text.toString();
    }

    static void require(boolean condition, String what) { if (!condition) throw new AssertionError(what); }

    static ProducerRecord<byte[], byte[]> record(String topic, long timestamp, String key, String value, List<Header> headers) {
        byte[] bytes = value == null ? null : value.getBytes(StandardCharsets.UTF_8);
        return new ProducerRecord<>(topic, 0, timestamp, key.getBytes(StandardCharsets.UTF_8), bytes, headers);
    }

    /** A batch of records of one hour. */
    static List<ProducerRecord<byte[], byte[]>> batch(String topic, Random random, long hour, int count) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int index = 0; index < count; index++) {
            long timestamp = BEGIN + hour * (2 * HOUR) + random.nextInt(600_000);
            int kind = random.nextInt(10);
            String key = kind == 0 ? "" : kind == 1 ? "once-" + random.nextLong() : "key-" + random.nextInt(40);
            String value = random.nextInt(6) == 0 ? null : random.nextInt(10) == 0 ? "" : "value ".repeat(random.nextInt(20)) + random.nextInt();
            List<Header> headers = new ArrayList<>();
            for (int number = random.nextInt(4); number > 1; number--) {
                headers.add(new RecordHeader("h" + random.nextInt(2), random.nextBoolean() ? null : "x".getBytes(StandardCharsets.UTF_8)));
            }
            records.add(record(topic, timestamp, key, value, headers));
        }
        return records;
    }

    static void produce(Kind kind, List<Broker> brokers, Model model, List<ProducerRecord<byte[], byte[]>> records) throws Exception {
        Set<Long> offsets = new HashSet<>();
        for (Broker broker : brokers) offsets.add(broker.send(kind, records));
        require(offsets.size() == 1, "the brokers gave different offsets: " + offsets);
        long offset = offsets.iterator().next();
        int number = model.batches++;
        for (var record : records) {
            model.log.add(new Model.Entry(offset++, record.timestamp(), text(record.key()), text(record.value()), headers(record.headers()), number));
        }
    }

    static void await(Kind kind, List<Broker> brokers, Model model, String when) throws Exception {
        List<Kept> expected = model.kept();
        for (Broker broker : brokers) {
            long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
            List<Kept> found = broker.read(kind.name());
            while (!found.equals(expected) && System.nanoTime() < deadline) {
                Thread.sleep(200);
                found = broker.read(kind.name());
            }
            if (!found.equals(expected)) {
                List<Kept> missing = new ArrayList<>(expected), extra = new ArrayList<>(found);
                missing.removeAll(found);
                extra.removeAll(expected);
                throw new AssertionError(kind.name() + ", " + when + ": " + broker.name + " lacks " + missing.stream().limit(5).toList() + " of "
                    + missing.size() + " and has " + extra.stream().limit(5).toList() + " of " + extra.size());
            }
        }
    }

    static String run(Kind kind, List<Broker> brokers) throws Exception {
        for (Broker broker : brokers) broker.create(kind);
        Random random = new Random(seed * 31 + kind.name().hashCode());
        Model model = new Model();
        long hour = 0;
        int produced = 0;
        StringBuilder counts = new StringBuilder();
        for (int phase = 1; phase <= PHASES; phase++) {
            for (int segment = 0; segment < SEGMENTS; segment++, hour++) {
                for (int left = recordsPerPhase / SEGMENTS; left > 0; ) {
                    int count = Math.min(left, 1 + random.nextInt(40));
                    produce(kind, brokers, model, batch(kind.name(), random, hour, count));
                    left -= count;
                    produced += count;
                }
            }
            // The first batch of the active segment; its key never comes again.
            long end = model.log.get(model.log.size() - 1).offset() + 1;
            produce(kind, brokers, model, List.of(record(kind.name(), BEGIN + hour++ * (2 * HOUR), "seal-" + phase, "v", List.of())));
            produced++;
            await(kind, brokers, model, "phase " + phase + ", before compaction");
            model.clean(end, !kind.keepsTombstones());
            for (Broker broker : brokers) broker.set(kind.name(), "min.cleanable.dirty.ratio", GO);
            await(kind, brokers, model, "phase " + phase + ", after compaction");
            // One cleaning more would take tombstones: it must not come while the next records do.
            for (Broker broker : brokers) broker.set(kind.name(), "min.cleanable.dirty.ratio", HOLD);
            counts.append(phase == 1 ? "" : ", ").append(model.log.size()).append(" of ").append(produced);
        }
        return counts.toString();
    }

    static final int COMMITS = 400, PARTITIONS = 3;

    /** Commits so often that __consumer_offsets is compacted again and again; the last commits must be there, and after a restart. */
    static void commit(String bootstrap) throws Exception {
        try (Broker broker = new Broker("Ottla", bootstrap)) {
            broker.admin.createTopics(List.of(new NewTopic("committed", PARTITIONS, (short) 1))).all().get();
            try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap), new ByteArraySerializer(), new ByteArraySerializer())) {
                for (int number = 0; number < COMMITS * PARTITIONS; number++) producer.send(new ProducerRecord<>("committed", number % PARTITIONS, new byte[] {1}, new byte[] {2}));
            }
            try (var consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap, "group.id", "committer"), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                for (int number = 1; number <= COMMITS; number++) {
                    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                    for (int partition = 0; partition < PARTITIONS; partition++) {
                        if (number % (partition + 1) == 0) offsets.put(new TopicPartition("committed", partition), new OffsetAndMetadata(number, "commit " + number));
                    }
                    consumer.commitSync(offsets);
                    if (number == 1) {
                        broker.set("__consumer_offsets", "segment.ms", "50");
                        broker.set("__consumer_offsets", "min.cleanable.dirty.ratio", GO);
                    }
                    if (number % 20 == 0) Thread.sleep(60);
                }
            }
        }
        verifyCommits(bootstrap);
    }

    static void verifyCommits(String bootstrap) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var offsets = admin.listConsumerGroupOffsets("committer").partitionsToOffsetAndMetadata().get();
            for (int partition = 0; partition < PARTITIONS; partition++) {
                long expected = COMMITS / (partition + 1) * (partition + 1);
                var found = offsets.get(new TopicPartition("committed", partition));
                require(found != null && found.offset() == expected && found.metadata().equals("commit " + expected), "partition " + partition + ": " + found);
            }
            System.out.println("ok the last of " + COMMITS + " commits of " + PARTITIONS + " partitions are there");
        }
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("commit")) { commit(arguments[1]); return; }
        if (arguments[0].equals("verify-commits")) { verifyCommits(arguments[1]); return; }
        for (int index = 2; index + 1 < arguments.length; index += 2) {
            switch (arguments[index]) {
                case "--records" -> recordsPerPhase = Integer.parseInt(arguments[index + 1]);
                case "--seed" -> seed = Long.parseLong(arguments[index + 1]);
                default -> throw new IllegalArgumentException(arguments[index]);
            }
        }
        List<Kind> kinds = new ArrayList<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) kinds.add(new Kind(codec, true, Map.of("delete.retention.ms", "0")));
        kinds.add(new Kind("none", false, Map.of("delete.retention.ms", "0")));
        kinds.add(new Kind("lz4", true, Map.of()));
        kinds.add(new Kind("none", false, Map.of()));
        int failed = 0;
        try (Broker ottla = new Broker("Ottla", arguments[0]); Broker kafka = new Broker("Apache Kafka", arguments[1])) {
            for (Kind kind : kinds) {
                try {
                    System.out.println("ok " + kind.name() + ": the same stay after each compaction: " + run(kind, List.of(kafka, ottla)));
                    System.out.println("topic " + kind.name());
                } catch (Throwable error) {
                    failed++;
                    System.out.println("FAILED " + kind.name());
                    error.printStackTrace(System.out);
                }
            }
        }
        System.out.println((kinds.size() - failed) + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
