import java.io.*;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.common.utils.Exit;

/**
 * Apache Kafka's command-line tools in one process: a JVM for each line would take a second each. Reads lines (class, standard
 * input and arguments, all in base64, with blanks between them); answers each with one line: exit code, standard output, standard
 * error, the latter two in base64. What a tool prints after it ended is not taken: its main method may catch the exception that
 * ends it here.
 */
public class CommandLines {
    static final int SECONDS_MAX = 90;

    /** Streams that everybody may keep: where they lead is changed for every line. */
    static class Switched extends OutputStream {
        volatile ByteArrayOutputStream target = new ByteArrayOutputStream();
        @Override public void write(int b) { target.write(b); }
        @Override public void write(byte[] b, int offset, int length) { target.write(b, offset, length); }
    }

    static class SwitchedInput extends InputStream {
        volatile InputStream source = InputStream.nullInputStream();
        @Override public int read() throws IOException { return source.read(); }
        @Override public int read(byte[] b, int offset, int length) throws IOException { return source.read(b, offset, length); }
        @Override public int available() throws IOException { return source.available(); }
    }

    static class Ended extends RuntimeException {
        Ended(String message) { super(message); }
    }

    static final Switched out = new Switched(), err = new Switched();
    static final SwitchedInput in = new SwitchedInput();
    static volatile Integer code;
    static volatile byte[] printed, complained;

    static synchronized void end(int status) {
        if (code != null) return;
        System.out.flush();
        System.err.flush();
        printed = out.target.toByteArray();
        complained = err.target.toByteArray();
        code = status;
    }

    static String decode(String text) { return new String(Base64.getDecoder().decode(text), StandardCharsets.UTF_8); }

    static String encode(byte[] bytes) { return bytes.length == 0 ? "-" : Base64.getEncoder().encodeToString(bytes); }

    public static void main(String[] ignored) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = System.out;
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        System.setIn(in);
        Exit.setExitProcedure((status, message) -> { end(status); throw new Ended(message); });
        Exit.setHaltProcedure((status, message) -> { end(status); throw new Ended(message); });
        Exit.setShutdownHookAdder((name, hook) -> { });
        ExecutorService threads = Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ");
            String[] arguments = new String[words.length - 2];
            for (int i = 0; i < arguments.length; i++) arguments[i] = words[i + 2].equals("-") ? "" : decode(words[i + 2]);
            run(threads, words[0], words[1].equals("-") ? "" : decode(words[1]), arguments);
            answers.println(code + " " + encode(printed) + " " + encode(complained));
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    static void run(ExecutorService threads, String tool, String input, String[] arguments) throws Exception {
        code = null;
        out.target = new ByteArrayOutputStream();
        err.target = new ByteArrayOutputStream();
        in.source = new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8));
        Future<?> done = threads.submit(() -> {
            try {
                Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
                end(0);
            } catch (InvocationTargetException failure) {
                if (!(failure.getCause() instanceof Ended)) {
                    System.err.println("Exception in thread \"main\" " + failure.getCause());
                    end(1);
                }
            } catch (Throwable failure) {
                System.err.println("Exception in thread \"main\" " + failure);
                end(1);
            }
        });
        try {
            done.get(SECONDS_MAX, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            done.cancel(true);
            end(124);
        }
        if (code == null) end(0);
    }
}
