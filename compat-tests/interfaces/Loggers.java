import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.config.ConfigResource;

/** Sets and takes back the level of a logger (KIP-412), and lists all: Loggers BOOTSTRAP NODE list | LOGGER LEVEL | LOGGER -. */
public class Loggers {
    public static void main(String[] arguments) throws Exception {
        ConfigResource loggers = new ConfigResource(ConfigResource.Type.BROKER_LOGGER, arguments[1]);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            if (!arguments[2].equals("list")) {
                boolean isDeletion = arguments[3].equals("-");
                ConfigEntry entry = new ConfigEntry(arguments[2], isDeletion ? "" : arguments[3]);
                AlterConfigOp operation = new AlterConfigOp(entry, isDeletion ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET);
                admin.incrementalAlterConfigs(Map.of(loggers, List.of(operation))).all().get();
            }
            Map<String, String> levels = new TreeMap<>();
            for (ConfigEntry entry : admin.describeConfigs(List.of(loggers)).all().get().get(loggers).entries()) {
                levels.put(entry.name(), entry.value() + " " + entry.source());
            }
            levels.forEach((logger, level) -> System.out.println(logger + " " + level));
        }
    }
}
