import java.util.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;

/** What an administrator sees of transactions and does to them, and to transaction.version. Usage: TransactionAdmin HOST:PORT [PART OF A NAME]. */
public class TransactionAdmin extends TransactionChecks {
    public static void main(String[] arguments) throws Exception {
        connect(arguments);
        Map<String, Check> all = new LinkedHashMap<>();
        all.put("a transaction described from its begin to its end", TransactionAdmin::described);
        all.put("transactions listed by state, producer, duration and pattern", TransactionAdmin::listed);
        all.put("the producers of a partition described", TransactionAdmin::producers);
        all.put("producers fenced", TransactionAdmin::fenced);
        all.put("a transaction terminated", TransactionAdmin::terminated);
        Map<String, Check> checks = new LinkedHashMap<>();
        for (int level : List.of(2, 1)) {
            all.forEach((name, check) -> checks.put(FEATURE + " " + level + ": " + name, () -> {
                finalizeTransactionVersion(level);
                check.run();
            }));
            checks.put(FEATURE + " " + level + ": the transaction of one partition aborted", () -> { finalizeTransactionVersion(level); aborted(level); });
        }
        checks.put("features described, and updates that are refused", TransactionAdmin::features);
        checks.put("back to " + FEATURE + " 2", () -> finalizeTransactionVersion(2));
        run(checks);
    }

    static void described() throws Exception {
        String topic = freshTopic(2), id = freshName();
        refused(TransactionalIdNotFoundException.class, () -> description(id));
        long before = System.currentTimeMillis();
        try (KafkaProducer<String, String> producer = initialized(id, Map.of("transaction.timeout.ms", "54321"))) {
            TransactionDescription empty = description(id);
            equal(TransactionState.EMPTY, empty.state());
            equal(0, empty.producerEpoch());
            equal(54321L, empty.transactionTimeoutMs());
            equal(OptionalLong.empty(), empty.transactionStartTimeMs());
            producer.beginTransaction();
            send(producer, topic, 1, "a");
            producer.flush();
            TransactionDescription open = description(id);
            equal(TransactionState.ONGOING, open.state());
            equal(empty.producerId(), open.producerId());
            equal(Set.of(new TopicPartition(topic, 1)), open.topicPartitions());
            long started = open.transactionStartTimeMs().getAsLong();
            require(started >= before && started <= System.currentTimeMillis(), started);
            require(admin.describeCluster().nodes().get().stream().anyMatch(node -> node.id() == open.coordinatorId()), open);
            send(producer, topic, 0, "b");
            producer.flush();
            equal(2, description(id).topicPartitions().size());
            producer.commitTransaction();
            eventually("the commit", () -> description(id).state() == TransactionState.COMPLETE_COMMIT);
            equal(Set.of(), description(id).topicPartitions());
            equal(transactionVersion() == 2 ? 1 : 0, description(id).producerEpoch());
            producer.beginTransaction();
            send(producer, topic, 0, "c");
            producer.flush();
            producer.abortTransaction();
            eventually("the abort", () -> description(id).state() == TransactionState.COMPLETE_ABORT);
            equal(transactionVersion() == 2 ? 2 : 0, description(id).producerEpoch());
        }
        try (KafkaProducer<String, String> again = initialized(id)) {
            equal(transactionVersion() == 2 ? 3 : 1, description(id).producerEpoch());
            equal(60_000L, description(id).transactionTimeoutMs());
        }
    }

    static Map<String, TransactionListing> listings(ListTransactionsOptions options) throws Exception {
        return admin.listTransactions(options).all().get().stream().collect(Collectors.toMap(TransactionListing::transactionalId, listing -> listing));
    }

    static void listed() throws Exception {
        String topic = freshTopic(1), idle = freshName() + ".idle", busy = freshName() + ".busy";
        try (KafkaProducer<String, String> first = initialized(idle); KafkaProducer<String, String> second = initialized(busy)) {
            second.beginTransaction();
            send(second, topic, 0, "a");
            second.flush();
            Map<String, TransactionListing> all = listings(new ListTransactionsOptions());
            equal(TransactionState.EMPTY, all.get(idle).state());
            equal(TransactionState.ONGOING, all.get(busy).state());
            long producerId = all.get(busy).producerId();
            equal(description(busy).producerId(), producerId);
            Map<String, TransactionListing> ongoing = listings(new ListTransactionsOptions().filterStates(List.of(TransactionState.ONGOING)));
            require(ongoing.containsKey(busy) && !ongoing.containsKey(idle), ongoing.keySet());
            Map<String, TransactionListing> unknown = listings(new ListTransactionsOptions().filterStates(List.of(TransactionState.UNKNOWN)));
            equal(Map.of(), unknown);
            equal(Set.of(busy), listings(new ListTransactionsOptions().filterProducerIds(List.of(producerId))).keySet());
            equal(Set.of(), listings(new ListTransactionsOptions().filterStates(List.of(TransactionState.EMPTY)).filterProducerIds(List.of(producerId))).keySet());
            equal(Set.of(busy), listings(new ListTransactionsOptions().filterOnTransactionalIdPattern(busy.substring(0, 20) + ".*[.]busy")).keySet());
            equal(Set.of(), listings(new ListTransactionsOptions().filterOnTransactionalIdPattern(busy.substring(0, 20))).keySet());
            refused(InvalidRegularExpression.class, () -> listings(new ListTransactionsOptions().filterOnTransactionalIdPattern("[")));
            require(!listings(new ListTransactionsOptions().filterOnDuration(3_600_000)).containsKey(busy), "not yet an hour long");
            eventually("a transaction longer than 50 ms", () -> listings(new ListTransactionsOptions().filterOnDuration(50)).containsKey(busy));
            // One that never began counts from the start of time.
            require(listings(new ListTransactionsOptions().filterOnDuration(3_600_000)).containsKey(idle), "without a start");
            second.commitTransaction();
            eventually("the commit", () -> listings(new ListTransactionsOptions()).get(busy).state() == TransactionState.COMPLETE_COMMIT);
        }
    }

    static void producers() throws Exception {
        String topic = freshTopic(1), id = freshName();
        TopicPartition partition = new TopicPartition(topic, 0);
        produce(topic, 0, 0, 2);
        equal(OptionalLong.empty(), onlyProducer(partition).currentTransactionStartOffset());
        equal(1, onlyProducer(partition).lastSequence());
        try (KafkaProducer<String, String> producer = initialized(id)) {
            producer.beginTransaction();
            send(producer, topic, 0, "a", "b", "c");
            producer.flush();
            ProducerState state = admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers().stream()
                .filter(one -> one.currentTransactionStartOffset().isPresent()).findFirst().get();
            equal(description(id).producerId(), state.producerId());
            equal(description(id).producerEpoch(), state.producerEpoch());
            equal(2L, state.currentTransactionStartOffset().getAsLong());
            equal(2, state.lastSequence());
            equal(OptionalInt.empty(), state.coordinatorEpoch());
            producer.commitTransaction();
            eventually("the marker", () -> endOffset(partition, IsolationLevel.READ_COMMITTED) == 6);
            ProducerState after = admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers().stream()
                .filter(one -> one.producerId() == state.producerId()).findFirst().get();
            equal(OptionalLong.empty(), after.currentTransactionStartOffset());
            equal(0, after.coordinatorEpoch().getAsInt());
            // The marker of the second generation carries the next epoch, in which nothing has been written.
            equal(transactionVersion() == 2 ? 1 : 0, after.producerEpoch());
            equal(transactionVersion() == 2 ? -1 : 2, after.lastSequence());
        }
    }

    static void fenced() throws Exception {
        String topic = freshTopic(1), id = freshName(), idle = freshName(), unknown = freshName();
        try (KafkaProducer<String, String> producer = initialized(id); KafkaProducer<String, String> quiet = initialized(idle)) {
            producer.beginTransaction();
            send(producer, topic, 0, "a");
            producer.flush();
            FenceProducersResult result = admin.fenceProducers(List.of(id, idle, unknown));
            result.all().get();
            equal(description(id).producerId(), result.producerId(id).get());
            equal((short) description(id).producerEpoch(), result.epochId(id).get());
            equal(description(idle).producerId(), result.producerId(idle).get());
            equal(description(unknown).producerId(), result.producerId(unknown).get());
            eventually("the abort", () -> endOffset(new TopicPartition(topic, 0), IsolationLevel.READ_COMMITTED) == 2);
            equal(ProducerFencedException.class, thrown(producer::commitTransaction));
            quiet.beginTransaction();
            // With the first generation the coordinator is asked before the record is sent, with the second the leader finds it out.
            Class<?> refusal = thrown(() -> quiet.send(new ProducerRecord<>(topic, 0, null, "b")).get());
            equal(transactionVersion() == 2 ? InvalidProducerEpochException.class : ProducerFencedException.class, refusal);
        }
        equal(List.of(List.of()), committed(topic));
    }

    static void terminated() throws Exception {
        String topic = freshTopic(1), id = freshName();
        try (KafkaProducer<String, String> producer = initialized(id)) {
            producer.beginTransaction();
            send(producer, topic, 0, "a");
            producer.flush();
            admin.forceTerminateTransaction(id).result().get();
            eventually("the abort", () -> endOffset(new TopicPartition(topic, 0), IsolationLevel.READ_COMMITTED) == 2);
            equal(ProducerFencedException.class, thrown(producer::commitTransaction));
        }
        try (KafkaProducer<String, String> producer = initialized(id)) {
            producer.beginTransaction();
            send(producer, topic, 0, "b");
            producer.commitTransaction();
        }
        equal(List.of(List.of("b")), committed(topic));
    }

    /** Admin.abortTransaction writes a marker to one partition, past the coordinator: for transactions that hang. */
    static void aborted(int level) throws Exception {
        String topic = freshTopic(2), id = freshName();
        TopicPartition hanging = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> producer = initialized(id)) {
            producer.beginTransaction();
            send(producer, topic, 0, "a");
            send(producer, topic, 1, "b");
            producer.flush();
            ProducerState state = onlyProducer(hanging);
            long producerId = state.producerId();
            short epoch = (short) state.producerEpoch();
            if (epoch > 0) refused(InvalidProducerEpochException.class, () -> admin.abortTransaction(new AbortTransactionSpec(hanging, producerId, (short) (epoch - 1), 0)).all().get());
            admin.abortTransaction(new AbortTransactionSpec(hanging, producerId, epoch, 0)).all().get();
            equal(2L, endOffset(hanging, IsolationLevel.READ_COMMITTED));
            equal(0L, endOffset(new TopicPartition(topic, 1), IsolationLevel.READ_COMMITTED));
            equal(OptionalLong.empty(), onlyProducer(hanging).currentTransactionStartOffset());
            equal(TransactionState.ONGOING, description(id).state()); // the coordinator knows nothing of it
            producer.abortTransaction();
            eventually("the markers", () -> endOffset(new TopicPartition(topic, 1), IsolationLevel.READ_COMMITTED) == 2);
        }
        equal(List.of(List.of(), List.of()), committed(topic));
        equal(List.of(List.of("a"), List.of("b")), everything(topic));
    }

    static void upgrade(String feature, int level) throws Exception {
        admin.updateFeatures(Map.of(feature, new FeatureUpdate((short) level, FeatureUpdate.UpgradeType.UPGRADE)), new UpdateFeaturesOptions()).all().get();
    }

    static void features() throws Exception {
        finalizeTransactionVersion(2);
        FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
        SupportedVersionRange supported = features.supportedFeatures().get(FEATURE);
        // A version 0 as the lowest is not shown to clients that could not read it (KAFKA-17011).
        equal(2, (int) supported.maxVersion());
        equal(2, (int) features.finalizedFeatures().get(FEATURE).maxVersionLevel());
        long epoch = features.finalizedFeaturesEpoch().get();
        FeatureUpdate down = new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.SAFE_DOWNGRADE);
        admin.updateFeatures(Map.of(FEATURE, down), new UpdateFeaturesOptions().validateOnly(true)).all().get();
        equal((short) 2, transactionVersion());
        refused(InvalidUpdateVersionException.class, () -> upgrade(FEATURE, 3)); // not supported
        refused(InvalidUpdateVersionException.class, () -> upgrade(FEATURE, 1)); // lower, and not called a downgrade
        refused(InvalidUpdateVersionException.class, () -> upgrade("no.such", 1));
        equal((short) 2, transactionVersion());
        finalizeTransactionVersion(1);
        long lowered = admin.describeFeatures().featureMetadata().get().finalizedFeaturesEpoch().get();
        require(lowered > epoch, "the epoch of the features rises with every change: " + epoch + ", " + lowered);
        finalizeTransactionVersion(0);
        equal(null, admin.describeFeatures().featureMetadata().get().finalizedFeatures().get(FEATURE));
        finalizeTransactionVersion(2);
        require(admin.describeFeatures().featureMetadata().get().finalizedFeaturesEpoch().get() > lowered, "and rises on");
    }
}
