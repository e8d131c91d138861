//! What Ottla makes of the broker configurations of Apache Kafka that are not in its table.
//!
//! Contract: every key that Kafka has is in the table (implemented), or accepted here with the reason why nothing is missing
//! without it, or not yet there: then it has no effect and whoever gives it is warned by its name.

/// What Ottla makes of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// The broker honours it.
    Implemented,
    /// It has no meaning here; nothing is missing without it. The reason.
    Accepted(&'static str),
    /// It has a meaning in Kafka that is missing here. What is missing.
    NotYet(&'static str),
}

impl Support {
    /// What DescribeConfigs says of a key that is not implemented.
    pub(super) fn documentation(self) -> String {
        match self {
            Self::Implemented => String::new(),
            Self::Accepted(reason) => format!("Accepted, without a meaning here: {reason}."),
            Self::NotYet(reason) => format!("Not implemented yet, without effect: {reason}."),
        }
    }
}

use Support::{Accepted, NotYet};

const CONTROLLER: Support = Accepted("the controller is in the process of the broker");
const ONE_BROKER: Support = Accepted("one broker has nobody to replicate from");
const TIERED_STORAGE: Support = NotYet("tiered storage");
const CONSUMER_GROUPS: Support = NotYet("the consumer-group protocol of KIP-848");
const SHARE_GROUPS: Support = NotYet("share groups");
const STREAMS_GROUPS: Support = NotYet("streams groups");
const QUOTAS: Support = NotYet("quotas");
const TLS: Support = NotYet("TLS");
const SASL: Support = NotYet("SASL");
const TOKENS: Support = NotYet("delegation tokens");
const JAVA_CLASS: Support = NotYet("classes for the JVM cannot be loaded");
const NO_JMX: Support = Accepted("metrics are read over HTTP, with counters that whoever reads them turns into rates");
const WAITERS: Support = Accepted("requests that wait are forgotten at once when they are answered");
const BUFFERS: Support = Accepted("reading takes buffers of the size of the batches");
const THREADS: Support = Accepted("there are as many threads as processors");

/// The longest that matches wins; `*` at the end stands for anything.
const RULES: &[(&str, Support)] = &[
    ("alter.config.policy.class.name", JAVA_CLASS),
    ("alter.log.dirs.replication.quota.*", QUOTAS),
    ("authorizer.class.name", NotYet("authorization")),
    ("auto.leader.rebalance.enable", ONE_BROKER),
    ("background.threads", THREADS),
    ("broker.heartbeat.interval.ms", CONTROLLER),
    ("broker.session.timeout.ms", CONTROLLER),
    ("client.quota.callback.class", JAVA_CLASS),
    ("config.providers", JAVA_CLASS),
    ("connection.failed.authentication.delay.ms", SASL),
    ("connections.max.reauth.ms", SASL),
    ("controlled.shutdown.enable", Accepted("one broker has nobody to hand its partitions to")),
    ("controller.*", CONTROLLER),
    ("controller.quota.*", QUOTAS),
    ("cordoned.log.dirs", NotYet("log directories that take no new partitions")),
    ("create.topic.policy.class.name", JAVA_CLASS),
    ("delegation.token.*", TOKENS),
    ("delete.records.purgatory.*", WAITERS),
    ("early.start.listeners", Accepted("every listener opens when everything is there")),
    ("fetch.purgatory.*", WAITERS),
    ("follower.fetch.last.tiered.offset.enable", TIERED_STORAGE),
    ("follower.replication.throttled.rate", ONE_BROKER),
    ("group.consumer.*", CONSUMER_GROUPS),
    ("group.coordinator.*", Accepted("each group's log is written by its own partition's turn")),
    ("group.coordinator.rebalance.protocols", NotYet("the protocols beside classic")),
    ("group.share.*", SHARE_GROUPS),
    ("group.streams.*", STREAMS_GROUPS),
    ("initial.broker.registration.timeout.ms", CONTROLLER),
    ("internal.metadata.*", Accepted("it is for tests of Apache Kafka")),
    ("kafka.metrics.*", NO_JMX),
    ("leader.imbalance.*", ONE_BROKER),
    ("leader.replication.throttled.rate", ONE_BROKER),
    ("log.dir.failure.timeout.ms", CONTROLLER),
    (
        "log.flush.start.offset.checkpoint.interval.ms",
        Accepted("log start offsets are written with the recovery points"),
    ),
    ("max.connection.creation.rate", NotYet("a limit for how fast connections are made")),
    ("metadata.log.dir", NotYet("the metadata's log is in the first directory of log.dirs")),
    ("metadata.log.segment.*", NotYet("the metadata's log has segments of its own size")),
    ("metadata.max.idle.interval.ms", CONTROLLER),
    ("metric.reporters", JAVA_CLASS),
    ("metrics.*", NO_JMX),
    ("num.io.threads", THREADS),
    ("num.network.threads", THREADS),
    ("num.replica.alter.log.dirs.threads", NotYet("replicas that move between log directories")),
    ("num.replica.fetchers", ONE_BROKER),
    (
        "offsets.commit.timeout.ms",
        Accepted("a commit is answered when it is written; there are no replicas to wait for"),
    ),
    ("offsets.load.buffer.size", BUFFERS),
    ("offsets.topic.compression.codec", NotYet("compression of the coordinators' own records")),
    ("principal.builder.class", JAVA_CLASS),
    ("producer.purgatory.*", WAITERS),
    ("queued.max.requests", Accepted("what waits is limited in bytes: ottla.memory.bytes, queued.max.request.bytes")),
    ("quota.window.*", QUOTAS),
    ("remote.*", TIERED_STORAGE),
    ("replica.*", ONE_BROKER),
    ("replica.alter.log.dirs.io.max.bytes.per.second", QUOTAS),
    ("replication.quota.*", ONE_BROKER),
    ("sasl.*", SASL),
    ("security.providers", JAVA_CLASS),
    ("server.max.startup.time.ms", Accepted("a start waits for nobody")),
    ("share.*", SHARE_GROUPS),
    ("socket.connection.setup.timeout.*", Accepted("one broker connects to nobody")),
    ("ssl.*", TLS),
    ("telemetry.max.bytes", NotYet("metrics of clients (KIP-714)")),
    ("transaction.state.log.load.buffer.size", BUFFERS),
    ("unclean.leader.election.interval.ms", ONE_BROKER),
    ("unstable.*", NotYet("versions that Apache Kafka has not released")),
];

/// What Ottla makes of a key of Kafka's that is not in the table.
pub(super) fn support_of(name: &str) -> Support {
    rule(name).map_or(NotYet("Ottla does not know it"), |(_, support)| *support)
}

fn rule(name: &str) -> Option<&'static (&'static str, Support)> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    };
    RULES.iter().filter(|(pattern, _)| matches(pattern)).max_by_key(|(pattern, _)| pattern.len())
}

/// What older releases of Kafka had, other distributions have or images take for themselves; it is no mistake to give it, and
/// needed no more.
pub(super) fn is_retired(name: &str) -> bool {
    const RETIRED: &[&str] = &[
        "advertised.host.name",
        "advertised.port",
        "auto.include.jmx.reporter",
        "broker.id.generation.enable",
        "control.plane.listener.name",
        "delegation.token.master.key",
        "host.name",
        "inter.broker.protocol.version",
        "log.message.downconversion.enable",
        "log.message.format.version",
        "log.message.timestamp.difference.max.ms",
        "max.connections.creation.rate.per.ip",
        "offsets.commit.required.acks",
        "port",
        "reserved.broker.max.id",
    ];
    const PREFIXES: &[&str] = &["zookeeper.", "password.encoder.", "confluent.", "leader.imbalance.per.broker."];
    RETIRED.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::super::known::kafka_configs;
    use super::super::table;
    use super::*;

    #[test]
    fn every_key_of_kafka_is_implemented_accepted_or_named_as_missing() {
        for key in kafka_configs().filter(|key| key.scope == "broker") {
            let (is_ours, rule) = (table::broker_config(key.name).is_some(), rule(key.name));
            assert!(is_ours || rule.is_some(), "{} is neither implemented nor accepted nor missing", key.name);
            assert!(!is_retired(key.name), "{} is not retired", key.name);
        }
    }

    #[test]
    fn every_rule_decides_about_something() {
        let keys: Vec<&str> = kafka_configs()
            .filter(|key| key.scope == "broker" && table::broker_config(key.name).is_none())
            .map(|key| key.name)
            .collect();
        for (pattern, _) in RULES {
            assert!(keys.iter().any(|key| rule(key).is_some_and(|(used, _)| used == pattern)), "{pattern}");
        }
    }

    #[test]
    fn the_longest_rule_wins() {
        assert_eq!(support_of("controller.quota.window.num"), QUOTAS);
        assert_eq!(support_of("controller.quorum.retry.backoff.ms"), CONTROLLER);
        assert!(is_retired("zookeeper.connect") && is_retired("confluent.support.metrics.enable"));
    }
}
