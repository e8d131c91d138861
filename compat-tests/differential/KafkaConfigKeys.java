import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.server.config.AbstractKafkaConfig;
import org.apache.kafka.server.config.DynamicBrokerConfig;
import org.apache.kafka.server.config.QuotaConfig;
import org.apache.kafka.storage.internals.log.LogConfig;

/**
 * Prints every broker and topic configuration of Apache Kafka as src/config/kafka_configs.tsv has it: scope, name, type, update
 * mode, internal or public, default, validator, in the order in which they are defined. KAFKA_CLASSPATH is `tools/apache-kafka classpath`:
 *
 *   java -cp "$KAFKA_CLASSPATH" compat-tests/differential/KafkaConfigKeys.java > src/config/kafka_configs.tsv
 */
public class KafkaConfigKeys {
    public static void main(String[] arguments) {
        Map<String, String> modes = DynamicBrokerConfig.dynamicConfigUpdateModes();
        Map<String, String> rows = new LinkedHashMap<>();
        AbstractKafkaConfig.CONFIG_DEF.configKeys().forEach((name, key) ->
            rows.put(name, row("broker", key, modes.getOrDefault(name, "read-only"))));
        // They can be given while the broker runs only.
        QuotaConfig.brokerQuotaConfigs().configKeys().forEach((name, key) ->
            rows.putIfAbsent(name, row("broker", key, "dynamic-only")));
        rows.values().forEach(System.out::println);
        LogConfig.configDefCopy().configKeys().values()
            .forEach(key -> System.out.println(row("topic", key, "cluster-wide")));
    }

    private static String row(String scope, ConfigDef.ConfigKey key, String mode) {
        String fallback = key.defaultValue == ConfigDef.NO_DEFAULT_VALUE ? "-none-"
            : key.defaultValue == null ? "-null-" : ConfigDef.convertToString(key.defaultValue, key.type);
        String validator = key.validator == null ? "" : key.validator.toString().replaceAll("\\s+", " ");
        String audience = key.internalConfig ? "internal" : "public";
        return String.join("\t", scope, key.name, key.type.name(), mode, audience, fallback, validator);
    }
}
