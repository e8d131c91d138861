import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;

/**
 * Consume, produce, and commit the offsets in the same transaction: every record of the input once in the output.
 * Usage: ReadProcessWrite HOST:PORT [PART OF A NAME].
 */
@SuppressWarnings("removal") // groups named without a member are what older clients send
public class ReadProcessWrite extends TransactionChecks {
    public static void main(String[] arguments) throws Exception {
        connect(arguments);
        Map<String, Check> all = new LinkedHashMap<>();
        all.put("copied once, with aborts in between", ReadProcessWrite::copiedOnce);
        all.put("offsets are seen with the commit, and never after an abort", ReadProcessWrite::offsetsFollowTheMarker);
        all.put("a reader of offsets waits while they are pending", ReadProcessWrite::readerWaits);
        all.put("offsets of an old generation, an unknown and a fenced member are refused", ReadProcessWrite::generations);
        all.put("rebalances in the middle: copied once", ReadProcessWrite::rebalances);
        Map<String, Check> checks = new LinkedHashMap<>();
        for (int level : List.of(2, 1, 0)) {
            all.forEach((name, check) -> checks.put(FEATURE + " " + level + ": " + name, () -> {
                finalizeTransactionVersion(level);
                check.run();
            }));
        }
        checks.put(FEATURE + " lowered and raised under a producer that lives on", ReadProcessWrite::versionChanges);
        checks.put("back to " + FEATURE + " 2", () -> finalizeTransactionVersion(2));
        run(checks);
    }

    static final int PARTITIONS = 3;

    static KafkaConsumer<String, String> copierConsumer(String group, Map<String, ?> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("isolation.level", "read_committed", "max.poll.records", "20"));
        all.putAll(settings);
        return consumer(group, all);
    }

    static Map<TopicPartition, OffsetAndMetadata> positions(KafkaConsumer<String, String> consumer) {
        return consumer.assignment().stream().collect(Collectors.toMap(partition -> partition, partition -> new OffsetAndMetadata(consumer.position(partition))));
    }

    static void rewind(KafkaConsumer<String, String> consumer) {
        Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(consumer.assignment());
        for (TopicPartition partition : consumer.assignment()) consumer.seek(partition, committed.get(partition) == null ? 0 : committed.get(partition).offset());
    }

    /** One transaction over what a poll gives; returns how many records it committed. */
    static int copy(KafkaConsumer<String, String> consumer, KafkaProducer<String, String> producer, String output, boolean abort) {
        ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(100));
        if (records.isEmpty()) return 0;
        producer.beginTransaction();
        for (ConsumerRecord<String, String> record : records) send(producer, output, record.partition(), record.value());
        producer.sendOffsetsToTransaction(positions(consumer), consumer.groupMetadata());
        if (abort) {
            producer.abortTransaction();
            rewind(consumer);
            return 0;
        }
        producer.commitTransaction();
        return records.count();
    }

    /** An input of that many records, written in transactions of which some are aborted. */
    static String input(int records) throws Exception {
        String topic = freshTopic(PARTITIONS);
        try (KafkaProducer<String, String> producer = initialized(freshName())) {
            for (int i = 0; i < records; ) {
                producer.beginTransaction();
                send(producer, topic, i % PARTITIONS, "not to be read");
                producer.flush();
                producer.abortTransaction();
                producer.beginTransaction();
                for (int end = Math.min(records, i + 100); i < end; i++) send(producer, topic, i % PARTITIONS, "v" + i);
                producer.commitTransaction();
            }
        }
        return topic;
    }

    static void copiedExactly(String input, String output) throws Exception {
        equal(committed(input), committed(output));
        for (List<String> values : committed(output)) require(!values.contains("not to be read"), "aborted input was read");
    }

    static void copiedOnce() throws Exception {
        int total = 600;
        String input = input(total), output = freshTopic(PARTITIONS), group = freshName();
        try (KafkaProducer<String, String> producer = initialized(freshName()); KafkaConsumer<String, String> consumer = copierConsumer(group, Map.of())) {
            consumer.subscribe(List.of(input));
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
            for (int copied = 0, i = 0; copied < total; i++) {
                require(System.nanoTime() < deadline, "copied " + copied);
                copied += copy(consumer, producer, output, i % 3 == 1);
            }
        }
        copiedExactly(input, output);
    }

    static Map<TopicPartition, OffsetAndMetadata> groupOffsets(String group, boolean stable) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>(admin.listConsumerGroupOffsets(group,
            new ListConsumerGroupOffsetsOptions().requireStable(stable)).partitionsToOffsetAndMetadata().get());
        offsets.values().removeIf(Objects::isNull);
        return offsets;
    }

    static void offsetsFollowTheMarker() throws Exception {
        String topic = freshTopic(2), group = freshName();
        TopicPartition zero = new TopicPartition(topic, 0), one = new TopicPartition(topic, 1);
        admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(1, "before"))).all().get();
        try (KafkaProducer<String, String> producer = initialized(freshName())) {
            ConsumerGroupMetadata nobody = new ConsumerGroupMetadata(group);
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(Map.of(zero, new OffsetAndMetadata(5, Optional.of(3), "tx"), one, new OffsetAndMetadata(6)), nobody);
            equal(Map.of(zero, new OffsetAndMetadata(1, "before")), groupOffsets(group, false));
            producer.abortTransaction();
            eventually("the abort", () -> groupOffsets(group, true).containsKey(zero));
            equal(Map.of(zero, new OffsetAndMetadata(1, "before")), groupOffsets(group, true));
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(Map.of(zero, new OffsetAndMetadata(7)), nobody);
            producer.sendOffsetsToTransaction(Map.of(zero, new OffsetAndMetadata(8, Optional.of(3), "tx"), one, new OffsetAndMetadata(9)), nobody);
            producer.commitTransaction();
            eventually("the commit", () -> groupOffsets(group, true).size() == 2);
            equal(Map.of(zero, new OffsetAndMetadata(8, Optional.of(3), "tx"), one, new OffsetAndMetadata(9, "")), groupOffsets(group, true));
        }
    }

    static void readerWaits() throws Exception {
        String topic = freshTopic(1), group = freshName();
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> producer = initialized(freshName()); KafkaConsumer<String, String> consumer = consumer(group, Map.of("isolation.level", "read_committed"))) {
            for (boolean commit : List.of(true, false)) {
                producer.beginTransaction();
                producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(commit ? 5 : 6)), new ConsumerGroupMetadata(group));
                consumer.assign(List.of(partition));
                refused(org.apache.kafka.common.errors.TimeoutException.class, () -> consumer.committed(Set.of(partition), Duration.ofMillis(500)));
                equal(Map.of(), groupOffsets(group, true)); // the client skips what is not stable
                if (commit) producer.commitTransaction();
                else producer.abortTransaction();
                equal(5L, consumer.committed(Set.of(partition)).get(partition).offset());
            }
        }
    }

    static void generations() throws Exception {
        String topic = freshTopic(1), group = freshName();
        Map<TopicPartition, OffsetAndMetadata> offsets = Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(1));
        produce(topic, 0, 0, 10);
        try (KafkaConsumer<String, String> consumer = consumer(group, Map.of("group.instance.id", "instance"))) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 10);
            ConsumerGroupMetadata now = consumer.groupMetadata();
            try (KafkaProducer<String, String> producer = initialized(freshName())) {
                refusedOffsets(producer, offsets, new ConsumerGroupMetadata(group, now.generationId() - 1, now.memberId(), now.groupInstanceId()), CommitFailedException.class);
                refusedOffsets(producer, offsets, new ConsumerGroupMetadata(group, now.generationId() + 1, now.memberId(), now.groupInstanceId()), CommitFailedException.class);
                refusedOffsets(producer, offsets, new ConsumerGroupMetadata(group, now.generationId(), "nobody", Optional.empty()), CommitFailedException.class);
                refusedOffsets(producer, offsets, new ConsumerGroupMetadata(group, now.generationId(), now.memberId() + "-not", now.groupInstanceId()), FencedInstanceIdException.class);
                producer.beginTransaction();
                producer.sendOffsetsToTransaction(offsets, now);
                producer.commitTransaction();
                equal(1L, consumer.committed(offsets.keySet()).values().iterator().next().offset());
                // Without a member, offsets are accepted even while the group has members: as clients before KIP-447 send them.
                producer.beginTransaction();
                producer.sendOffsetsToTransaction(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(2)), new ConsumerGroupMetadata(group));
                producer.commitTransaction();
                equal(2L, consumer.committed(offsets.keySet()).values().iterator().next().offset());
            }
        }
    }

    static void refusedOffsets(KafkaProducer<String, String> producer, Map<TopicPartition, OffsetAndMetadata> offsets, ConsumerGroupMetadata member, Class<? extends Exception> expected) throws Exception {
        producer.beginTransaction();
        equal(expected, thrown(() -> { producer.sendOffsetsToTransaction(offsets, member); producer.flush(); producer.commitTransaction(); }));
        producer.abortTransaction();
    }

    static void rebalances() throws Exception {
        int total = 1500;
        String input = input(total), output = freshTopic(PARTITIONS), group = freshName();
        AtomicInteger copied = new AtomicInteger();
        ExecutorService threads = Executors.newCachedThreadPool();
        List<Future<?>> copiers = new ArrayList<>();
        for (int id = 0; id < 4; id++) {
            int lifetime = id < 2 ? 4 + 4 * id : Integer.MAX_VALUE; // two leave in the middle: the others take over
            copiers.add(threads.submit(() -> { copyAsMember(group, input, output, copied, total, lifetime); return null; }));
        }
        for (Future<?> copier : copiers) copier.get(3 * PATIENCE_SECONDS, TimeUnit.SECONDS);
        threads.shutdown();
        // Within a partition the order too stays: a partition's next owner begins where the last one committed.
        copiedExactly(input, output);
    }

    static void copyAsMember(String group, String input, String output, AtomicInteger copied, int total, int lifetime) {
        Random random = new Random();
        try (KafkaProducer<String, String> producer = initialized(freshName()); KafkaConsumer<String, String> consumer = copierConsumer(group, Map.of())) {
            consumer.subscribe(List.of(input));
            for (int transactions = 0; copied.get() < total && transactions < lifetime; ) {
                try {
                    int count = copy(consumer, producer, output, random.nextInt(4) == 0);
                    copied.addAndGet(count);
                    if (count > 0) transactions++;
                } catch (CommitFailedException | RebalanceInProgressException stale) {
                    producer.abortTransaction(); // the partitions are another's by now
                    rewind(consumer);
                }
            }
        }
    }

    /** The epoch rises with each transaction of the second generation only: so one sees which one a producer speaks. */
    static int epochsOfATransaction(KafkaProducer<String, String> producer, KafkaConsumer<String, String> consumer, String id, String output, AtomicInteger copied) throws Exception {
        int before = description(id).producerEpoch();
        int count = 0;
        while (count == 0) count = copyFlushed(consumer, producer, output, () -> { });
        copied.addAndGet(count);
        // Empty: a producer that comes from the first generation takes a new epoch by itself.
        eventually("the commit", () -> Set.of(TransactionState.COMPLETE_COMMIT, TransactionState.EMPTY).contains(description(id).state()));
        return description(id).producerEpoch() - before;
    }

    /**
     * One transaction, with something that happens before its end. All is sent before the commit: a Java producer that learns of
     * another generation on its way there sends the rest of its records as that one does, and is refused.
     */
    static int copyFlushed(KafkaConsumer<String, String> consumer, KafkaProducer<String, String> producer, String output, Check before) throws Exception {
        ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(500));
        if (records.isEmpty()) return 0;
        producer.beginTransaction();
        for (ConsumerRecord<String, String> record : records) send(producer, output, record.partition(), record.value());
        producer.sendOffsetsToTransaction(positions(consumer), consumer.groupMetadata());
        producer.flush();
        before.run();
        producer.commitTransaction();
        return records.count();
    }

    static void versionChanges() throws Exception {
        int total = 4000;
        finalizeTransactionVersion(2);
        String input = input(total), output = freshTopic(PARTITIONS), group = freshName(), id = freshName();
        AtomicInteger copied = new AtomicInteger();
        // A client learns of a change with the next connection it opens: idle ones close soon here.
        Map<String, String> reconnects = Map.of("connections.max.idle.ms", "300");
        try (KafkaProducer<String, String> producer = initialized(id, reconnects);
             KafkaConsumer<String, String> consumer = copierConsumer(group, Map.of("max.poll.records", "5"))) {
            consumer.subscribe(List.of(input));
            // Not from 2 to 0 at once: what the second generation has open, Apache Kafka cannot write in the records of level 0.
            for (int level : List.of(1, 2, 1, 0, 1, 0, 2)) {
                // Changed under an open transaction: it ends as it began.
                int count = 0;
                while (count == 0) count = copyFlushed(consumer, producer, output, () -> finalizeTransactionVersion(level));
                copied.addAndGet(count);
                int rise = level == 2 ? 1 : 0;
                for (long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS); ; ) {
                    if (epochsOfATransaction(producer, consumer, id, output, copied) == rise) break;
                    require(System.nanoTime() < deadline, "the producer does not follow to " + level);
                    Thread.sleep(400); // longer than its connections stay open unused
                }
                equal(rise, epochsOfATransaction(producer, consumer, id, output, copied));
            }
            while (copied.get() < total) copied.addAndGet(copyFlushed(consumer, producer, output, () -> { }));
        }
        copiedExactly(input, output);
    }
}
