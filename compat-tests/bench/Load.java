import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidTxnStateException;
import org.apache.kafka.common.serialization.*;

/**
 * Transactional producers of one process with their default settings, each with a partition of its own.
 * Usage: Load HOST:PORT PRODUCERS RECORDS_PER_TRANSACTION WARM_UP_SECONDS SECONDS.
 * Prints "begin" and "end" around what it measures, then: transactions, seconds, its own CPU seconds, of commitTransaction() the
 * median and the 99th percentile in milliseconds; then how many records were committed in all and how many a read_committed consumer finds.
 */
public class Load {
    static final int RECORD_BYTES = 100;

    public static void main(String[] arguments) {
        try {
            measure(arguments);
        } catch (Exception error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    static void measure(String[] arguments) throws Exception {
        int producers = Integer.parseInt(arguments[1]), records = Integer.parseInt(arguments[2]);
        double warmUp = Double.parseDouble(arguments[3]), seconds = Double.parseDouble(arguments[4]);
        String topic = "bench-" + UUID.randomUUID();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            admin.createTopics(List.of(new NewTopic(topic, producers, (short) 1))).all().get();
        }
        AtomicBoolean measuring = new AtomicBoolean(), stopped = new AtomicBoolean();
        LongAdder committed = new LongAdder(); // transactions
        CountDownLatch first = new CountDownLatch(producers); // transactions
        ExecutorService threads = Executors.newFixedThreadPool(producers);
        List<Future<List<Long>>> running = new ArrayList<>();
        for (int i = 0; i < producers; i++) {
            int partition = i;
            running.add(threads.submit(() -> produce(arguments[0], topic, partition, records, first, committed, measuring, stopped)));
        }
        first.await(); // a new broker takes seconds for the topic of its coordinator
        TimeUnit.MILLISECONDS.sleep((long) (warmUp * 1000));
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        System.out.println("begin");
        long cpu = system.getProcessCpuTime(), begin = System.nanoTime();
        measuring.set(true);
        TimeUnit.MILLISECONDS.sleep((long) (seconds * 1000));
        measuring.set(false);
        double elapsed = (System.nanoTime() - begin) / 1e9, spent = (system.getProcessCpuTime() - cpu) / 1e9;
        System.out.println("end");
        stopped.set(true);
        List<Long> commits = new ArrayList<>();
        for (Future<List<Long>> thread : running) commits.addAll(thread.get());
        threads.shutdown();
        Collections.sort(commits);
        System.out.printf(Locale.ROOT, "%d %.3f %.3f %.3f %.3f %d %d%n", commits.size(), elapsed, spent,
            commits.get(commits.size() / 2) / 1e6, commits.get(commits.size() * 99 / 100) / 1e6,
            committed.sum() * records, visible(arguments[0], topic, producers));
    }

    /** Records that a read_committed consumer finds. */
    static long visible(String bootstrap, String topic, int partitions) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed");
        long found = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> all = new ArrayList<>();
            for (int i = 0; i < partitions; i++) all.add(new TopicPartition(topic, i));
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            while (all.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) found += consumer.poll(Duration.ofSeconds(1)).count();
        }
        return found;
    }

    /** Nanoseconds of each commit that ended while it was measured. */
    static List<Long> produce(String bootstrap, String topic, int partition, int records, CountDownLatch first,
                              LongAdder committed, AtomicBoolean measuring, AtomicBoolean stopped) {
        List<Long> commits = new ArrayList<>();
        byte[] value = new byte[RECORD_BYTES];
        new Random(partition).nextBytes(value);
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "transactional.id", topic + "-" + partition);
        while (!stopped.get()) {
            try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
                producer.initTransactions();
                while (!stopped.get()) {
                    producer.beginTransaction();
                    for (int i = 0; i < records; i++) producer.send(new ProducerRecord<>(topic, partition, null, value));
                    long begin = System.nanoTime();
                    producer.commitTransaction();
                    committed.increment();
                    first.countDown();
                    if (measuring.get()) commits.add(System.nanoTime() - begin);
                }
            } catch (InvalidTxnStateException raced) {
                // Client 4.3, about once in 50,000 commits: its sender looks whether batches are left before it takes EndTxn from its
                // queue, so that an EndTxn queued in between overtakes the transaction's records. Any broker refuses that.
                System.err.println("a commit overtook its records: " + raced.getMessage());
            }
        }
        return commits;
    }
}
