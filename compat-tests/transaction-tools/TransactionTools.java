import java.io.*;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.tools.FeatureCommand;
import org.apache.kafka.tools.TransactionsCommand;

/**
 * kafka-features.sh and kafka-transactions.sh in one process, with transactions of every kind for them to see, one that hangs
 * among them. Prints every command, its exit code and its output, in a form that is the same for the same behaviour: two runs
 * are compared with diff. Usage: TransactionTools HOST:PORT
 */
public class TransactionTools {
    static String bootstrap;
    static Admin admin;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        Exit.setExitProcedure((code, message) -> { throw new Exited(code, message); });
        features();
        transactions();
        hanging();
        Runtime.getRuntime().halt(0);
    }

    static class Exited extends RuntimeException {
        final int code;
        Exited(int code, String message) { super(message); this.code = code; }
    }

    interface Tool { void run(String[] arguments) throws Exception; }

    /** Runs a tool; prints what it printed, without what must differ. */
    static void tool(String name, Tool tool, String... arguments) {
        PrintStream out = System.out, err = System.err;
        ByteArrayOutputStream output = new ByteArrayOutputStream();
        PrintStream both = new PrintStream(output, true);
        List<String> all = new ArrayList<>(List.of("--bootstrap-server", bootstrap));
        all.addAll(List.of(arguments));
        int code = 0;
        String failure = "";
        try {
            System.setOut(both);
            System.setErr(both);
            tool.run(all.toArray(String[]::new));
        } catch (Exited exited) {
            code = exited.code;
            if (exited.getMessage() != null) failure = exited.getMessage();
        } catch (Throwable error) {
            code = -1;
            failure = error.toString();
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        System.out.println("$ " + name + " " + String.join(" ", arguments) + " [" + code + "]");
        String text = output.toString(StandardCharsets.UTF_8) + failure;
        // Rows in any order; features that one of the two does not have; times and durations.
        text.lines().filter(line -> !line.matches("^Feature: (eligible|group|kraft|share|streams).*")).filter(line -> !line.matches(".*(WARN|INFO|ERROR) .*|\\s+at .*"))
            .map(line -> line.replaceAll("Epoch: \\d+", "Epoch: <epoch>").replaceAll("\\d{13}", "<time>").replaceAll("\\s+", " ").stripTrailing().replaceAll("<time> \\d+$", "<time> <duration>"))
            .sorted().forEach(System.out::println);
    }

    static void features(String... arguments) { tool("kafka-features.sh", FeatureCommand::main, arguments); }
    static void transactions(String... arguments) { tool("kafka-transactions.sh", TransactionsCommand::main, arguments); }

    static void features() {
        for (String line : """
            describe
            upgrade --feature transaction.version=3
            upgrade --feature transaction.version=2
            downgrade --feature transaction.version=1
            describe
            upgrade --feature transaction.version=0
            downgrade --feature transaction.version=0 --dry-run
            downgrade --feature transaction.version=2
            disable --feature transaction.version
            describe
            upgrade --feature transaction.version=2 --dry-run
            upgrade --feature transaction.version=1 --feature foo.bar=1
            upgrade --feature foo.bar=1
            downgrade --feature foo.bar=0
            upgrade --feature transaction.version=2
            downgrade --feature transaction.version=1 --unsafe
            upgrade --feature transaction.version=2 --feature metadata.version=30
            upgrade --metadata 4.2-IV1
            downgrade --metadata 4.2-IV1
            downgrade --metadata 4.2-IV1 --unsafe
            disable --feature metadata.version
            upgrade --feature metadata.version=31
            upgrade --metadata 4.3-IV0
            describe""".split("\n")) features(line.strip().split(" "));
    }

    static void create(String name, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1))).all().get(60, TimeUnit.SECONDS);
    }

    static KafkaProducer<byte[], byte[]> producer(String id) {
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap, "transactional.id", id, "transaction.timeout.ms", 600_000), new ByteArraySerializer(), new ByteArraySerializer());
        producer.initTransactions();
        return producer;
    }

    static void send(KafkaProducer<byte[], byte[]> producer, String topic, int partition) throws Exception {
        producer.send(new ProducerRecord<>(topic, partition, null, new byte[10])).get(60, TimeUnit.SECONDS);
    }

    static void transactions() throws Exception {
        create("tools", 3);
        KafkaProducer<byte[], byte[]> committed = producer("committed"), aborted = producer("aborted"), open = producer("open");
        producer("empty");
        for (int round = 0; round < 2; round++) {
            committed.beginTransaction();
            send(committed, "tools", 0);
            committed.commitTransaction();
        }
        aborted.beginTransaction();
        send(aborted, "tools", 0);
        aborted.abortTransaction();
        settle("committed", "CompleteCommit");
        settle("aborted", "CompleteAbort");
        open.beginTransaction();
        send(open, "tools", 1);
        send(open, "tools", 0);
        for (String line : """
            list
            list --transactional-id-pattern .*mi?t.*
            list --transactional-id-pattern [
            list --transactional-id-pattern nobody
            list --duration-filter 1000000
            describe --transactional-id committed
            describe --transactional-id aborted
            describe --transactional-id empty
            describe --transactional-id nobody
            describe-producers --topic tools --partition 0
            describe-producers --topic tools --partition 1
            describe-producers --topic tools --partition 2
            find-hanging --broker-id 1
            find-hanging --topic tools
            find-hanging --topic nothing
            find-hanging
            abort --topic tools --partition 0 --start-offset 1
            abort --topic tools --partition 0
            forceTerminateTransaction --transactionalId nobody""".split("\n")) transactions(line.strip().split(" "));
        // Its columns have times in them.
        describe("open");
        transactions("forceTerminateTransaction", "--transactionalId", "open");
        settle("open", "Empty");
        describe("open");
        stable("tools", 0);
        try {
            send(open, "tools", 0);
            open.commitTransaction();
            System.out.println("a terminated transaction was committed");
        } catch (Exception fenced) {
            Throwable cause = fenced.getCause() == null ? fenced : fenced.getCause();
            System.out.println("the producer of a terminated transaction: " + cause.getClass().getSimpleName());
        }
    }

    static void describe(String id) throws Exception {
        TransactionDescription transaction = admin.describeTransactions(List.of(id)).description(id).get(60, TimeUnit.SECONDS);
        List<String> partitions = transaction.topicPartitions().stream().map(Object::toString).sorted().toList();
        System.out.println(id + ": " + transaction.state() + ", epoch " + transaction.producerEpoch() + ", timeout " + transaction.transactionTimeoutMs()
            + ", partitions " + partitions + ", " + (transaction.transactionStartTimeMs().isPresent() ? "started" : "not started") + ", coordinator " + transaction.coordinatorId());
    }

    static void settle(String id, String state) throws Exception {
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (!admin.describeTransactions(List.of(id)).description(id).get(60, TimeUnit.SECONDS).state().toString().equals(state)) {
            if (System.nanoTime() > deadline) { describe(id); throw new IllegalStateException(id + " does not become " + state); }
            Thread.sleep(50);
        }
    }

    /** The last stable offset and the end. */
    static void stable(String topic, int partition) throws Exception {
        TopicPartition name = new TopicPartition(topic, partition);
        for (IsolationLevel isolation : IsolationLevel.values()) {
            System.out.println(name + " " + isolation + " ends at " + admin.listOffsets(Map.of(name, OffsetSpec.latest()), new ListOffsetsOptions(isolation)).partitionResult(name).get().offset());
        }
    }

    /** A batch that comes when its transaction is over: with verification off the partition takes it, and no coordinator knows. */
    static void hanging() throws Exception {
        create("hanging", 1);
        verification("false");
        producer("late");
        TransactionDescription late = admin.describeTransactions(List.of("late")).description("late").get(60, TimeUnit.SECONDS);
        produceLate(late.producerId(), (short) late.producerEpoch(), "hanging");
        stable("hanging", 0);
        for (String line : """
            describe --transactional-id late
            describe-producers --topic hanging --partition 0
            find-hanging --broker-id 1
            find-hanging --topic hanging
            find-hanging --broker-id 1 --max-transaction-timeout 600
            abort --topic hanging --partition 0 --start-offset 7
            abort --topic hanging --partition 0 --start-offset 0
            describe-producers --topic hanging --partition 0
            find-hanging --broker-id 1
            abort --topic hanging --partition 0 --start-offset 0""".split("\n")) transactions(line.strip().split(" "));
        stable("hanging", 0);
        verification("true");
        produceLate(late.producerId(), (short) late.producerEpoch(), "hanging");
        stable("hanging", 0);
    }

    static void verification(String value) throws Exception {
        ConfigResource brokers = new ConfigResource(ConfigResource.Type.BROKER, "");
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry("transaction.partition.verification.enable", value), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(brokers, List.of(set))).all().get(60, TimeUnit.SECONDS);
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
        while (!admin.describeConfigs(List.of(broker)).all().get(60, TimeUnit.SECONDS).get(broker).get("transaction.partition.verification.enable").value().equals(value)) Thread.sleep(50);
        Thread.sleep(200); // Apache Kafka's partitions hear of it a little later.
    }

    /** Produce 11, the last version whose clients add partitions themselves; the time of the record is an hour ago. */
    static void produceLate(long producerId, short epoch, String topic) throws Exception {
        SimpleRecord record = new SimpleRecord(System.currentTimeMillis() - 3_600_000, new byte[10]);
        MemoryRecords records = MemoryRecords.withTransactionalRecords(Compression.NONE, producerId, epoch, 0, record);
        ProduceRequestData data = new ProduceRequestData().setAcks((short) -1).setTimeoutMs(10_000).setTransactionalId("late");
        data.topicData().add(new ProduceRequestData.TopicProduceData().setName(topic)
            .setPartitionData(List.of(new ProduceRequestData.PartitionProduceData().setIndex(0).setRecords(records))));
        short version = 11;
        ByteBuffer request = new ProduceRequest(data, version).serializeWithHeader(new RequestHeader(ApiKeys.PRODUCE, version, "late", 1));
        String[] address = bootstrap.split(":");
        try (Socket socket = new Socket(address[0], Integer.parseInt(address[1]))) {
            DataOutputStream out = new DataOutputStream(socket.getOutputStream());
            out.writeInt(request.remaining());
            out.write(request.array(), request.arrayOffset() + request.position(), request.remaining());
            out.flush();
            DataInputStream in = new DataInputStream(socket.getInputStream());
            byte[] answer = in.readNBytes(in.readInt());
            ByteBuffer body = ByteBuffer.wrap(answer);
            // Correlation id, no tags; one topic with its name, one partition with its number; then the code.
            body.position(4 + 1 + 1 + 1 + topic.length() + 1 + 4);
            System.out.println("a late batch: error " + body.getShort());
        }
    }
}
