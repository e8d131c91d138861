import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/**
 * What goes into the application, and what must come out of it, computed from what is in the input topics.
 *
 *   Ledger HOST:PORT prepare            the topics, and the table of customers
 *   Ledger HOST:PORT feed RATE          orders and payments until standard input ends; then every one of them is acknowledged
 *   Ledger HOST:PORT complete GUARANTEE waits until the output has all that it must have, as long as there is progress
 *   Ledger HOST:PORT verify GUARANTEE   exactly_once_v2: the output is that and nothing else; at_least_once: it has no less
 */
public class Ledger {
    static final int PARTITIONS = 2, CUSTOMERS = 20, REGIONS = 4;
    static final int PATIENCE_SECONDS = 180;
    static String bootstrap;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        switch (arguments[1]) {
            case "prepare" -> prepare();
            case "feed" -> feed(Integer.parseInt(arguments[2]));
            case "complete" -> complete();
            case "verify" -> verify(arguments[2].equals("exactly_once_v2"));
            default -> throw new IllegalArgumentException(arguments[1]);
        }
    }

    static KafkaProducer<String, String> producer() {
        return new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap, "reconnect.backoff.max.ms", "500", "delivery.timeout.ms", "600000"),
            new StringSerializer(), new StringSerializer());
    }

    static void prepare() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(Stream.of("orders", "payments", "customers", "totals", "windows", "paid")
                .map(topic -> new NewTopic(topic, PARTITIONS, (short) 1)).collect(Collectors.toList())).all().get();
        }
        long old = System.currentTimeMillis() - Duration.ofHours(6).toMillis();
        try (KafkaProducer<String, String> producer = producer()) {
            for (int i = 0; i < CUSTOMERS; i++) producer.send(new ProducerRecord<>("customers", null, old, "c" + i, "r" + i % REGIONS)).get();
        }
    }

    static void feed(int rate) throws Exception {
        Thread ended = new Thread(() -> { try { while (System.in.read() >= 0) { } } catch (java.io.IOException end) { } });
        ended.start();
        Random random = new Random(1);
        long begin = System.currentTimeMillis() - Duration.ofHours(5).toMillis();
        AtomicReference<Exception> failure = new AtomicReference<>();
        Callback acknowledged = (metadata, error) -> { if (error != null) failure.set(error); };
        int order = 0;
        long started = System.nanoTime();
        try (KafkaProducer<String, String> producer = producer()) {
            for (; ended.isAlive(); order++) {
                long time = begin + order * 20L;
                // Two customers in 22 are in no table: their orders are dropped by the inner join.
                String value = "c" + random.nextInt(CUSTOMERS + 2) + "," + random.nextInt(1000);
                producer.send(new ProducerRecord<>("orders", null, time, "o" + order, value), acknowledged);
                // Some payments come too early or too late for the window.
                if (order % 3 == 0) producer.send(new ProducerRecord<>("payments", null, time - 6000 + random.nextInt(12_001), "o" + order, "p" + order), acknowledged);
                long early = started + TimeUnit.SECONDS.toNanos(order) / rate - System.nanoTime();
                if (early > 0) TimeUnit.NANOSECONDS.sleep(early);
            }
        }
        if (failure.get() != null) throw failure.get();
        System.out.println("fed " + order + " orders");
    }

    static List<ConsumerRecord<String, String>> read(String topic) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed", "auto.offset.reset", "earliest", "enable.auto.commit", "false");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = IntStream.range(0, PARTITIONS).mapToObj(partition -> new TopicPartition(topic, partition)).collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) consumer.poll(Duration.ofMillis(100)).forEach(records::add);
        }
        return records;
    }

    /** Key to its values, in their order, as the outputs must have them. */
    record Truth(Map<String, Integer> counts, Map<String, Long> sums, Map<String, Integer> windows, Map<String, String> paid) { }

    static Truth truth() {
        Truth truth = new Truth(new TreeMap<>(), new TreeMap<>(), new TreeMap<>(), new TreeMap<>());
        Map<String, ConsumerRecord<String, String>> orders = new HashMap<>();
        for (ConsumerRecord<String, String> order : read("orders")) {
            orders.put(order.key(), order);
            String customer = order.value().split(",")[0];
            int number = Integer.parseInt(customer.substring(1));
            if (number >= CUSTOMERS) continue;
            truth.counts.merge(customer, 1, Integer::sum);
            truth.sums.merge(customer, Long.parseLong(order.value().split(",")[1]), Long::sum);
            long window = Application.WINDOW.toMillis();
            truth.windows.merge("r" + number % REGIONS + "@" + order.timestamp() / window * window, 1, Integer::sum);
        }
        for (ConsumerRecord<String, String> payment : read("payments")) {
            ConsumerRecord<String, String> order = orders.get(payment.key());
            if (order != null && Math.abs(order.timestamp() - payment.timestamp()) <= Application.PAYMENT_WINDOW.toMillis()) truth.paid.put(payment.key(), order.value() + "," + payment.value());
        }
        return truth;
    }

    static Map<String, List<String>> byKey(String topic) {
        Map<String, List<String>> values = new TreeMap<>();
        for (ConsumerRecord<String, String> record : read(topic)) values.computeIfAbsent(record.key(), key -> new ArrayList<>()).add(record.value());
        return values;
    }

    static int count(String value) { return Integer.parseInt(value.split(",")[0]); }

    /** What is missing from the output, of which the largest count of each key is looked at. */
    static List<String> missing(Truth truth, Map<String, List<String>> totals, Map<String, List<String>> windows, Map<String, List<String>> paid) {
        List<String> missing = new ArrayList<>();
        truth.counts.forEach((customer, count) -> {
            int found = totals.getOrDefault(customer, List.of()).stream().mapToInt(Ledger::count).max().orElse(0);
            if (found < count) missing.add("totals of " + customer + ": " + found + " of " + count);
        });
        truth.sums.forEach((customer, sum) -> {
            long found = totals.getOrDefault(customer, List.of()).stream().mapToLong(value -> Long.parseLong(value.split(",")[1])).max().orElse(0);
            if (found < sum) missing.add("sum of " + customer + ": " + found + " of " + sum);
        });
        truth.windows.forEach((window, count) -> {
            int found = windows.getOrDefault(window, List.of()).stream().mapToInt(Ledger::count).max().orElse(0);
            if (found < count) missing.add("window " + window + ": " + found + " of " + count);
        });
        truth.paid.forEach((order, value) -> { if (!paid.getOrDefault(order, List.of()).contains(value)) missing.add("payment of " + order); });
        return missing;
    }

    static void complete() throws Exception {
        Truth truth = truth();
        List<String> missing = List.of("everything");
        for (long progress = System.nanoTime(); !missing.isEmpty(); Thread.sleep(500)) {
            if (System.nanoTime() - progress > TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS)) fail("missing in the output", missing);
            List<String> still = missing(truth, byKey("totals"), byKey("windows"), byKey("paid"));
            if (!still.equals(missing)) progress = System.nanoTime();
            missing = still;
        }
    }

    static void fail(String what, List<String> which) {
        System.out.println("FAILED " + what + " (" + which.size() + "):");
        which.stream().limit(20).forEach(one -> System.out.println("  " + one));
        System.exit(1);
    }

    static void verify(boolean exactly) {
        Truth truth = truth();
        Map<String, List<String>> totals = byKey("totals"), windows = byKey("windows"), paid = byKey("paid");
        List<String> wrong = missing(truth, totals, windows, paid);
        if (!wrong.isEmpty()) fail("missing in the output", wrong);
        int outputs = Stream.of(totals, windows, paid).mapToInt(output -> output.values().stream().mapToInt(List::size).sum()).sum();
        int expected = truth.counts.values().stream().mapToInt(i -> i).sum() + truth.windows.values().stream().mapToInt(i -> i).sum() + truth.paid.size();
        if (exactly) {
            oneToN("totals", truth.counts, totals, wrong);
            oneToN("windows", truth.windows, windows, wrong);
            truth.sums.forEach((customer, sum) -> {
                List<String> values = totals.get(customer);
                if (!values.get(values.size() - 1).endsWith("," + sum)) wrong.add("sum of " + customer + ": " + values.get(values.size() - 1) + ", not " + sum);
            });
            paid.forEach((order, values) -> { if (!values.equals(List.of(String.valueOf(truth.paid.get(order))))) wrong.add("payment of " + order + ": " + values); });
            if (!wrong.isEmpty()) fail("the output is not the truth", wrong);
        }
        System.out.println(truth.counts.size() + " customers, " + truth.windows.size() + " windows, " + truth.paid.size() + " payments: "
            + expected + " outputs expected, " + outputs + " found");
    }

    static void oneToN(String topic, Map<String, Integer> truth, Map<String, List<String>> found, List<String> wrong) {
        if (!truth.keySet().equals(found.keySet())) wrong.add(topic + ": keys " + found.keySet() + ", not " + truth.keySet());
        truth.forEach((key, count) -> {
            List<Integer> counts = found.getOrDefault(key, List.of()).stream().map(Ledger::count).collect(Collectors.toList());
            if (!counts.equals(IntStream.rangeClosed(1, count).boxed().collect(Collectors.toList()))) wrong.add(topic + " of " + key + ", which has " + count + ": " + counts);
        });
    }
}
