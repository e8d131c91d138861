//! `KAFKA_*` variables, as the official image maps them.

/// Variables of the official image, of its scripts and of orchestrators that are no configuration of the broker.
const IGNORED: [&str; 11] = [
    "KAFKA_CLUSTER_ID",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_HOME",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_VERSION",
];
/// Beginnings of such variables; the last two are set by Kubernetes for a service named kafka.
const IGNORED_PREFIXES: [&str; 3] = ["KAFKA_LOG4J", "KAFKA_SERVICE_", "KAFKA_PORT"];

/// The configuration that a variable stands for: without `KAFKA_`, in lower case, `___` for `-`, `__` for `_`, `_` for `.`.
pub fn property_of_variable(variable: &str) -> Option<String> {
    if IGNORED.contains(&variable) || IGNORED_PREFIXES.iter().any(|prefix| variable.starts_with(prefix)) {
        return None;
    }
    let name = variable.strip_prefix("KAFKA_")?;
    if name.is_empty() {
        return None;
    }
    Some(name.to_lowercase().replace("___", "-").replace("__", "\u{0}").replace('_', ".").replace('\u{0}', "_"))
}

#[cfg(test)]
mod tests {
    use super::property_of_variable;

    #[test]
    fn variables_are_mapped_as_by_the_official_image() {
        let cases = [
            ("KAFKA_NODE_ID", "node.id"),
            ("KAFKA_ADVERTISED_LISTENERS", "advertised.listeners"),
            (
                "KAFKA_LISTENER_NAME_SASL_SCRAM___SHA___256_SASL_JAAS_CONFIG",
                "listener.name.sasl.scram-sha-256.sasl.jaas.config",
            ),
            ("KAFKA_LISTENER_NAME_MY__ONE_MAX_CONNECTIONS", "listener.name.my_one.max.connections"),
            ("KAFKA_OTTLA_MEMORY_BYTES", "ottla.memory.bytes"),
            ("KAFKA_LOG_DIRS", "log.dirs"),
        ];
        for (variable, property) in cases {
            assert_eq!(property_of_variable(variable).as_deref(), Some(property));
        }
    }

    #[test]
    fn variables_of_the_scripts_are_left_alone() {
        for variable in ["KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_LOG4J_LOGGERS", "KAFKA_JMX_PORT", "KAFKA_VERSION"] {
            assert_eq!(property_of_variable(variable), None, "{variable}");
        }
        for variable in ["KAFKA_PORT_9092_TCP_ADDR", "KAFKA_SERVICE_HOST", "KAFKA_", "PATH", "MY_KAFKA_NODE_ID"] {
            assert_eq!(property_of_variable(variable), None, "{variable}");
        }
    }
}
