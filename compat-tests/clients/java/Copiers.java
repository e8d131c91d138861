import java.io.File;
import java.nio.file.Files;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;

/**
 * Kafka's own TransactionalMessageCopier, several processes of it with random aborts, killed and started again: the output is the
 * input, exactly once. First one copier for each partition, then copiers that share a group and hand partitions over.
 * Usage: Copiers HOST:PORT [RECORDS] [KILLS].
 */
public class Copiers extends TransactionChecks {
    static final int COPIERS = 3;
    static int records = 3000, kills = 6;

    public static void main(String[] arguments) throws Exception {
        connect(new String[] {arguments[0]});
        if (arguments.length > 1) records = Integer.parseInt(arguments[1]) / COPIERS * COPIERS;
        if (arguments.length > 2) kills = Integer.parseInt(arguments[2]);
        Map<String, Check> checks = new LinkedHashMap<>();
        for (int level : List.of(2, 1)) {
            for (boolean group : List.of(false, true)) {
                checks.put(FEATURE + " " + level + ": copiers killed, " + (group ? "of one group" : "each with its partition"), () -> {
                    finalizeTransactionVersion(level);
                    copy(group);
                });
            }
        }
        checks.put("back to " + FEATURE + " 2", () -> finalizeTransactionVersion(2));
        run(checks);
    }

    static Process start(int copier, String input, String output, String group, boolean shared) throws Exception {
        List<String> command = new ArrayList<>(List.of(ProcessHandle.current().info().command().get(), "-Xmx96M", "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path"),
            "org.apache.kafka.tools.TransactionalMessageCopier", "--broker-list", bootstrap, "--input-topic", input, "--input-partition", "" + copier,
            "--output-topic", output, "--consumer-group", group, "--transactional-id", group + "-" + copier, "--transaction-size", "40",
            "--transaction-timeout", "5000", "--enable-random-aborts", "--use-group-metadata"));
        if (shared) command.add("--group-mode");
        return new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(log(copier))).start();
    }

    static File log(int copier) { return new File(System.getProperty("java.io.tmpdir"), "copier-" + ProcessHandle.current().pid() + "-" + copier + ".log"); }

    /** What is known of copiers that did not come to their end. */
    static String state(Process[] copiers, String group, List<TopicPartition> outputs) throws Exception {
        StringBuilder state = new StringBuilder();
        for (int i = 0; i < COPIERS; i++) {
            List<String> lines = Files.readAllLines(log(i).toPath());
            state.append("\n  ").append(i).append(copiers[i].isAlive() ? " runs" : " ended with " + copiers[i].exitValue()).append(", ").append(description(group + "-" + i));
            lines.subList(Math.max(0, lines.size() - 3), lines.size()).forEach(line -> state.append("\n    ").append(line));
        }
        return state.append("\n  ").append(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get())
            .append("\n  outputs end at ").append(endOffset(outputs.get(0), IsolationLevel.READ_COMMITTED)).append(" of ").append(endOffset(outputs.get(0), IsolationLevel.READ_UNCOMMITTED)).toString();
    }

    static void copy(boolean shared) throws Exception {
        String input = freshTopic(COPIERS), output = freshTopic(COPIERS), group = freshName();
        // Without markers: the tool counts down from the end offset to know when it is done.
        for (int partition = 0; partition < COPIERS; partition++) produce(input, partition, 0, records / COPIERS);
        Random random = new Random();
        List<TopicPartition> partitions = partitionsOf(output);
        Process[] copiers = new Process[COPIERS];
        int killed = 0, failed = 0;
        long before = -1, deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(4 * PATIENCE_SECONDS);
        try {
            for (int i = 0; i < COPIERS; i++) copiers[i] = start(i, input, output, group, shared);
            while (true) {
                if (System.nanoTime() > deadline) throw new AssertionError("not copied in time, after " + killed + " kills and " + failed + " failures: " + state(copiers, group, partitions));
                // The end offset at read_committed counts markers and what was aborted: it only says that there is progress.
                long progress = 0;
                for (TopicPartition partition : partitions) progress += endOffset(partition, IsolationLevel.READ_COMMITTED);
                if (progress > before && killed < kills) {
                    before = progress + records / (4 * kills);
                    int victim = random.nextInt(COPIERS);
                    copiers[victim].destroyForcibly().waitFor();
                    killed++;
                }
                for (int i = 0; i < COPIERS; i++) {
                    // One that has nothing left to copy ends; in a group it may get another's partitions later, so the last one starts again.
                    if (copiers[i].isAlive() || copiers[i].exitValue() == 0 && (!shared || Stream.of(copiers).anyMatch(Process::isAlive))) continue;
                    if (copiers[i].exitValue() == 1) failed++;
                    copiers[i] = start(i, input, output, group, shared);
                }
                boolean ended = shared ? progress >= records && committed(output).stream().mapToInt(List::size).sum() >= records
                    : Stream.of(copiers).allMatch(copier -> !copier.isAlive() && copier.exitValue() == 0);
                if (ended) break;
                Thread.sleep(100);
            }
        } finally {
            for (Process copier : copiers) if (copier != null) copier.destroyForcibly().waitFor();
            for (int i = 0; i < COPIERS; i++) log(i).delete();
        }
        // Nothing comes late: what the killed ones left open times out, or is aborted here.
        for (int i = 0; i < COPIERS; i++) initialized(group + "-" + i).close();
        equal(committed(input), committed(output));
        int written = everything(output).stream().mapToInt(List::size).sum();
        System.out.println("  " + records + " records, " + killed + " kills, " + failed + " failures, " + (written - records) + " records aborted");
    }
}
