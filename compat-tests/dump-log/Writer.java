import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;

/** Fills a broker with everything that a dump can show. Usage: Writer HOST:PORT [transactions]. */
public class Writer {
    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            Map<String, String> small = Map.of("segment.bytes", "1048576", "index.interval.bytes", "512");
            Map<String, String> appendTime = Map.of("message.timestamp.type", "LogAppendTime");
            admin.createTopics(List.of(
                new NewTopic("codecs", 2, (short) 1).configs(small),
                new NewTopic("append-time", 1, (short) 1).configs(appendTime),
                new NewTopic("compacted", 1, (short) 1).configs(Map.of("cleanup.policy", "compact")),
                new NewTopic("transactions", 1, (short) 1))).all().get();
        }
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            produce(bootstrap, "codecs", Map.of("compression.type", codec, "linger.ms", "5"), 3000);
        }
        produce(bootstrap, "append-time", Map.of("enable.idempotence", "false", "acks", "1"), 50);
        produce(bootstrap, "compacted", Map.of(), 100);
        if (arguments.length > 1) transactions(bootstrap);
        consume(bootstrap);
    }

    static KafkaProducer<byte[], byte[]> producer(String bootstrap, Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(settings);
        all.put("bootstrap.servers", bootstrap);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static void produce(String bootstrap, String topic, Map<String, Object> settings, int count) {
        try (var producer = producer(bootstrap, settings)) {
            for (int number = 0; number < count; number++) producer.send(record(topic, number));
        }
    }

    static ProducerRecord<byte[], byte[]> record(String topic, int number) {
        boolean keyless = number % 7 == 0 && !topic.equals("compacted");
        byte[] key = keyless ? null : ("käy \"" + number % 10 + "\"").getBytes(StandardCharsets.UTF_8);
        byte[] value = number % 11 == 0 ? null : ("välue\t" + number + "x".repeat(number % 200)).getBytes(StandardCharsets.UTF_8);
        var record = new ProducerRecord<>(topic, null, 1_700_000_000_000L + number / 3 * 10, key, value);
        for (int header = 0; header < number % 3; header++) record.headers().add("h" + header, new byte[] {(byte) number});
        return record;
    }

    static void transactions(String bootstrap) {
        try (var producer = producer(bootstrap, Map.of("transactional.id", "writer"))) {
            producer.initTransactions();
            for (int number = 0; number < 20; number++) {
                producer.beginTransaction();
                for (int record = 0; record < 5; record++) producer.send(record("transactions", record));
                producer.flush();
                if (number % 3 == 0) producer.abortTransaction(); else producer.commitTransaction();
            }
        }
    }

    static void consume(String bootstrap) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "group.id", "readers",
            "group.instance.id", "one", "auto.offset.reset", "earliest", "partition.assignment.strategy",
            CooperativeStickyAssignor.class.getName()));
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of("codecs", "append-time"));
            int seen = 0;
            while (seen < 5000) {
                seen += consumer.poll(Duration.ofSeconds(1)).count();
                consumer.commitSync();
            }
            consumer.commitSync(Map.of(new TopicPartition("codecs", 0), new OffsetAndMetadata(5, "a \"remark\"")));
        }
    }
}
