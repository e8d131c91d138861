import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;

/** What the programs about transactions share: transactional producers, reading by isolation level, transaction.version. */
class TransactionChecks extends Checks {
    static final String FEATURE = "transaction.version";

    static KafkaProducer<String, String> transactional(String id, Map<String, ?> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "transactional.id", id, "linger.ms", "0"));
        all.putAll(settings);
        return new KafkaProducer<>(all, new StringSerializer(), new StringSerializer());
    }

    /** A transactional producer that is ready to begin. */
    static KafkaProducer<String, String> initialized(String id) { return initialized(id, Map.of()); }

    static KafkaProducer<String, String> initialized(String id, Map<String, ?> settings) {
        KafkaProducer<String, String> producer = transactional(id, settings);
        producer.initTransactions();
        return producer;
    }

    static void send(KafkaProducer<String, String> producer, String topic, int partition, String... values) {
        for (String value : values) producer.send(new ProducerRecord<>(topic, partition, null, value));
    }

    static KafkaConsumer<String, String> reader(String isolation, Map<String, ?> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("isolation.level", isolation));
        all.putAll(settings);
        return consumer(null, all);
    }

    static List<TopicPartition> partitionsOf(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().stream()
            .map(partition -> new TopicPartition(topic, partition.partition())).collect(Collectors.toList());
    }

    /** All values of a topic from its first to its present end at this isolation level, partition by partition. */
    static List<List<String>> values(String topic, String isolation) throws Exception {
        List<TopicPartition> partitions = partitionsOf(topic);
        List<List<String>> values = new ArrayList<>();
        partitions.forEach(partition -> values.add(new ArrayList<>()));
        try (KafkaConsumer<String, String> consumer = reader(isolation, Map.of())) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                require(System.nanoTime() < deadline, "the end was not reached: " + ends);
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) values.get(record.partition()).add(record.value());
            }
        }
        return values;
    }

    static List<List<String>> committed(String topic) throws Exception { return values(topic, "read_committed"); }

    static List<List<String>> everything(String topic) throws Exception { return values(topic, "read_uncommitted"); }

    static long endOffset(TopicPartition partition, IsolationLevel isolation) throws Exception {
        return listed(partition, OffsetSpec.latest(), isolation);
    }

    static long listed(TopicPartition partition, OffsetSpec spec, IsolationLevel isolation) throws Exception {
        return admin.listOffsets(Map.of(partition, spec), new ListOffsetsOptions(isolation)).partitionResult(partition).get().offset();
    }

    static TransactionDescription description(String id) throws Exception {
        return admin.describeTransactions(List.of(id)).description(id).get();
    }

    static ProducerState onlyProducer(TopicPartition partition) throws Exception {
        List<ProducerState> producers = admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers();
        equal(1, producers.size());
        return producers.get(0);
    }

    static short transactionVersion() throws Exception {
        FinalizedVersionRange range = admin.describeFeatures().featureMetadata().get().finalizedFeatures().get(FEATURE);
        return range == null ? 0 : range.maxVersionLevel();
    }

    /** Finalizes transaction.version at a level, up or down; returns when the broker says so. */
    static void finalizeTransactionVersion(int level) throws Exception {
        short present = transactionVersion();
        if (present == level) return;
        FeatureUpdate.UpgradeType type = level > present ? FeatureUpdate.UpgradeType.UPGRADE : FeatureUpdate.UpgradeType.SAFE_DOWNGRADE;
        admin.updateFeatures(Map.of(FEATURE, new FeatureUpdate((short) level, type)), new UpdateFeaturesOptions()).all().get();
        eventually(FEATURE + " " + level, () -> transactionVersion() == level);
    }

    /** The class of what the action throws, of the cause where it is wrapped; null when it throws nothing. */
    static Class<?> thrown(Check action) {
        try {
            action.run();
            return null;
        } catch (ExecutionException error) {
            return error.getCause().getClass();
        } catch (Exception error) {
            return error.getClass();
        }
    }
}
