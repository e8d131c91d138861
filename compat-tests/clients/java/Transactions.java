import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;

/**
 * Transactions as a Java producer writes them and a Java consumer reads them, under every transaction.version.
 * Usage: Transactions HOST:PORT [PART OF A NAME]. The broker should look for transactions that timed out every second or so
 * (transaction.abort.timed.out.transaction.cleanup.interval.ms).
 */
public class Transactions extends TransactionChecks {
    public static void main(String[] arguments) throws Exception {
        connect(arguments);
        Map<String, Check> all = new LinkedHashMap<>();
        all.put("commits and aborts at both isolation levels", Transactions::commitsAndAborts);
        all.put("an open transaction holds read_committed back, and ListOffsets with it", Transactions::openTransaction);
        all.put("a commit and an abort wake a fetch that waits", Transactions::waitingFetch);
        all.put("interleaved transactions of four producers, read while they run", Transactions::interleaved);
        all.put("a transaction over a hundred partitions", Transactions::manyPartitions);
        all.put("transactions without records", Transactions::empty);
        all.put("a producer goes on after an error in a transaction", Transactions::goesOnAfterError);
        all.put("initTransactions fences the zombie and aborts what it left", Transactions::zombie);
        Map<String, Check> checks = new LinkedHashMap<>();
        for (int level : List.of(2, 1, 0)) {
            all.forEach((name, check) -> checks.put(FEATURE + " " + level + ": " + name, () -> {
                finalizeTransactionVersion(level);
                check.run();
            }));
            checks.put(FEATURE + " " + level + ": a transaction that timed out is aborted, its producer fenced", () -> timeOut(level));
        }
        checks.put("a time-out above the broker's maximum is refused", Transactions::timeOutTooLong);
        checks.put("back to " + FEATURE + " 2", () -> finalizeTransactionVersion(2));
        run(checks);
    }

    static void commitsAndAborts() throws Exception {
        for (String codec : List.of("none", "zstd")) {
            String topic = freshTopic(2);
            try (KafkaProducer<String, String> producer = initialized(freshName(), Map.of("compression.type", codec, "batch.size", "200"))) {
                for (int i = 0; i < 6; i++) {
                    producer.beginTransaction();
                    for (int j = 0; j < 40; j++) send(producer, topic, j % 2, "v" + i + "-" + j);
                    if (i % 2 == 0) producer.commitTransaction();
                    else producer.abortTransaction();
                }
            }
            for (int partition = 0; partition < 2; partition++) {
                List<String> expected = new ArrayList<>(), kept = new ArrayList<>();
                for (int i = 0; i < 6; i++) {
                    for (int j = partition; j < 40; j += 2) {
                        // An abort drops what the producer has not sent yet: nothing is known of how much of it was written.
                        if (i % 2 == 0) kept.add("v" + i + "-" + j);
                        expected.add("v" + i + "-" + j);
                    }
                }
                equal(kept, committed(topic).get(partition));
                List<String> found = everything(topic).get(partition);
                require(found.containsAll(kept) && expected.containsAll(found), found);
            }
        }
    }

    static void openTransaction() throws Exception {
        String topic = freshTopic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        produce(topic, 0, 0, 3);
        try (KafkaProducer<String, String> producer = initialized(freshName())) {
            producer.beginTransaction();
            send(producer, topic, 0, "a", "b");
            producer.flush();
            produce(topic, 0, 3, 5); // committed in themselves, but behind the open transaction
            equal(7L, endOffset(partition, IsolationLevel.READ_UNCOMMITTED));
            equal(3L, endOffset(partition, IsolationLevel.READ_COMMITTED));
            equal(List.of("v0", "v1", "v2"), committed(topic).get(0));
            equal(List.of("v0", "v1", "v2", "a", "b", "v3", "v4"), everything(topic).get(0));
            // By time: what lies behind the last stable offset is not found.
            equal(5L, listed(partition, OffsetSpec.forTimestamp(1_700_000_000_003L), IsolationLevel.READ_UNCOMMITTED) == 3L ? 5L : -1L);
            equal(-1L, listed(partition, OffsetSpec.forTimestamp(1_700_000_000_003L), IsolationLevel.READ_COMMITTED));
            equal(2L, listed(partition, OffsetSpec.forTimestamp(1_700_000_000_002L), IsolationLevel.READ_COMMITTED));
            equal(0L, listed(partition, OffsetSpec.earliest(), IsolationLevel.READ_COMMITTED));
            producer.commitTransaction();
            eventually("the marker", () -> endOffset(partition, IsolationLevel.READ_COMMITTED) == 8);
            equal(List.of("v0", "v1", "v2", "a", "b", "v3", "v4"), committed(topic).get(0));
            producer.beginTransaction();
            send(producer, topic, 0, "c");
            producer.flush();
            equal(8L, endOffset(partition, IsolationLevel.READ_COMMITTED));
            producer.abortTransaction();
            eventually("the marker", () -> endOffset(partition, IsolationLevel.READ_COMMITTED) == 10);
            equal(List.of("v0", "v1", "v2", "a", "b", "v3", "v4"), committed(topic).get(0));
        }
    }

    static void waitingFetch() throws Exception {
        String topic = freshTopic(1);
        List<TopicPartition> partitions = List.of(new TopicPartition(topic, 0));
        // It would wait longer than the check has patience: only the marker can wake it.
        Map<String, String> patient = Map.of("fetch.max.wait.ms", "120000", "request.timeout.ms", "150000", "fetch.min.bytes", "1");
        try (KafkaProducer<String, String> producer = initialized(freshName()); KafkaConsumer<String, String> consumer = reader("read_committed", patient)) {
            consumer.assign(partitions);
            for (int i = 0; i < 3; i++) {
                producer.beginTransaction();
                send(producer, topic, 0, "aborted" + i);
                producer.flush();
                equal(0, consumer.poll(Duration.ofMillis(300)).count());
                producer.abortTransaction();
                producer.beginTransaction();
                send(producer, topic, 0, "committed" + i);
                producer.flush();
                equal(0, consumer.poll(Duration.ofMillis(300)).count());
                producer.commitTransaction();
                equal("committed" + i, poll(consumer, 1).get(0).value());
            }
        }
    }

    static void interleaved() throws Exception {
        String topic = freshTopic(2);
        int producers = 4, transactions = 40;
        ConcurrentSkipListSet<String> expected = new ConcurrentSkipListSet<>();
        ExecutorService threads = Executors.newCachedThreadPool();
        List<Future<?>> writing = new ArrayList<>();
        for (int id = 0; id < producers; id++) {
            String name = "p" + id;
            writing.add(threads.submit(() -> { writeTransactions(name, topic, transactions, expected); return null; }));
        }
        List<List<String>> live = List.of(new ArrayList<>(), new ArrayList<>());
        try (KafkaConsumer<String, String> consumer = reader("read_committed", Map.of())) {
            List<TopicPartition> partitions = partitionsOf(topic);
            consumer.assign(partitions);
            boolean written = false;
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(2 * PATIENCE_SECONDS);
            for (boolean done = false; !done; ) {
                require(System.nanoTime() < deadline, "the consumer did not come to the end");
                if (!written && writing.stream().allMatch(Future::isDone)) {
                    for (Future<?> thread : writing) thread.get();
                    written = true;
                }
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) live.get(record.partition()).add(record.value());
                done = written && live.get(0).size() + live.get(1).size() >= expected.size();
            }
        }
        threads.shutdown();
        equal(live, committed(topic));
        List<String> all = live.stream().flatMap(List::stream).collect(Collectors.toList());
        equal(all.size(), new HashSet<>(all).size());
        equal(new TreeSet<>(all), new TreeSet<>(expected));
        for (List<String> values : live) {
            for (int id = 0; id < producers; id++) {
                String name = "p" + id + "-";
                List<String> own = values.stream().filter(value -> value.startsWith(name)).collect(Collectors.toList());
                equal(own.stream().sorted().collect(Collectors.toList()), own);
            }
        }
    }

    static void writeTransactions(String name, String topic, int transactions, Set<String> expected) {
        Random random = new Random(name.hashCode());
        try (KafkaProducer<String, String> producer = initialized(freshName(), Map.of("batch.size", "100"))) {
            for (int i = 0; i < transactions; i++) {
                List<String> values = new ArrayList<>();
                producer.beginTransaction();
                for (int j = 0, count = 1 + random.nextInt(20); j < count; j++) {
                    String value = String.format("%s-%04d-%02d", name, i, j);
                    send(producer, topic, random.nextInt(2), value);
                    values.add(value);
                    if (random.nextInt(8) == 0) producer.flush();
                }
                if (random.nextInt(3) == 0) {
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                    expected.addAll(values);
                }
            }
        }
    }

    static void manyPartitions() throws Exception {
        List<String> topics = new ArrayList<>();
        for (int i = 0; i < 10; i++) topics.add(freshTopic(10));
        String id = freshName();
        try (KafkaProducer<String, String> producer = initialized(id)) {
            for (String value : List.of("committed", "aborted", "committed again")) {
                producer.beginTransaction();
                for (String topic : topics) for (int partition = 0; partition < 10; partition++) send(producer, topic, partition, value);
                producer.flush();
                equal(100, description(id).topicPartitions().size());
                if (value.equals("aborted")) producer.abortTransaction();
                else producer.commitTransaction();
            }
        }
        eventually("every marker", () -> description(id).state() == TransactionState.COMPLETE_COMMIT);
        equal(0, description(id).topicPartitions().size());
        for (String topic : topics) {
            equal(Collections.nCopies(10, List.of("committed", "committed again")), committed(topic));
            equal(Collections.nCopies(10, List.of("committed", "aborted", "committed again")), everything(topic));
        }
    }

    static void empty() throws Exception {
        String topic = freshTopic(1);
        try (KafkaProducer<String, String> producer = initialized(freshName())) {
            for (int i = 0; i < 3; i++) {
                producer.beginTransaction();
                producer.commitTransaction();
                producer.beginTransaction();
                producer.abortTransaction();
                producer.beginTransaction();
                send(producer, topic, 0, "v" + i);
                producer.commitTransaction();
            }
        }
        equal(List.of(List.of("v0", "v1", "v2")), committed(topic));
    }

    static void goesOnAfterError() throws Exception {
        String topic = freshTopic(1);
        try (KafkaProducer<String, String> producer = initialized(freshName(), Map.of("max.request.size", "4000000"))) {
            producer.beginTransaction();
            send(producer, topic, 0, "a");
            producer.flush();
            refused(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, "x".repeat(2_000_000))).get());
            refused(KafkaException.class, producer::commitTransaction);
            producer.abortTransaction();
            for (int i = 0; i < 3; i++) {
                producer.beginTransaction();
                send(producer, topic, 0, "b" + i);
                producer.commitTransaction();
            }
        }
        equal(List.of(List.of("b0", "b1", "b2")), committed(topic));
    }

    static void zombie() throws Exception {
        String topic = freshTopic(1), id = freshName();
        try (KafkaProducer<String, String> first = initialized(id)) {
            first.beginTransaction();
            send(first, topic, 0, "committed");
            first.commitTransaction();
            first.beginTransaction();
            send(first, topic, 0, "left");
            first.flush();
            try (KafkaProducer<String, String> second = initialized(id)) {
                // Its open transaction is gone already, before the second one has done anything.
                equal(List.of(List.of("committed")), committed(topic));
                equal(3L + 1, endOffset(new TopicPartition(topic, 0), IsolationLevel.READ_COMMITTED));
                equal(InvalidProducerEpochException.class, thrown(() -> first.send(new ProducerRecord<>(topic, 0, null, "late")).get()));
                refused(KafkaException.class, first::commitTransaction); // the error of the record
                equal(ProducerFencedException.class, thrown(first::abortTransaction));
                second.beginTransaction();
                send(second, topic, 0, "second's");
                second.commitTransaction();
                equal(ProducerFencedException.class, thrown(first::beginTransaction));
            }
        }
        equal(List.of(List.of("committed", "second's")), committed(topic));
        equal(List.of(List.of("committed", "left", "second's")), everything(topic));
        // One that only ever wants to commit, without sending before, is fenced as well.
        try (KafkaProducer<String, String> first = initialized(id)) {
            first.beginTransaction();
            send(first, topic, 0, "third");
            first.flush();
            try (KafkaProducer<String, String> second = initialized(id)) {
                equal(ProducerFencedException.class, thrown(first::commitTransaction));
            }
        }
        equal(List.of(List.of("committed", "second's")), committed(topic));
    }

    static void timeOut(int level) throws Exception {
        String topic = freshTopic(1), id = freshName();
        try (KafkaProducer<String, String> producer = initialized(id, Map.of("transaction.timeout.ms", "1000"))) {
            producer.beginTransaction();
            send(producer, topic, 0, "late");
            producer.flush();
            equal(1000L, description(id).transactionTimeoutMs());
            int epoch = description(id).producerEpoch();
            equal(0L, endOffset(new TopicPartition(topic, 0), IsolationLevel.READ_COMMITTED));
            eventually("the time-out", () -> description(id).state() == TransactionState.COMPLETE_ABORT);
            require(description(id).producerEpoch() > epoch, "the epoch rises: the producer is fenced");
            equal(2L, endOffset(new TopicPartition(topic, 0), IsolationLevel.READ_COMMITTED));
            // 4.3 takes the commit of the last transaction for one that contradicts its outcome; a later Kafka says fenced (KAFKA-20785).
            Class<?> refusal = thrown(producer::commitTransaction);
            require(refusal == ProducerFencedException.class || level == 2 && refusal == InvalidTxnStateException.class, refusal);
            refused(KafkaException.class, producer::beginTransaction);
        }
        try (KafkaProducer<String, String> producer = initialized(id)) {
            producer.beginTransaction();
            send(producer, topic, 0, "good");
            producer.commitTransaction();
        }
        equal(List.of(List.of("good")), committed(topic));
        equal(List.of(List.of("late", "good")), everything(topic));
    }

    static void timeOutTooLong() {
        try (KafkaProducer<String, String> producer = transactional(freshName(), Map.of("transaction.timeout.ms", "90000000"))) {
            KafkaException error = null;
            try { producer.initTransactions(); } catch (KafkaException refusal) { error = refusal; }
            require(error != null && error.getMessage().contains("transaction.max.timeout.ms"), error);
        }
    }
}
