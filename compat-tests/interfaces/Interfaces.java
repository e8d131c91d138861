import java.time.Duration;
import java.util.*;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.serialization.*;

/**
 * What the user interfaces ask of a broker: kafbat's and AKHQ's AdminClient calls, and those that Redpanda Console decides its
 * pages by, each with an answer that is known to be true because this program made it so. What a broker does not have must be
 * refused in the way that the interfaces take for "not there", and nothing else.
 */
public class Interfaces {
    private static final String TOPIC = "interfaces", GROUP = "interfaces-group";
    private static int passed, failed;
    private static Admin admin;

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", arguments[0], "request.timeout.ms", 20000);
        try (Admin created = Admin.create(config)) {
            admin = created;
            prepare(config);
            cluster();
            topics();
            records(config);
            groups();
            brokers();
            pages();
            changes();
        }
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    private static void check(String name, Callable<Object> call, Object expected) {
        Object answer;
        try {
            answer = call.call();
        } catch (ExecutionException error) {
            answer = error.getCause().getClass().getSimpleName();
        } catch (Exception error) {
            answer = error.toString();
        }
        boolean same = Objects.equals(String.valueOf(answer), String.valueOf(expected));
        if (same) passed++; else failed++;
        if (!same) System.out.println("FAIL " + name + "\n    expected " + expected + "\n    answered " + answer);
    }

    /** Right, or refused as an interface expects of a broker that does not have it. */
    private static void checkOrMissing(String name, Callable<Object> call) {
        check(name, () -> {
            try {
                call.call();
                return "answered or missing";
            } catch (ExecutionException error) {
                boolean missing = error.getCause() instanceof UnsupportedVersionException || error.getCause() instanceof SecurityDisabledException;
                return missing ? "answered or missing" : error.getCause().toString();
            }
        }, "answered or missing");
    }

    private static void prepare(Map<String, Object> config) throws Exception {
        NewTopic topic = new NewTopic(TOPIC, 3, (short) 1).configs(Map.of("retention.ms", "7200000", "cleanup.policy", "delete"));
        admin.createTopics(List.of(topic)).all().get();
        Map<String, Object> producing = new HashMap<>(config);
        producing.put("linger.ms", 0);
        try (Producer<String, String> producer = new KafkaProducer<>(producing, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < 30; i++) producer.send(new ProducerRecord<>(TOPIC, i % 3, "k" + i, "v" + i)).get();
        }
        Map<String, Object> consuming = new HashMap<>(config);
        consuming.putAll(Map.of("group.id", GROUP, "auto.offset.reset", "earliest", "enable.auto.commit", false));
        try (Consumer<String, String> consumer = new KafkaConsumer<>(consuming, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(TOPIC));
            for (int seen = 0; seen < 30; ) seen += consumer.poll(Duration.ofSeconds(1)).count();
            consumer.commitSync(Map.of(partition(0), new OffsetAndMetadata(4), partition(1), new OffsetAndMetadata(10)));
        }
    }

    private static TopicPartition partition(int number) { return new TopicPartition(TOPIC, number); }

    private static ConfigResource resource(ConfigResource.Type type, String name) { return new ConfigResource(type, name); }

    private static Config describe(ConfigResource resource) throws Exception {
        DescribeConfigsOptions options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        return admin.describeConfigs(List.of(resource), options).all().get().get(resource);
    }

    private static void cluster() {
        DescribeClusterOptions options = new DescribeClusterOptions().includeAuthorizedOperations(true);
        check("one node", () -> admin.describeCluster(options).nodes().get().size(), 1);
        check("a controller that is a node", () -> admin.describeCluster(options).controller().get().id() == node().id(), true);
        check("a cluster id", () -> admin.describeCluster(options).clusterId().get().length(), 22);
        // kafbat reads the version from here, where it is no longer a configuration.
        check("a finalized metadata.version", () -> admin.describeFeatures().featureMetadata().get().finalizedFeatures().get("metadata.version").maxVersionLevel() >= 25, true);
        check("topics can be deleted", () -> describe(resource(ConfigResource.Type.BROKER, "" + node().id())).get("delete.topic.enable").value(), "true");
        checkOrMissing("access control lists", () -> admin.describeAcls(AclBindingFilter.ANY).values().get());
        checkOrMissing("the quorum", () -> admin.describeMetadataQuorum().quorumInfo().get());
    }

    private static Node node() throws Exception { return admin.describeCluster().nodes().get().iterator().next(); }

    private static void topics() {
        check("the topic is listed", () -> admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get().containsAll(Set.of(TOPIC, "__consumer_offsets")), true);
        check("internal topics are called so", () -> admin.listTopics(new ListTopicsOptions().listInternal(true)).namesToListings().get().get("__consumer_offsets").isInternal(), true);
        check("internal topics can be left out", () -> admin.listTopics().names().get().contains("__consumer_offsets"), false);
        check("partitions, leaders, replicas", () -> admin.describeTopics(List.of(TOPIC), new DescribeTopicsOptions().includeAuthorizedOperations(true)).allTopicNames().get().get(TOPIC)
            .partitions().stream().map(p -> p.partition() + ":" + (p.leader().id() == node1(p)) + ":" + p.replicas().size() + ":" + p.isr().size()).collect(Collectors.joining(" ")), "0:true:1:1 1:true:1:1 2:true:1:1");
        check("a topic that is not there", () -> admin.describeTopics(List.of("nothing")).allTopicNames().get(), "UnknownTopicOrPartitionException");
        ConfigResource topic = resource(ConfigResource.Type.TOPIC, TOPIC);
        check("all topic configurations", () -> describe(topic).entries().size() >= 33, true);
        check("a value with its source", () -> text(describe(topic).get("retention.ms")), "7200000 DYNAMIC_TOPIC_CONFIG LONG");
        check("a default with its source", () -> text(describe(topic).get("segment.bytes")), "1073741824 DEFAULT_CONFIG INT");
        check("every row says what it does", () -> describe(topic).entries().stream().allMatch(e -> e.documentation() != null && !e.documentation().isEmpty()), true);
        check("synonyms", () -> describe(topic).get("retention.ms").synonyms().get(0).name(), "retention.ms");
    }

    private static int node1(TopicPartitionInfo partition) { return partition.replicas().get(0).id(); }

    private static String text(ConfigEntry entry) { return entry.value() + " " + entry.source() + " " + entry.type(); }

    private static void records(Map<String, Object> config) {
        check("first offsets", () -> offsets(OffsetSpec.earliest()), "0 0 0");
        check("last offsets", () -> offsets(OffsetSpec.latest()), "10 10 10");
        check("by time, after everything", () -> offsets(OffsetSpec.forTimestamp(System.currentTimeMillis() + 3_600_000)), "-1 -1 -1");
        check("the newest record", () -> offsets(OffsetSpec.maxTimestamp()).split(" ").length, 3);
        check("sizes on the disk", () -> {
            Map<String, LogDirDescription> directories = admin.describeLogDirs(List.of(node().id())).allDescriptions().get().get(node().id());
            return directories.values().stream().flatMap(d -> d.replicaInfos().entrySet().stream()).filter(e -> e.getKey().topic().equals(TOPIC)).allMatch(e -> e.getValue().size() > 0);
        }, true);
        check("room on the disk", () -> admin.describeLogDirs(List.of(node().id())).allDescriptions().get().get(node().id()).values().iterator().next().totalBytes().orElse(0) > 0, true);
        check("a page of records", () -> {
            Map<String, Object> reading = new HashMap<>(config);
            reading.putAll(Map.of("enable.auto.commit", false, "max.poll.records", 4));
            try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(reading, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer.assign(List.of(partition(1)));
                consumer.seek(partition(1), 6);
                StringBuilder seen = new StringBuilder();
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(5))) seen.append(new String(record.value())).append(' ');
                return seen.toString().trim();
            }
        }, "v19 v22 v25 v28");
        check("who produces", () -> admin.describeProducers(List.of(partition(0))).partitionResult(partition(0)).get().activeProducers().size(), 1);
    }

    private static String offsets(OffsetSpec spec) throws Exception {
        Map<TopicPartition, OffsetSpec> wanted = new LinkedHashMap<>();
        for (int i = 0; i < 3; i++) wanted.put(partition(i), spec);
        var answer = admin.listOffsets(wanted).all().get();
        return wanted.keySet().stream().map(p -> "" + answer.get(p).offset()).collect(Collectors.joining(" "));
    }

    private static void groups() {
        check("the group is listed", () -> admin.listGroups().all().get().stream().filter(g -> g.groupId().equals(GROUP)).map(g -> g.protocol() + " " + g.groupState().get()).toList(), "[consumer Empty]");
        check("groups by their state", () -> admin.listGroups(new ListGroupsOptions().inGroupStates(Set.of(GroupState.STABLE))).all().get().stream().anyMatch(g -> g.groupId().equals(GROUP)), false);
        check("the group is described", () -> {
            ConsumerGroupDescription group = admin.describeConsumerGroups(List.of(GROUP), new DescribeConsumerGroupsOptions().includeAuthorizedOperations(true)).all().get().get(GROUP);
            return group.groupState() + " " + group.members().size() + " " + (group.coordinator().id() == node().id());
        }, "Empty 0 true");
        check("its offsets", () -> committed(), "0=4 1=10");
        check("offsets are moved", () -> {
            admin.alterConsumerGroupOffsets(GROUP, Map.of(partition(2), new OffsetAndMetadata(7))).all().get();
            return committed();
        }, "0=4 1=10 2=7");
        check("offsets are removed", () -> {
            admin.deleteConsumerGroupOffsets(GROUP, Set.of(partition(2))).all().get();
            return committed();
        }, "0=4 1=10");
        check("a group that is not there", () -> admin.deleteConsumerGroups(List.of("nobody")).all().get(), "GroupIdNotFoundException");
    }

    private static String committed() throws Exception {
        var offsets = new TreeMap<Integer, Long>();
        admin.listConsumerGroupOffsets(GROUP).partitionsToOffsetAndMetadata().get().forEach((p, o) -> offsets.put(p.partition(), o.offset()));
        return offsets.entrySet().stream().map(Object::toString).collect(Collectors.joining(" "));
    }

    private static void brokers() throws Exception {
        ConfigResource broker = resource(ConfigResource.Type.BROKER, "" + node().id());
        check("all broker configurations", () -> describe(broker).entries().size() > 300, true);
        check("a type for each that Kafka has", () -> describe(broker).get("num.io.threads").type() + " " + describe(broker).get("ssl.keystore.password").isSensitive(), "INT true");
        check("what can change", () -> describe(broker).get("log.retention.ms").isReadOnly() + " " + describe(broker).get("broker.rack").isReadOnly(), "false true");
        check("a value of the broker changes", () -> {
            change(broker, "message.max.bytes", "2097152");
            return until(() -> text(describe(broker).get("message.max.bytes")), "2097152 DYNAMIC_BROKER_CONFIG INT");
        }, "2097152 DYNAMIC_BROKER_CONFIG INT");
        check("the topics follow", () -> text(describe(resource(ConfigResource.Type.TOPIC, TOPIC)).get("max.message.bytes")), "2097152 DYNAMIC_BROKER_CONFIG INT");
        check("a default of the cluster", () -> {
            change(resource(ConfigResource.Type.BROKER, ""), "log.cleaner.backoff.ms", "16000");
            return until(() -> text(describe(broker).get("log.cleaner.backoff.ms")), "16000 DYNAMIC_DEFAULT_BROKER_CONFIG LONG");
        }, "16000 DYNAMIC_DEFAULT_BROKER_CONFIG LONG");
        check("what cannot change", () -> { change(broker, "broker.rack", "r"); return "changed"; }, "InvalidRequestException");
    }

    private static void change(ConfigResource resource, String name, String value) throws Exception {
        admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)))).all().get();
    }

    /** Apache Kafka's broker hears of a change after it was answered. */
    private static Object until(Callable<Object> call, Object expected) throws Exception {
        for (int i = 0; i < 50 && !expected.equals(call.call()); i++) Thread.sleep(50);
        return call.call();
    }

    /** What Redpanda Console asks to know which of its pages it can show. */
    private static void pages() throws Exception {
        checkOrMissing("reassignments", () -> admin.listPartitionReassignments().reassignments().get());
        checkOrMissing("quotas", () -> admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get());
        checkOrMissing("users", () -> admin.describeUserScramCredentials().all().get());
        checkOrMissing("tokens", () -> admin.describeDelegationToken().delegationTokens().get());
        check("transactions", () -> admin.listTransactions().all().get().size(), 0);
        check("a preferred leader", () -> admin.electLeaders(ElectionType.PREFERRED, Set.of(partition(0))).partitions().get().get(partition(0)).map(e -> e.getClass().getSimpleName()).orElse("elected"), "ElectionNotNeededException");
        check("what has configurations", () -> admin.listConfigResources(Set.of(ConfigResource.Type.TOPIC), new ListConfigResourcesOptions()).all().get().stream().anyMatch(r -> r.name().equals(TOPIC)), true);
    }

    private static void changes() {
        check("partitions are added", () -> {
            admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(5))).all().get();
            return until(() -> admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC).partitions().size(), 5);
        }, 5);
        check("fewer are refused", () -> admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(2))).all().get(), "InvalidPartitionsException");
        check("records are deleted", () -> {
            admin.deleteRecords(Map.of(partition(0), RecordsToDelete.beforeOffset(6))).all().get();
            return offsets(OffsetSpec.earliest());
        }, "6 0 0");
        check("a configuration goes back", () -> {
            ConfigResource topic = resource(ConfigResource.Type.TOPIC, TOPIC);
            admin.incrementalAlterConfigs(Map.of(topic, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", null), AlterConfigOp.OpType.DELETE)))).all().get();
            return until(() -> text(describe(topic).get("retention.ms")), "604800000 DEFAULT_CONFIG LONG");
        }, "604800000 DEFAULT_CONFIG LONG");
        check("a wrong value is refused", () -> { change(resource(ConfigResource.Type.TOPIC, TOPIC), "retention.ms", "soon"); return "changed"; }, "InvalidConfigurationException");
        check("a topic is there already", () -> admin.createTopics(List.of(new NewTopic(TOPIC, 1, (short) 1))).all().get(), "TopicExistsException");
        check("a creation is only tried", () -> {
            admin.createTopics(List.of(new NewTopic("tried", 1, (short) 1)), new CreateTopicsOptions().validateOnly(true)).all().get();
            return admin.listTopics().names().get().contains("tried");
        }, false);
        check("the group is deleted", () -> {
            admin.deleteConsumerGroups(List.of(GROUP)).all().get();
            return admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals(GROUP));
        }, false);
        check("the topic is deleted", () -> {
            admin.deleteTopics(List.of(TOPIC)).all().get();
            return until(() -> admin.listTopics().names().get().contains(TOPIC), false);
        }, false);
    }
}
