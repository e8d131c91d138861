import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/** The official Java clients against a broker: each check produces, reads back and compares. Usage: JavaClients HOST:PORT. */
public class JavaClients extends Checks {
    public static void main(String[] arguments) throws Exception {
        connect(arguments);
        Map<String, Check> checks = new LinkedHashMap<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            checks.put("round trip, idempotent, " + codec, () -> roundTrip(Map.of("compression.type", codec)));
        }
        for (String acks : List.of("0", "1")) {
            checks.put("round trip, acks " + acks, () -> roundTrip(Map.of("acks", acks, "enable.idempotence", "false")));
        }
        checks.put("default producer at once on a topic created by itself", JavaClients::automaticCreation);
        checks.put("seek, by time, end, beyond the log", JavaClients::positions);
        checks.put("a group goes on after a commit", JavaClients::groupGoesOn);
        checks.put("a static member keeps its partitions", JavaClients::staticMember);
        checks.put("a cooperative rebalance loses and doubles nothing", JavaClients::cooperativeRebalance);
        checks.put("topics, partitions, configurations", JavaClients::topics);
        checks.put("records, groups, offsets, cluster, log directories", JavaClients::groupsAndRecords);
        checks.put("an oversized batch and a bad name are refused", JavaClients::refusals);
        run(checks);
    }

    static void roundTrip(Map<String, ?> settings) throws Exception {
        String topic = freshTopic(3);
        List<Future<RecordMetadata>> sends = new ArrayList<>();
        boolean acknowledged = !"0".equals(settings.get("acks"));
        try (KafkaProducer<byte[], byte[]> producer = producer(settings)) {
            for (int i = 0; i < 3000; i++) {
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, i % 3, 1_700_000_000_000L + i,
                    i % 5 == 0 ? null : bytes("k" + i), i % 7 == 0 ? null : bytes("v".repeat(i % 100) + i));
                record.headers().add(new RecordHeader("h", bytes("1"))).add(new RecordHeader("h", bytes("2"))).add(new RecordHeader("n", null));
                sends.add(producer.send(record));
            }
        }
        for (int i = 0; i < 3000 && acknowledged; i++) equal((long) i / 3, sends.get(i).get().offset());
        try (KafkaConsumer<String, String> consumer = consumer(null, Map.of())) {
            List<TopicPartition> partitions = List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1), new TopicPartition(topic, 2));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            for (ConsumerRecord<String, String> record : poll(consumer, 3000)) {
                int i = (int) record.offset() * 3 + record.partition();
                equal(i % 5 == 0 ? null : "k" + i, record.key());
                equal(i % 7 == 0 ? null : "v".repeat(i % 100) + i, record.value());
                equal(1_700_000_000_000L + i, record.timestamp());
                equal(3, record.headers().toArray().length);
                equal("2", new String(record.headers().toArray()[1].value(), StandardCharsets.UTF_8));
                equal(null, record.headers().toArray()[2].value());
            }
        }
    }

    static void automaticCreation() throws Exception {
        String topic = freshName();
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int i = 0; i < 100; i++) producer.send(new ProducerRecord<>(topic, bytes("v" + i)));
            producer.flush();
        }
        try (KafkaConsumer<String, String> consumer = consumer(freshName(), Map.of())) {
            consumer.subscribe(List.of(topic));
            equal("v99", poll(consumer, 100).get(99).value());
        }
    }

    static void positions() throws Exception {
        String topic = freshTopic(1);
        produce(topic, 0, 0, 1000);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> consumer = consumer(null, Map.of("auto.offset.reset", "none", "max.poll.records", "10"))) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 990);
            equal("v990", poll(consumer, 10).get(0).value());
            OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, 1_700_000_000_500L)).get(partition);
            equal(500L, found.offset());
            equal(1_700_000_000_500L, found.timestamp());
            equal(null, consumer.offsetsForTimes(Map.of(partition, 1_800_000_000_000L)).get(partition));
            equal(1000L, consumer.endOffsets(List.of(partition)).get(partition));
            equal(0L, consumer.beginningOffsets(List.of(partition)).get(partition));
            consumer.seek(partition, 5000);
            try {
                for (int i = 0; i < 50; i++) consumer.poll(Duration.ofMillis(100));
                throw new AssertionError("an offset beyond the log was not refused");
            } catch (org.apache.kafka.clients.consumer.OffsetOutOfRangeException expected) {
                equal(Set.of(partition), expected.partitions());
            }
            consumer.pause(List.of(partition));
            consumer.seek(partition, 0);
            equal(0, consumer.poll(Duration.ofMillis(300)).count());
            consumer.resume(List.of(partition));
            equal("v0", poll(consumer, 10).get(0).value());
        }
    }

    static void groupGoesOn() throws Exception {
        String topic = freshTopic(2), group = freshName();
        produce(topic, 0, 0, 50);
        produce(topic, 1, 0, 50);
        try (KafkaConsumer<String, String> consumer = consumer(group, Map.of())) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 100);
            consumer.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(50, "note"), new TopicPartition(topic, 1), new OffsetAndMetadata(40)));
        }
        try (KafkaConsumer<String, String> consumer = consumer(group, Map.of())) {
            consumer.subscribe(List.of(topic));
            equal("v40", poll(consumer, 10).get(0).value());
            Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(Set.of(new TopicPartition(topic, 0)));
            equal("note", committed.get(new TopicPartition(topic, 0)).metadata());
        }
    }

    static void staticMember() throws Exception {
        String topic = freshTopic(4), group = freshName();
        produce(topic, 0, 0, 10);
        Set<TopicPartition> before;
        String generation;
        try (KafkaConsumer<String, String> consumer = consumer(group, Map.of("group.instance.id", "instance-1"))) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 10);
            before = consumer.assignment();
            generation = String.valueOf(consumer.groupMetadata().generationId());
        }
        try (KafkaConsumer<String, String> consumer = consumer(group, Map.of("group.instance.id", "instance-1"))) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 10);
            equal(before, consumer.assignment());
            equal(generation, String.valueOf(consumer.groupMetadata().generationId()));
            MemberDescription member = admin.describeConsumerGroups(List.of(group)).all().get().get(group).members().iterator().next();
            equal(Optional.of("instance-1"), member.groupInstanceId());
        }
        admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("instance-1")))).all().get();
        equal(0, admin.describeConsumerGroups(List.of(group)).all().get().get(group).members().size());
    }

    static void cooperativeRebalance() throws Exception {
        String topic = freshTopic(6), group = freshName();
        Map<String, String> settings = Map.of("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        ConcurrentHashMap<String, Integer> seen = new ConcurrentHashMap<>();
        int total = 6 * 500;
        ExecutorService members = Executors.newCachedThreadPool();
        List<Future<?>> running = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            running.add(members.submit(() -> {
                try (KafkaConsumer<String, String> consumer = consumer(group, settings)) {
                    consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                        public void onPartitionsRevoked(Collection<TopicPartition> partitions) { consumer.commitSync(); }
                        public void onPartitionsAssigned(Collection<TopicPartition> partitions) { }
                    });
                    long deadline = System.nanoTime() + 60_000_000_000L;
                    while (seen.size() < total && System.nanoTime() < deadline) {
                        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                            seen.merge(record.partition() + "/" + record.offset(), 1, Integer::sum);
                        }
                    }
                    consumer.commitSync();
                }
            }));
            for (int partition = 0; partition < 6; partition++) produce(topic, partition, i * 150, i == 2 ? 500 : (i + 1) * 150);
        }
        for (Future<?> member : running) member.get(90, TimeUnit.SECONDS);
        members.shutdown();
        equal(total, seen.size());
        equal(0L, seen.values().stream().filter(count -> count > 1).count());
    }

    static void topics() throws Exception {
        String topic = freshName();
        NewTopic request = new NewTopic(topic, Optional.of(2), Optional.empty()).configs(Map.of("retention.ms", "3600000"));
        CreateTopicsResult created = admin.createTopics(List.of(request));
        equal(2, created.numPartitions(topic).get());
        Uuid id = created.topicId(topic).get();
        require(created.config(topic).get().get("retention.ms").value().equals("3600000"), "configuration in the answer");
        equal(id, admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id).topicId());
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all().get();
        equal(4, admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(
            new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND),
            new AlterConfigOp(new ConfigEntry("retention.ms", null), AlterConfigOp.OpType.DELETE)))).all().get();
        Config config = admin.describeConfigs(List.of(resource), new DescribeConfigsOptions().includeSynonyms(true)).all().get().get(resource);
        equal("delete,compact", config.get("cleanup.policy").value());
        equal(ConfigEntry.ConfigSource.DEFAULT_CONFIG, config.get("retention.ms").source());
        equal(2, config.get("cleanup.policy").synonyms().size());
        refused(InvalidConfigurationException.class, () -> admin.incrementalAlterConfigs(Map.of(resource, List.of(
            new AlterConfigOp(new ConfigEntry("retention.ms", "x"), AlterConfigOp.OpType.SET)))).all().get());
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
        require(admin.describeConfigs(List.of(broker)).all().get().get(broker).get("num.partitions") != null, "broker configuration");
        admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        refused(UnknownTopicOrPartitionException.class, () -> admin.describeTopics(List.of(topic)).allTopicNames().get());
        refused(InvalidReplicationFactorException.class, () -> admin.createTopics(List.of(new NewTopic(freshName(), 1, (short) 9))).all().get());
    }

    static void groupsAndRecords() throws Exception {
        String topic = freshTopic(1), group = freshName();
        produce(topic, 0, 0, 10);
        TopicPartition partition = new TopicPartition(topic, 0);
        equal(4L, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(4))).lowWatermarks().get(partition).get().lowWatermark());
        equal(4L, admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).all().get().get(partition).offset());
        equal(10L, admin.listOffsets(Map.of(partition, OffsetSpec.latest())).all().get().get(partition).offset());
        equal(9L, admin.listOffsets(Map.of(partition, OffsetSpec.maxTimestamp())).all().get().get(partition).offset());
        admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(7))).all().get();
        equal(7L, admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition).offset());
        require(admin.listGroups().all().get().stream().anyMatch(listing -> listing.groupId().equals(group)), "the group is listed");
        admin.deleteConsumerGroupOffsets(group, Set.of(partition)).all().get();
        admin.deleteConsumerGroups(List.of(group)).all().whenComplete((done, error) -> { }).get();
        require(admin.listGroups().all().get().stream().noneMatch(listing -> listing.groupId().equals(group)), "the group is gone");
        equal(1, admin.describeCluster().nodes().get().size());
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        require(admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node).values().stream()
            .anyMatch(directory -> directory.replicaInfos().containsKey(partition)), "the partition's log directory");
        DescribeProducersResult.PartitionProducerState producers = admin.describeProducers(List.of(partition)).partitionResult(partition).get();
        equal(1, producers.activeProducers().size());
        admin.listPartitionReassignments().reassignments().get();
        admin.describeFeatures().featureMetadata().get();
    }

    static void refusals() throws Exception {
        String topic = freshTopic(1);
        refused(RecordTooLargeException.class, () -> {
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("max.request.size", "4000000", "batch.size", "1"))) {
                producer.send(new ProducerRecord<>(topic, new byte[2_000_000])).get(30, TimeUnit.SECONDS);
            }
        });
        refused(InvalidTopicException.class, () -> admin.createTopics(List.of(new NewTopic("a b", 1, (short) 1))).all().get());
        refused(TopicExistsException.class, () -> admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get());
        refused(InvalidTopicException.class, () -> {
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
                producer.send(new ProducerRecord<>("bad name!", bytes("x"))).get(30, TimeUnit.SECONDS);
            }
        });
    }
}
