import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.quota.*;
import org.apache.kafka.common.resource.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.coordinator.transaction.generated.TransactionLogValue;

/**
 * One broker's side of an exchange of data directories. Usage: Interchange HOST:PORT COMMAND [ARGUMENT].
 *   fill ROUND   makes topics, records, groups, changes and deletions that bear the round's name
 *   dump         prints everything a client can see, the same for the same data: two dumps are compared with diff
 *   add WHAT     adds what Ottla must refuse: acl, scram, quota, feature, consumer-group, share-group
 *   drop WHAT    takes it away again
 *   leave ROUND  leaves two transactions to the next broker: one that nobody ends, and one that is prepared to be committed
 *   hold ROUND FILE   begins a transaction, waits for the file, and commits at the next broker
 *   settled ROUND     all three transactions end: the first is aborted by its time-out, the others are committed
 */
public class Interchange {
    static String bootstrap;
    static Admin admin;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        switch (arguments[1]) {
            case "fill" -> fill(arguments[2], arguments.length > 3 && arguments[3].equals("transactions"));
            case "dump" -> dump();
            case "add" -> add(arguments[2]);
            case "drop" -> drop(arguments[2]);
            case "leave" -> leave(arguments[2]);
            case "hold" -> hold(arguments[2], Path.of(arguments[3]));
            case "settled" -> settled(arguments[2]);
            default -> throw new IllegalArgumentException(arguments[1]);
        }
        Runtime.getRuntime().halt(0);
    }

    static byte[] bytes(String text) { return text == null ? null : text.getBytes(StandardCharsets.UTF_8); }

    static void create(String name, int partitions, Map<String, String> configs) throws Exception {
        NewTopic topic = new NewTopic(name, partitions, (short) 1).configs(configs);
        admin.createTopics(List.of(topic)).all().get(60, TimeUnit.SECONDS);
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "linger.ms", 5, "batch.size", 4000));
        all.putAll(settings);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Records with and without key, value and headers, with times that go forward and back. */
    static void produce(KafkaProducer<byte[], byte[]> producer, String topic, int partition, int count, int size, String round) {
        Random random = new Random(topic.hashCode() * 31L + round.hashCode());
        for (int number = 0; number < count; number++) {
            byte[] value = new byte[size];
            for (int at = 0; at < size; at++) value[at] = (byte) ('a' + random.nextInt(3));
            String key = number % 5 == 0 ? null : "key-" + number % 17;
            // Recent: retention must not delete a record in the middle of the comparison.
            long timestamp = System.currentTimeMillis() - 60_000 + (number % 7) * 1000L;
            boolean tombstone = number % 11 == 0;
            ProducerRecord<byte[], byte[]> record =
                new ProducerRecord<>(topic, partition, timestamp, bytes(key), tombstone ? null : value);
            if (number % 3 == 0) record.headers().add("round", bytes(round)).add("empty", null).add("round", bytes("again"));
            producer.send(record, (metadata, error) -> { if (error != null) { error.printStackTrace(); Runtime.getRuntime().halt(1); } });
        }
        producer.flush();
    }

    static void fill(String round, boolean transactions) throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = "codec-" + codec;
            if (!admin.listTopics().names().get().contains(topic)) create(topic, 2, Map.of("retention.ms", "86400000"));
            // Idempotent: the sequence numbers go into the batches, the snapshots and the log of producer ids.
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", codec))) {
                produce(producer, topic, 0, 100, 200, round);
                produce(producer, topic, 1, 30, 10, round);
            }
        }
        Map<String, Object> plain = Map.of("enable.idempotence", false, "acks", "1");
        String segments = "segments-" + round, appendTime = "append-time-" + round, compacted = "compacted-" + round;
        create(segments, 1, Map.of("segment.bytes", "1048576", "index.interval.bytes", "1000"));
        create(appendTime, 1, Map.of("message.timestamp.type", "LogAppendTime", "compression.type", "zstd"));
        create(compacted, 1, Map.of("cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.9", "min.compaction.lag.ms", "86400000"));
        create("deleted-" + round, 3, Map.of());
        create("grown-" + round, 1, Map.of("max.message.bytes", "2000000"));
        create("empty-" + round, 2, Map.of());
        try (KafkaProducer<byte[], byte[]> producer = producer(plain)) {
            produce(producer, segments, 0, 3500, 1000, round);
            produce(producer, appendTime, 0, 200, 300, round);
            produce(producer, "deleted-" + round, 1, 50, 10, round);
            produce(producer, "grown-" + round, 0, 20, 10, round);
            admin.createPartitions(Map.of("grown-" + round, NewPartitions.increaseTo(3))).all().get(60, TimeUnit.SECONDS);
            produce(producer, "grown-" + round, 2, 20, 10, round);
        }
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            // Keys only: a compacted topic takes no record without one.
            for (int number = 0; number < 300; number++) {
                producer.send(new ProducerRecord<>(compacted, bytes("key-" + number % 20), number % 13 == 0 ? null : bytes(round + number)));
            }
        }
        if (transactions) {
            create("transactional-" + round, 1, Map.of());
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("transactional.id", "id-" + round))) {
                producer.initTransactions();
                for (boolean commit : List.of(true, false, true)) {
                    producer.beginTransaction();
                    produce(producer, "transactional-" + round, 0, 10, 10, round + commit);
                    if (commit) producer.commitTransaction(); else producer.abortTransaction();
                }
            }
        }
        admin.deleteTopics(List.of("deleted-" + round)).all().get(60, TimeUnit.SECONDS);
        admin.deleteRecords(Map.of(new TopicPartition("codec-lz4", 0), RecordsToDelete.beforeOffset(40))).all().get(60, TimeUnit.SECONDS);
        alter(new ConfigResource(ConfigResource.Type.TOPIC, "codec-gzip"), "retention.bytes", "" + 1_000_000_000L);
        alter(new ConfigResource(ConfigResource.Type.BROKER, ""), "log.cleaner.delete.retention.ms", "" + (80_000_000 + round.hashCode() % 1000));
        alter(new ConfigResource(ConfigResource.Type.BROKER, "1"), "log.cleaner.threads", round.length() % 2 == 0 ? "1" : "2");
        group("group-" + round, segments, 1000 + round.length());
        group("group-of-all", appendTime, 100);
        group("gone-" + round, compacted, 10);
        admin.deleteConsumerGroups(List.of("gone-" + round)).all().get(60, TimeUnit.SECONDS);
        if (admin.listTopics().names().get().contains("grown-kafka1") && !round.equals("kafka1")) {
            produceTo("grown-kafka1", round);
        }
    }

    static void produceTo(String topic, String round) {
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) { produce(producer, topic, 1, 25, 40, round); }
    }

    static void alter(ConfigResource resource, String name, String value) throws Exception {
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get(60, TimeUnit.SECONDS);
    }

    /** A classic group that reads, commits in the middle with metadata, and leaves. */
    static void group(String group, String topic, int records) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "group.id", group, "group.protocol", "classic",
            "auto.offset.reset", "earliest", "enable.auto.commit", false, "max.poll.records", 500);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            int seen = 0;
            long deadline = System.nanoTime() + 60_000_000_000L;
            while (seen < records) {
                if (System.nanoTime() > deadline) throw new IllegalStateException(group + " saw " + seen + " of " + records);
                seen += consumer.poll(Duration.ofMillis(200)).count();
            }
            consumer.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(records, "by " + group)));
        }
    }

    static String text(byte[] bytes) { return bytes == null ? "null" : new String(bytes, StandardCharsets.ISO_8859_1); }

    static void dump() throws Exception {
        Set<String> names = new TreeSet<>(admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get());
        // Whoever starts first makes its internal topics; the groups in them are compared below.
        names.removeIf(name -> name.startsWith("__"));
        for (Map.Entry<String, TopicDescription> topic : new TreeMap<>(admin.describeTopics(names).allTopicNames().get()).entrySet()) {
            TopicDescription description = topic.getValue();
            System.out.println("topic " + topic.getKey() + " " + description.topicId() + " partitions " + description.partitions().size());
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic.getKey());
            configs(resource, ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG);
            for (int partition = 0; partition < description.partitions().size(); partition++) records(topic.getKey(), partition);
        }
        configs(new ConfigResource(ConfigResource.Type.BROKER, ""), ConfigEntry.ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG);
        configs(new ConfigResource(ConfigResource.Type.BROKER, "1"), ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG);
        Set<String> groups = new TreeSet<>();
        admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().forEach(group -> groups.add(group.groupId() + " " + group.type().orElse(null)));
        for (String group : groups) {
            System.out.println("group " + group);
            String id = group.split(" ")[0];
            Map<TopicPartition, OffsetAndMetadata> offsets = admin.listConsumerGroupOffsets(id).partitionsToOffsetAndMetadata().get();
            Map<String, OffsetAndMetadata> sorted = new TreeMap<>();
            offsets.forEach((partition, offset) -> sorted.put(partition.toString(), offset));
            sorted.forEach((partition, offset) -> System.out.println("  " + partition + " " + offset));
        }
    }

    static void configs(ConfigResource resource, ConfigEntry.ConfigSource source) throws Exception {
        Map<String, String> values = new TreeMap<>();
        for (ConfigEntry entry : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
            if (entry.source() == source) values.put(entry.name(), entry.value());
        }
        System.out.println("config of " + resource + " " + values);
    }

    static void records(String topic, int number) {
        TopicPartition partition = new TopicPartition(topic, number);
        for (String isolation : topic.startsWith("transactional") ? List.of("read_uncommitted", "read_committed") : List.of("read_uncommitted")) {
            Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", isolation,
                "auto.offset.reset", "none", "max.partition.fetch.bytes", 1_000_000);
            try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer.assign(List.of(partition));
                long first = consumer.beginningOffsets(List.of(partition)).get(partition);
                long end = consumer.endOffsets(List.of(partition)).get(partition);
                System.out.println("partition " + partition + " " + isolation + " from " + first + " to " + end);
                consumer.seek(partition, first);
                long deadline = System.nanoTime() + 60_000_000_000L;
                while (consumer.position(partition) < end) {
                    if (System.nanoTime() > deadline) throw new IllegalStateException(partition + " stands at " + consumer.position(partition));
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                        if (record.offset() >= end) continue;
                        StringBuilder headers = new StringBuilder();
                        for (Header header : record.headers()) headers.append(header.key()).append('=').append(text(header.value())).append(';');
                        System.out.println(record.offset() + " " + record.timestampType() + " " + record.timestamp() + " " + text(record.key())
                            + " " + (record.value() == null ? "null" : record.value().length + ":" + Arrays.hashCode(record.value())) + " " + headers);
                    }
                }
            }
        }
    }

    static final AclBinding ACL = new AclBinding(new ResourcePattern(ResourceType.TOPIC, "secret", PatternType.LITERAL),
        new AccessControlEntry("User:alice", "*", AclOperation.READ, AclPermissionType.ALLOW));
    static final ClientQuotaEntity QUOTA_OF = new ClientQuotaEntity(Map.of("client-id", "limited"));

    static void add(String what) throws Exception {
        switch (what) {
            case "acl" -> admin.createAcls(List.of(ACL)).all().get(60, TimeUnit.SECONDS);
            case "scram" -> admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion("alice",
                new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), "secret"))).all().get(60, TimeUnit.SECONDS);
            case "quota" -> quota(1000.0);
            case "consumer-group" -> consume("consumer", "modern");
            case "share-group" -> share();
            default -> throw new IllegalArgumentException(what);
        }
    }

    static void drop(String what) throws Exception {
        switch (what) {
            case "acl" -> admin.deleteAcls(List.of(ACL.toFilter())).all().get(60, TimeUnit.SECONDS);
            case "scram" -> admin.alterUserScramCredentials(List.of(new UserScramCredentialDeletion("alice", ScramMechanism.SCRAM_SHA_256))).all().get(60, TimeUnit.SECONDS);
            case "quota" -> quota(null);
            case "consumer-group" -> admin.deleteConsumerGroups(List.of("modern")).all().get(60, TimeUnit.SECONDS);
            case "share-group" -> admin.deleteShareGroups(List.of("shared")).all().get(60, TimeUnit.SECONDS);
            default -> throw new IllegalArgumentException(what);
        }
    }

    static void quota(Double limit) throws Exception {
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(QUOTA_OF, List.of(new ClientQuotaAlteration.Op("consumer_byte_rate", limit))))).all().get(60, TimeUnit.SECONDS);
    }

    static void consume(String protocol, String group) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "group.id", group, "group.protocol", protocol, "auto.offset.reset", "earliest");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of("codec-none"));
            long deadline = System.nanoTime() + 60_000_000_000L;
            while (consumer.poll(Duration.ofMillis(200)).isEmpty()) {
                if (System.nanoTime() > deadline) throw new IllegalStateException(group + " saw nothing");
            }
            consumer.commitSync();
        }
    }

    static void share() throws Exception {
        alter(new ConfigResource(ConfigResource.Type.GROUP, "shared"), "share.auto.offset.reset", "earliest");
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "group.id", "shared");
        try (KafkaShareConsumer<byte[], byte[]> consumer = new KafkaShareConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of("codec-none"));
            long deadline = System.nanoTime() + 60_000_000_000L;
            while (consumer.poll(Duration.ofMillis(200)).isEmpty()) {
                if (System.nanoTime() > deadline) throw new IllegalStateException("the share group saw nothing");
            }
        }
    }

    /** Records and an offset in a transaction that is left open; its group is named after the transactional id. */
    @SuppressWarnings("removal") // The group is not a member's: its name is all there is.
    static KafkaProducer<byte[], byte[]> open(String id, String topic, int timeout) throws Exception {
        KafkaProducer<byte[], byte[]> producer = producer(Map.of("transactional.id", id, "transaction.timeout.ms", timeout, "delivery.timeout.ms", 120_000, "max.block.ms", 120_000));
        producer.initTransactions();
        producer.beginTransaction();
        for (int number = 0; number < 10; number++) producer.send(new ProducerRecord<>(topic, 0, bytes(id), bytes("value-" + number)));
        producer.flush();
        producer.sendOffsetsToTransaction(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(7, "by " + id)), new ConsumerGroupMetadata("group-of-" + id));
        return producer;
    }

    static String topicOf(String round) { return "transactional-carried-" + round; }

    static void leave(String round) throws Exception {
        if (!admin.listTopics().names().get().contains(topicOf(round))) create(topicOf(round), 1, Map.of());
        open("prepared-" + round, topicOf(round), 900_000);
        // Nobody ends this one; its time goes on while no broker runs.
        open("abandoned-" + round, topicOf(round), 4_000);
        prepare("prepared-" + round);
    }

    /** What a coordinator writes down before it writes the markers; this one never does, and the next one must. */
    static void prepare(String id) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest");
        ConsumerRecord<byte[], byte[]> last = null;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor("__transaction_state").stream().map(info -> new TopicPartition(info.topic(), info.partition())).toList();
            consumer.assign(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            consumer.seekToBeginning(partitions);
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    if (text(record.key()).contains(id) && record.value() != null) last = record;
                }
            }
        }
        ByteBuffer buffer = ByteBuffer.wrap(last.value());
        short version = buffer.getShort();
        TransactionLogValue value = new TransactionLogValue(new ByteBufferAccessor(buffer), version);
        if (value.transactionStatus() != 1) throw new IllegalStateException(id + " is " + value);
        // PrepareCommit; the markers of the second generation of transactions carry the next epoch.
        value.setTransactionStatus((byte) 2);
        if (value.clientTransactionVersion() >= 2) value.setPreviousProducerId(value.producerId()).setProducerEpoch((short) (value.producerEpoch() + 1));
        byte[] prepared = MessageUtil.toVersionPrefixedBytes(version, value);
        // A client of this name may write to the topics of coordinators.
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("client.id", "__admin_client", "enable.idempotence", false))) {
            producer.send(new ProducerRecord<>(last.topic(), last.partition(), last.key(), prepared)).get(60, TimeUnit.SECONDS);
        }
    }

    static void hold(String round, Path go) throws Exception {
        if (!admin.listTopics().names().get().contains(topicOf(round))) create(topicOf(round), 1, Map.of());
        KafkaProducer<byte[], byte[]> producer = open("held-" + round, topicOf(round), 900_000);
        System.out.println("OPEN");
        while (!Files.exists(go)) Thread.sleep(50);
        producer.commitTransaction();
        // And the next one, from the identity that the new broker gave.
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topicOf(round), 0, bytes("held-" + round), bytes("after"))).get(60, TimeUnit.SECONDS);
        producer.commitTransaction();
        System.out.println("COMMITTED");
    }

    static void settled(String round) throws Exception {
        TopicPartition partition = new TopicPartition(topicOf(round), 0);
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed", "auto.offset.reset", "none");
        long deadline = System.nanoTime() + 60_000_000_000L;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            while (consumer.endOffsets(List.of(partition)).get(partition) < latest(partition)) {
                if (System.nanoTime() > deadline) throw new IllegalStateException("a transaction is still open: " + describe(round));
                Thread.sleep(100);
            }
            Map<String, Integer> seen = new TreeMap<>();
            consumer.seek(partition, 0);
            while (consumer.position(partition) < latest(partition)) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) seen.merge(text(record.key()), 1, Integer::sum);
                if (System.nanoTime() > deadline) throw new IllegalStateException("stands at " + consumer.position(partition));
            }
            same("records", Map.of("held-" + round, 11, "prepared-" + round, 10), seen);
        }
        for (String id : List.of("held-", "prepared-", "abandoned-")) {
            Map<TopicPartition, OffsetAndMetadata> offsets = admin.listConsumerGroupOffsets("group-of-" + id + round, new ListConsumerGroupOffsetsOptions().requireStable(true)).partitionsToOffsetAndMetadata().get();
            offsets.values().removeIf(Objects::isNull);
            same("offsets of " + id, id.equals("abandoned-") ? Map.of() : Map.of(partition, new OffsetAndMetadata(7, "by " + id + round)), offsets);
        }
        // The next producer of each id goes on.
        for (String id : List.of("held-", "prepared-", "abandoned-")) {
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("transactional.id", id + round))) {
                producer.initTransactions();
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(topicOf(round), 0, bytes("next-" + id + round), bytes("next")));
                producer.commitTransaction();
            }
        }
        System.out.println(describe(round));
    }

    static long latest(TopicPartition partition) throws Exception {
        return admin.listOffsets(Map.of(partition, OffsetSpec.latest())).partitionResult(partition).get().offset();
    }

    static String describe(String round) throws Exception {
        return admin.describeTransactions(List.of("held-" + round, "prepared-" + round, "abandoned-" + round)).all().get().values().stream().map(transaction -> transaction.state().toString()).sorted().toList().toString();
    }

    static void same(String what, Object expected, Object found) {
        if (!expected.equals(found)) throw new IllegalStateException(what + ": " + found + " instead of " + expected);
    }
}
