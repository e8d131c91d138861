import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;
import java.time.Duration;

/**
 * As Compaction, with transactions: overlapping, committed and aborted, over segments and over compactions, beside records without
 * transaction. Both brokers get the same batches and markers at the same offsets; a read_committed consumer must see what a model keeps
 * that knows what was committed, before and after each compaction. The script compares the frames: aborted data, markers, horizons.
 * Usage: TransactionalCompaction OTTLA KAFKA [--records N] [--seed S]
 *
 * Records lie in the future, so that the markers, which have the broker's time, never begin a segment.
 */
public class TransactionalCompaction {
    static final int PRODUCERS = 3, PHASES = 4, SEGMENTS = 4;
    static final long BEGIN = System.currentTimeMillis();

    /** A record in the log; transaction 0 is none. */
    record Entry(long offset, long timestamp, String key, String value, int batch, int transaction) {}

    /** What was written, what became of it, and what a cleaner without limits keeps. */
    static class Model {
        final List<Entry> log = new ArrayList<>();
        final Map<Integer, Long> open = new HashMap<>();
        final Set<Integer> aborted = new HashSet<>(), withHorizon = new HashSet<>();
        final List<Long> segments = new ArrayList<>();
        int batches = 0, transactions = 0;
        long end = 0;

        long stable() { return open.values().stream().min(Long::compare).orElse(end); }

        void clean() {
            long stable = stable();
            // Whole segments, up to that which the first undecided record is in; never the last.
            long bound = segments.stream().filter(base -> base <= stable).max(Long::compare).orElse(0L);
            log.removeIf(entry -> aborted.contains(entry.transaction) && entry.offset < bound);
            Map<String, Long> newest = new HashMap<>();
            for (Entry entry : log) if (entry.offset < bound) newest.put(entry.key, entry.offset);
            log.removeIf(entry -> entry.offset < bound && (newest.get(entry.key) > entry.offset
                || entry.value == null && withHorizon.contains(entry.batch)));
            for (Entry entry : log) if (entry.offset < bound && entry.value == null) withHorizon.add(entry.batch);
        }

        List<Compaction.Kept> kept() {
            return log.stream().filter(entry -> entry.offset < stable() && !aborted.contains(entry.transaction))
                .map(entry -> new Compaction.Kept(entry.offset, entry.timestamp, entry.key, entry.value, "")).toList();
        }
    }

    static class Broker extends Compaction.Broker {
        final Map<Integer, KafkaProducer<byte[], byte[]>> transactional = new HashMap<>();

        Broker(String name, String bootstrap) { super(name, bootstrap); }

        /** Producer 0 has no transactions. */
        KafkaProducer<byte[], byte[]> producer(String topic, int number) {
            return transactional.computeIfAbsent(number, ignored -> {
                Map<String, Object> configs = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "acks", "all", "linger.ms", "600000",
                    "delivery.timeout.ms", "700000", "batch.size", "900000", "max.block.ms", "30000"));
                if (number > 0) configs.put("transactional.id", topic + "-" + number);
                var producer = new KafkaProducer<>(configs, new ByteArraySerializer(), new ByteArraySerializer());
                if (number > 0) producer.initTransactions();
                return producer;
            });
        }

        long send(KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records) throws Exception {
            List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
            for (var record : records) sent.add(producer.send(record));
            producer.flush();
            long first = sent.get(0).get().offset();
            for (int index = 0; index < sent.size(); index++) Compaction.require(sent.get(index).get().offset() == first + index, "offsets have gaps");
            return first;
        }

        void awaitEnd(String topic, long expected) throws Exception {
            var partition = new TopicPartition(topic, 0);
            long deadline = System.nanoTime() + Duration.ofSeconds(30).toNanos(), end;
            while ((end = admin.listOffsets(Map.of(partition, OffsetSpec.latest())).partitionResult(partition).get().offset()) < expected) {
                Compaction.require(System.nanoTime() < deadline, name + ": no marker at " + expected);
                Thread.sleep(1);
            }
            Compaction.require(end == expected, name + " is at " + end + ", not at " + expected);
        }

        List<Compaction.Kept> readCommitted(String topic) {
            Map<String, Object> configs = Map.of("bootstrap.servers", bootstrap, "max.poll.records", "100000", "fetch.max.wait.ms", "50", "isolation.level", "read_committed");
            List<Compaction.Kept> kept = new ArrayList<>();
            try (var consumer = new KafkaConsumer<>(configs, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                var partition = new TopicPartition(topic, 0);
                consumer.assign(List.of(partition));
                consumer.seekToBeginning(List.of(partition));
                long end = consumer.endOffsets(List.of(partition)).get(partition);
                while (consumer.position(partition) < end) {
                    for (var record : consumer.poll(Duration.ofMillis(200))) {
                        kept.add(new Compaction.Kept(record.offset(), record.timestamp(), Compaction.text(record.key()), Compaction.text(record.value()), ""));
                    }
                }
            }
            return kept;
        }

        @Override public void close() {
            transactional.values().forEach(KafkaProducer::close);
            super.close();
        }
    }

    final Compaction.Kind kind;
    final List<Broker> brokers;
    final Random random;
    final Model model = new Model();
    /** The open transaction of each producer. */
    final int[] open = new int[PRODUCERS + 1];
    int committed = 0, aborted = 0;

    TransactionalCompaction(Compaction.Kind kind, List<Broker> brokers, long seed) {
        this.kind = kind;
        this.brokers = brokers;
        random = new Random(seed);
    }

    void write(int producer, long hour, List<String> keys) throws Exception {
        if (producer > 0 && open[producer] == 0) {
            open[producer] = ++model.transactions;
            for (Broker broker : brokers) broker.producer(kind.name(), producer).beginTransaction();
            model.open.put(open[producer], model.end);
        }
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (String key : keys) {
            String value = random.nextInt(6) == 0 ? null : "value " + random.nextInt();
            records.add(Compaction.record(kind.name(), BEGIN + hour * (2 * Compaction.HOUR) + random.nextInt(600_000), key, value, List.of()));
        }
        for (Broker broker : brokers) {
            long first = broker.send(broker.producer(kind.name(), producer), records);
            Compaction.require(first == model.end, broker.name + " put a batch at " + first + ", not at " + model.end);
        }
        int batch = model.batches++;
        for (var record : records) {
            model.log.add(new Entry(model.end++, record.timestamp(), Compaction.text(record.key()), Compaction.text(record.value()), batch, producer > 0 ? open[producer] : 0));
        }
    }

    void end(int producer) throws Exception {
        if (open[producer] == 0) return;
        boolean commits = random.nextBoolean();
        model.end++;
        for (Broker broker : brokers) {
            var producing = broker.producer(kind.name(), producer);
            if (commits) producing.commitTransaction(); else producing.abortTransaction();
            broker.awaitEnd(kind.name(), model.end);
        }
        if (commits) committed++; else { aborted++; model.aborted.add(open[producer]); }
        model.open.remove(open[producer]);
        open[producer] = 0;
    }

    void await(String when) throws Exception {
        List<Compaction.Kept> expected = model.kept();
        for (Broker broker : brokers) {
            long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
            List<Compaction.Kept> found = broker.readCommitted(kind.name());
            while (!found.equals(expected) && System.nanoTime() < deadline) {
                Thread.sleep(200);
                found = broker.readCommitted(kind.name());
            }
            List<Compaction.Kept> missing = new ArrayList<>(expected), extra = new ArrayList<>(found);
            missing.removeAll(found);
            extra.removeAll(expected);
            Compaction.require(found.equals(expected), kind.name() + ", " + when + ": " + broker.name + " lacks " + missing.stream().limit(5).toList()
                + " of " + missing.size() + " and has " + extra.stream().limit(5).toList() + " of " + extra.size());
        }
    }

    String run(int recordsPerPhase) throws Exception {
        for (Broker broker : brokers) {
            broker.create(kind);
            broker.set(kind.name(), "message.timestamp.after.max.ms", "9223372036854775807");
        }
        long hour = 0;
        StringBuilder counts = new StringBuilder();
        for (int phase = 1; phase <= PHASES; phase++) {
            for (int segment = 0; segment < SEGMENTS; segment++, hour++) {
                model.segments.add(model.end);
                for (int left = recordsPerPhase / SEGMENTS; left > 0; ) {
                    int producer = random.nextInt(PRODUCERS + 1);
                    List<String> keys = new ArrayList<>();
                    for (int count = 1 + random.nextInt(6); count > 0; count--) keys.add("key-" + random.nextInt(30));
                    write(producer, hour, keys);
                    left -= keys.size();
                    if (random.nextInt(3) == 0) end(1 + random.nextInt(PRODUCERS));
                }
            }
            // One transaction stays open over every other compaction, and holds it up.
            for (int producer = 1; producer <= PRODUCERS; producer++) if (producer > phase % 2) end(producer);
            // The first batch of the active segment; its key never comes again.
            model.segments.add(model.end);
            write(0, hour++, List.of("seal-" + phase));
            await("phase " + phase + ", before compaction");
            model.clean();
            for (Broker broker : brokers) broker.set(kind.name(), "min.cleanable.dirty.ratio", Compaction.GO);
            await("phase " + phase + ", after compaction");
            for (Broker broker : brokers) broker.set(kind.name(), "min.cleanable.dirty.ratio", Compaction.HOLD);
            counts.append(phase == 1 ? "" : ", ").append(model.kept().size()).append(" of ").append(model.end);
        }
        for (int producer = 1; producer <= PRODUCERS; producer++) end(producer);
        await("the end");
        return counts + "; " + committed + " transactions committed, " + aborted + " aborted";
    }

    public static void main(String[] arguments) throws Exception {
        int records = 200;
        long seed = 1;
        for (int index = 2; index + 1 < arguments.length; index += 2) {
            switch (arguments[index]) {
                case "--records" -> records = Integer.parseInt(arguments[index + 1]) / 2;
                case "--seed" -> seed = Long.parseLong(arguments[index + 1]);
                default -> throw new IllegalArgumentException(arguments[index]);
            }
        }
        int failed = 0;
        List<Compaction.Kind> kinds = List.of(new Compaction.Kind("transactions", true, Map.of("delete.retention.ms", "0")),
            new Compaction.Kind("transactions", false, Map.of("delete.retention.ms", "86400000")));
        for (var kind : kinds) {
            try (Broker ottla = new Broker("Ottla", arguments[0]); Broker kafka = new Broker("Apache Kafka", arguments[1])) {
                System.out.println("ok " + kind.name() + ": the same stay after each compaction: " + new TransactionalCompaction(kind, List.of(kafka, ottla), seed).run(records));
                System.out.println("topic " + kind.name());
            } catch (Throwable error) {
                failed++;
                System.out.println("FAILED " + kind.name());
                error.printStackTrace(System.out);
            }
        }
        System.exit(failed == 0 ? 0 : 1);
    }
}
