import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.state.*;

/**
 * The application under test: orders are keyed anew by customer (a repartition), joined with the table of customers, summed up in a
 * changelogged store, counted by region and window (another repartition), and joined as a stream with their payments.
 * Usage: Application HOST:PORT GUARANTEE STATE_DIRECTORY HALT_AFTER_MILLISECONDS (negative: never).
 * Every update of a store goes to the output: of a key with n records the counts 1, 2, ... n, each once, and nothing else.
 */
public class Application {
    static final Duration WINDOW = Duration.ofSeconds(10), PAYMENT_WINDOW = Duration.ofSeconds(5), GRACE = Duration.ofDays(1);

    public static void main(String[] arguments) throws Exception {
        String guarantee = arguments[1];
        long haltAfter = Long.parseLong(arguments[3]);
        CountDownLatch running = new CountDownLatch(1);
        KafkaStreams streams = new KafkaStreams(topology(), settings(arguments[0], guarantee, arguments[2]));
        streams.setUncaughtExceptionHandler(error -> {
            System.out.println("a thread is replaced: " + error);
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.setStateListener((now, before) -> { if (now == KafkaStreams.State.RUNNING) running.countDown(); });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
        streams.start();
        if (haltAfter < 0) return;
        running.await(60, TimeUnit.SECONDS);
        Thread.sleep(haltAfter);
        Runtime.getRuntime().halt(137);
    }

    static Properties settings(String bootstrap, String guarantee, String stateDirectory) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "streams-" + guarantee);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, stateDirectory);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        settings.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, 1000);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.RECONNECT_BACKOFF_MAX_MS_CONFIG, 500);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 3000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 500);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), 5000);
        return settings;
    }

    static Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        KTable<String, String> customers = builder.table("customers");
        KStream<String, String> orders = builder.stream("orders"); // order: customer,amount
        KStream<String, String> sold = orders
            .map((order, value) -> KeyValue.pair(value.split(",")[0], value.split(",")[1]))
            .repartition(Repartitioned.as("by-customer"))
            .join(customers, (amount, region) -> region + "," + amount);
        sold.groupByKey().aggregate(() -> "0,0", (customer, value, total) -> {
            String[] parts = total.split(",");
            return (Long.parseLong(parts[0]) + 1) + "," + (Long.parseLong(parts[1]) + Long.parseLong(value.split(",")[1]));
        }, Materialized.as("totals-store")).toStream().to("totals");
        sold.groupBy((customer, value) -> value.split(",")[0])
            .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE))
            .count(Materialized.as("windows-store")).toStream()
            .map((region, count) -> KeyValue.pair(region.key() + "@" + region.window().start(), "" + count))
            .to("windows");
        orders.join(builder.<String, String>stream("payments"), (order, payment) -> order + "," + payment,
            JoinWindows.ofTimeDifferenceAndGrace(PAYMENT_WINDOW, GRACE)).to("paid");
        return builder.build();
    }
}
