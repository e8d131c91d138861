import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.testcontainers.containers.Network;
import org.testcontainers.kafka.ConfluentKafkaContainer;
import org.testcontainers.kafka.KafkaContainer;
import org.testcontainers.utility.DockerImageName;

/** Our image under Testcontainers' KafkaContainer (apache/kafka) and ConfluentKafkaContainer, each with a listener of its own for other containers. */
public final class Image {
    public static void main(String[] arguments) {
        DockerImageName image = DockerImageName.parse(System.getenv("OTTLA_IMAGE"));
        for (String original : List.of("apache/kafka", "apache/kafka-native")) {
            try (Network network = Network.newNetwork();
                    KafkaContainer kafka = new KafkaContainer(image.asCompatibleSubstituteFor(original))
                        .withNetwork(network).withListener("kafka:19092")) {
                kafka.start();
                check(kafka.getBootstrapServers());
                System.out.println("KafkaContainer in place of " + original + ": passed");
            }
        }
        try (Network network = Network.newNetwork();
                ConfluentKafkaContainer kafka = new ConfluentKafkaContainer(image.asCompatibleSubstituteFor("confluentinc/cp-kafka"))
                    .withNetwork(network).withListener("kafka:19092")) {
            kafka.start();
            check(kafka.getBootstrapServers());
            System.out.println("ConfluentKafkaContainer: passed");
        }
    }

    private static void check(String bootstrap) {
        List<String> numbers = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer(Map.of("bootstrap.servers", bootstrap))) {
            for (int number = 0; number < 1000; number++) {
                numbers.add(String.format("%03d", number));
                producer.send(new ProducerRecord<>("numbers", numbers.get(number)));
            }
        }
        List<String> seen = read(bootstrap, "numbers", 1000);
        Collections.sort(seen);
        expect(numbers, seen);

        // What is aborted comes first: a reader that saw it would count it among the ten.
        try (KafkaProducer<String, String> producer = producer(Map.of("bootstrap.servers", bootstrap, "transactional.id", "one"))) {
            producer.initTransactions();
            for (String decision : List.of("abort", "commit")) {
                producer.beginTransaction();
                for (int number = 0; number < 10; number++) {
                    producer.send(new ProducerRecord<>("transactions", decision));
                }
                producer.flush();
                if (decision.equals("commit")) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
        expect(Collections.nCopies(10, "commit"), read(bootstrap, "transactions", 10));
    }

    private static KafkaProducer<String, String> producer(Map<String, Object> properties) {
        return new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
    }

    private static List<String> read(String bootstrap, String topic, int count) {
        Map<String, Object> properties = Map.of("bootstrap.servers", bootstrap, "group.id", UUID.randomUUID().toString(),
            "auto.offset.reset", "earliest", "isolation.level", "read_committed");
        List<String> values = new ArrayList<>();
        long end = System.nanoTime() + Duration.ofSeconds(20).toNanos();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (values.size() < count) {
                if (System.nanoTime() > end) {
                    throw new AssertionError(values.size() + " of " + count + " records within 20 s");
                }
                consumer.poll(Duration.ofMillis(200)).forEach(record -> values.add(record.value()));
            }
            consumer.commitSync();
        }
        return values;
    }

    private static void expect(Object expected, Object seen) {
        if (!expected.equals(seen)) {
            throw new AssertionError("expected " + expected + ", saw " + seen);
        }
    }
}
