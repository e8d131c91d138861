import java.util.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

/**
 * Transactions for the command-line tools to see: in partition 0 of the topic one that is committed (offsets 0 and 1), one that is
 * aborted (2 and 3), and one that stays open (4) when this process ends without saying anything to the broker.
 * Usage: LeavesTransactions HOST:PORT TOPIC TRANSACTIONAL_ID.
 */
public class LeavesTransactions {
    public static void main(String[] arguments) {
        Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0], "transactional.id", arguments[2], "transaction.timeout.ms", "600000");
        KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        for (String value : List.of("committed", "aborted", "open")) {
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(arguments[1], 0, null, value));
            producer.flush();
            if (value.equals("committed")) producer.commitTransaction();
            if (value.equals("aborted")) producer.abortTransaction();
        }
        Runtime.getRuntime().halt(0);
    }
}
