//! The table of every metric whose name others gave: those of the JMX exporter as Strimzi's dashboards query them, of
//! kafka_exporter, a few of kminion, and of the process. Ottla's own are the rows of `telemetry::Metrics`, with `ottla_` in front.

use super::exposition::{Family, Kind, Label, Samples};
use super::snapshot::{GroupPartitionRow, GroupTopicRow, LogRow, PartitionRow, Snapshot, TopicRow};
use crate::telemetry::{Metrics, TopicTraffic};
use Kind::{Counter, Gauge, Histogram};

/// Kafka's percentiles, as the JMX exporter labels them.
const QUANTILES: [(&str, f64); 6] =
    [("0.50", 0.5), ("0.75", 0.75), ("0.95", 0.95), ("0.98", 0.98), ("0.99", 0.99), ("0.999", 0.999)];
/// Bounds of the histogram of requests: seconds as a label, microseconds.
const BOUNDS: [(&str, u64); 12] = [
    ("0.0001", 100),
    ("0.00025", 250),
    ("0.0005", 500),
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("10", 10_000_000),
];

/// One value of the broker; none where it is not known.
macro_rules! broker {
    ($kind:ident $name:literal, $documentation:literal, $value:expr) => {
        Family {
            name: $name,
            kind: $kind,
            labels: "",
            documentation: $documentation,
            steps: |snapshot| usize::from(broker_value(snapshot, $value).is_some()),
            write: |snapshot, _, out| {
                if let Some(value) = broker_value(snapshot, $value) {
                    out.put(&[], value);
                }
            },
        }
    };
}

fn broker_value(snapshot: &Snapshot, value: fn(&Snapshot) -> Option<f64>) -> Option<f64> {
    value(snapshot)
}

/// A counter of the broker, without labels, and of each topic.
macro_rules! broker_and_topics {
    ($name:literal, $documentation:literal, $own:literal, $field:ident) => {
        Family {
            name: $name,
            kind: Counter,
            labels: "topic",
            documentation: $documentation,
            steps: |snapshot| snapshot.topics.len() + 1,
            write: |snapshot, step, out| {
                if step == 0 {
                    return out.put(&[], snapshot.sample($own) as f64);
                }
                let row = &snapshot.topics[step - 1];
                if let Some(traffic) = row.traffic.as_deref() {
                    let traffic: &TopicTraffic = traffic;
                    out.put(&[("topic", &row.name)], traffic.$field.get() as f64);
                }
            },
        }
    };
}

macro_rules! topics {
    ($name:literal, $documentation:literal, $label:literal, $value:expr) => {
        Family {
            name: $name,
            kind: Gauge,
            labels: $label,
            documentation: $documentation,
            steps: |snapshot| snapshot.topics.len(),
            write: |snapshot, step, out| {
                let value: fn(&TopicRow) -> f64 = $value;
                out.put(&[($label, &snapshot.topics[step].name)], value(&snapshot.topics[step]));
            },
        }
    };
}

macro_rules! partitions {
    ($name:literal, $documentation:literal, $value:expr) => {
        Family {
            name: $name,
            kind: Gauge,
            labels: "topic,partition",
            documentation: $documentation,
            steps: |snapshot| snapshot.partitions.len(),
            write: |snapshot, step, out| {
                let value: fn(&PartitionRow) -> Option<f64> = $value;
                put_partition(&snapshot.partitions[step], value, out);
            },
        }
    };
}

fn put_partition(row: &PartitionRow, value: fn(&PartitionRow) -> Option<f64>, out: &mut Samples<'_>) {
    if let Some(value) = value(row) {
        out.put(&[("topic", &row.topic), ("partition", &row.partition)], value);
    }
}

/// As `partitions`, of what only the log here knows.
macro_rules! logs {
    ($name:literal, $documentation:literal, $value:expr) => {
        partitions!($name, $documentation, |row| {
            let value: fn(&LogRow, &PartitionRow) -> f64 = $value;
            row.log.as_ref().map(|log| value(log, row))
        })
    };
}

macro_rules! group_partitions {
    ($name:literal, $documentation:literal, $value:expr) => {
        Family {
            name: $name,
            kind: Gauge,
            labels: "consumergroup,topic,partition",
            documentation: $documentation,
            steps: |snapshot| snapshot.group_partitions.len(),
            write: |snapshot, step, out| {
                let value: fn(&GroupPartitionRow) -> Option<f64> = $value;
                let row = &snapshot.group_partitions[step];
                if let Some(value) = value(row) {
                    let labels: [Label<'_>; 3] =
                        [("consumergroup", &row.group), ("topic", &row.topic), ("partition", &row.partition)];
                    out.put(&labels, value);
                }
            },
        }
    };
}

macro_rules! group_topics {
    ($name:literal, $documentation:literal, $group:literal, $topic:literal, $value:expr) => {
        Family {
            name: $name,
            kind: Gauge,
            labels: concat!($group, ",", $topic),
            documentation: $documentation,
            steps: |snapshot| snapshot.group_topics.len(),
            write: |snapshot, step, out| {
                let value: fn(&GroupTopicRow) -> f64 = $value;
                let row = &snapshot.group_topics[step];
                out.put(&[($group, &row.group), ($topic, &row.topic)], value(row));
            },
        }
    };
}

/// A family of another shape.
macro_rules! family {
    ($kind:ident $name:literal [$labels:literal], $documentation:literal, $steps:expr, $write:expr) => {
        Family {
            name: $name,
            kind: $kind,
            labels: $labels,
            documentation: $documentation,
            steps: $steps,
            write: $write,
        }
    };
}

fn flag(holds: bool) -> Option<f64> {
    Some(f64::from(u8::from(holds)))
}

fn number(count: usize) -> Option<f64> {
    Some(count as f64)
}

/// Every family, in the order of a scrape.
pub(super) static FAMILIES: &[Family] = &[
    // kafka.server:type=BrokerTopicMetrics
    broker_and_topics!(
        "kafka_server_brokertopicmetrics_bytesin_total",
        "Bytes of record batches from producers.",
        "record_bytes_in_total",
        bytes_in
    ),
    broker_and_topics!(
        "kafka_server_brokertopicmetrics_bytesout_total",
        "Bytes of record batches to consumers.",
        "record_bytes_out_total",
        bytes_out
    ),
    broker_and_topics!(
        "kafka_server_brokertopicmetrics_messagesin_total",
        "Records from producers.",
        "records_in_total",
        messages_in
    ),
    broker_and_topics!(
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        "Partitions of produce requests.",
        "produced_partitions_total",
        produce_requests
    ),
    broker_and_topics!(
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        "Reads of a partition for consumers.",
        "fetched_partitions_total",
        fetch_requests
    ),
    broker_and_topics!(
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        "Batches of producers that were refused, for whatever reason.",
        "produce_errors_total",
        failed_produce_requests
    ),
    broker_and_topics!(
        "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        "Reads of a partition that were refused, for whatever reason.",
        "fetch_errors_total",
        failed_fetch_requests
    ),
    // kafka.server:type=ReplicaManager
    broker!(Gauge "kafka_server_replicamanager_leadercount", "Partitions that this broker leads.", |snapshot| number(snapshot.totals.leaders)),
    broker!(Gauge "kafka_server_replicamanager_partitioncount", "Partitions on this broker.", |snapshot| number(snapshot.totals.local)),
    broker!(Gauge "kafka_server_replicamanager_underreplicatedpartitions", "Partitions that this broker leads and that lack replicas in sync.", |snapshot| number(snapshot.totals.under_replicated)),
    broker!(Gauge "kafka_server_replicamanager_underminisrpartitioncount", "Partitions with fewer replicas in sync than min.insync.replicas.", |snapshot| number(snapshot.totals.under_min_in_sync)),
    broker!(Gauge "kafka_server_replicamanager_atminisrpartitioncount", "Partitions with as many replicas in sync as min.insync.replicas; never more than there are replicas.", |snapshot| number(snapshot.totals.at_min_in_sync)),
    broker!(Gauge "kafka_server_replicamanager_offlinereplicacount", "Partitions of this broker that cannot be served.", |snapshot| number(snapshot.totals.offline)),
    // kafka.controller
    broker!(Gauge "kafka_controller_kafkacontroller_activecontrollercount", "Whether this process is the active controller.", |_| Some(1.0)),
    broker!(Gauge "kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions without a leader.", |snapshot| number(snapshot.totals.without_leader)),
    broker!(Gauge "kafka_controller_kafkacontroller_preferredreplicaimbalancecount", "Partitions that another than the preferred replica leads.", |snapshot| number(snapshot.totals.not_preferred)),
    broker!(Gauge "kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.", |snapshot| number(snapshot.topics.len())),
    broker!(Gauge "kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.", |snapshot| number(snapshot.partitions.len())),
    broker!(Gauge "kafka_controller_kafkacontroller_activebrokercount", "Brokers that serve.", |snapshot| number(snapshot.image.cluster.unfenced_brokers().count())),
    broker!(Gauge "kafka_controller_kafkacontroller_fencedbrokercount", "Brokers that are registered and do not serve.", |snapshot| number(snapshot.image.cluster.brokers().values().filter(|broker| broker.fenced).count())),
    broker!(Counter "kafka_controller_controllerstats_uncleanleaderelections_total", "Leaders elected from replicas out of sync: none, as long as there is one broker.", |_| Some(0.0)),
    // kafka.server:type=raft-metrics, broker-metadata-metrics
    broker!(Gauge "kafka_server_raftmetrics_current_leader", "Who leads the metadata's log.", |snapshot| Some(f64::from(snapshot.node_id))),
    broker!(Gauge "kafka_server_raftmetrics_current_epoch", "The epoch of the last metadata record.", |snapshot| Some(f64::from(snapshot.image.provenance.last_contained_epoch))),
    broker!(Gauge "kafka_server_raftmetrics_high_watermark", "The offset behind the last committed metadata record.", |snapshot| Some((snapshot.image.provenance.last_contained_offset + 1) as f64)),
    broker!(Gauge "kafka_server_raftmetrics_log_end_offset", "The offset behind the last metadata record.", |snapshot| Some((snapshot.image.provenance.last_contained_offset + 1) as f64)),
    family!(Gauge "kafka_server_raftmetrics_current_state" ["current_state"], "The node's role in the metadata's quorum.", |_| 1, |_, _, out| out.put(&[("current_state", &"leader")], 1.0)),
    broker!(Gauge "kafka_server_raftmetrics_current_vote", "Whom the node voted for.", |snapshot| Some(f64::from(snapshot.node_id))),
    broker!(Gauge "kafka_server_raftmetrics_append_records_rate", "Metadata records a second, of the last five minutes or so.", |snapshot| Some(snapshot.metadata_rate)),
    broker!(Gauge "kafka_server_raftmetrics_fetch_records_rate", "Metadata records a second from another node: none, as long as there is one.", |_| Some(0.0)),
    broker!(Gauge "kafka_server_raftmetrics_commit_latency_avg", "Milliseconds that a change of the metadata takes to be written, on average since the start.", |snapshot| snapshot.commit_time.map(|time| time.as_secs_f64() * 1e3)),
    broker!(Gauge "kafka_server_raftmetrics_number_unknown_voter_connections", "Nodes of the quorum that cannot be reached: none, as long as there is one.", |_| Some(0.0)),
    broker!(Counter "kafka_server_raftchannelmetrics_incoming_byte_total", "Bytes from other nodes of the quorum: none, as long as there is one.", |_| Some(0.0)),
    broker!(Counter "kafka_server_raftchannelmetrics_outgoing_byte_total", "Bytes to other nodes of the quorum: none, as long as there is one.", |_| Some(0.0)),
    broker!(Counter "kafka_server_raftchannelmetrics_request_total", "Requests to other nodes of the quorum: none, as long as there is one.", |_| Some(0.0)),
    broker!(Counter "kafka_server_raftchannelmetrics_response_total", "Answers of other nodes of the quorum: none, as long as there is one.", |_| Some(0.0)),
    broker!(Gauge "kafka_server_brokermetadatametrics_last_applied_record_offset", "The last metadata record that the broker works with.", |snapshot| Some(snapshot.image.provenance.last_contained_offset as f64)),
    broker!(Gauge "kafka_server_brokermetadatametrics_last_applied_record_timestamp", "When it was written, milliseconds since 1970.", |snapshot| Some(snapshot.image.provenance.last_contained_timestamp as f64)),
    // kafka.network, kafka.server:type=KafkaRequestHandlerPool, socket-server-metrics
    broker!(Gauge "kafka_network_socketserver_networkprocessoravgidle_percent", "The share of time that the threads had nothing to do, 0 to 1. The same threads read, handle and answer.", |snapshot| snapshot.idle),
    broker!(Gauge "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", "As kafka_network_socketserver_networkprocessoravgidle_percent.", |snapshot| snapshot.idle),
    broker!(Gauge "kafka_network_socketserver_memorypoolavailable", "Bytes left of ottla.memory.bytes.", |snapshot| (snapshot.memory.0 < usize::MAX).then(|| snapshot.memory.0.saturating_sub(snapshot.memory.1) as f64)),
    broker!(Gauge "kafka_network_socketserver_memorypoolused", "Bytes of ottla.memory.bytes that requests, answers and work take.", |snapshot| number(snapshot.memory.1)),
    family!(Gauge "kafka_server_socket_server_metrics_connection_count" ["listener,networkProcessor"], "Open connections.", |snapshot| snapshot.listeners.len(), |snapshot, step, out| {
        let listener = &snapshot.listeners[step];
        out.put(&[("listener", &listener.name), ("networkProcessor", &0)], listener.connections() as f64);
    }),
    family!(Counter "kafka_server_socket_server_metrics_connection_creation_total" ["listener,networkProcessor"], "Connections accepted.", |snapshot| snapshot.listeners.len(), |snapshot, step, out| {
        let listener = &snapshot.listeners[step];
        out.put(&[("listener", &listener.name), ("networkProcessor", &0)], listener.accepted.get() as f64);
    }),
    family!(Counter "kafka_server_socket_server_metrics_connection_close_total" ["listener,networkProcessor"], "Connections that ended.", |snapshot| snapshot.listeners.len(), |snapshot, step, out| {
        let listener = &snapshot.listeners[step];
        out.put(&[("listener", &listener.name), ("networkProcessor", &0)], listener.closed.get() as f64);
    }),
    family!(Gauge "kafka_server_socket_server_metrics_connection_creation_rate" ["listener,networkProcessor"], "Connections accepted per second, since the start.", |snapshot| snapshot.listeners.len(), |snapshot, step, out| {
        let listener = &snapshot.listeners[step];
        let rate = listener.accepted.get() as f64 / snapshot.uptime.as_secs_f64().max(1.0);
        out.put(&[("listener", &listener.name), ("networkProcessor", &0)], rate);
    }),
    // kafka.network:type=RequestMetrics
    family!(Counter "kafka_network_requestmetrics_requests_total" ["request,version"], "Requests that were answered.", |snapshot| snapshot.request_versions.len(), |snapshot, step, out| {
        let (name, version, count) = snapshot.request_versions[step];
        out.put(&[("request", &name), ("version", &version)], count as f64);
    }),
    family!(Gauge "kafka_network_requestmetrics_totaltimems" ["request,quantile"], "Milliseconds from the whole request to its answer, waiting for records or acknowledgements included: quantiles of the last five minutes or so.", |snapshot| snapshot.requests.len(), |snapshot, step, out| {
        let row = &snapshot.requests[step];
        for (label, share) in QUANTILES {
            out.put(&[("request", &row.name), ("quantile", &label)], row.recent.quantile(share));
        }
    }),
    family!(Counter "kafka_network_requestmetrics_totaltimems_count" ["request"], "Requests that were timed.", |snapshot| snapshot.requests.len(), |snapshot, step, out| {
        let row = &snapshot.requests[step];
        out.put(&[("request", &row.name)], row.all.count() as f64);
    }),
    family!(Histogram "ottla_request_duration_seconds" ["request,le"], "Time from the whole request to its answer, waiting for records or acknowledgements included.", |snapshot| snapshot.requests.len(), put_histogram),
    // Requests that wait, fetch sessions
    family!(Gauge "kafka_server_delayedoperationpurgatory_purgatorysize" ["delayedOperation"], "Requests that wait: for acknowledgements, for records.", |_| 2, |snapshot, step, out| {
        let (label, own) = [("Produce", "produces_waiting"), ("Fetch", "fetches_waiting")][step];
        out.put(&[("delayedOperation", &label)], snapshot.sample(own) as f64);
    }),
    broker!(Gauge "kafka_server_fetchsessioncache_numincrementalfetchsessions", "Incremental fetch sessions.", |snapshot| number(snapshot.fetch_sessions)),
    // kafka.log
    broker!(Gauge "kafka_log_logmanager_offlinelogdirectorycount", "Log directories that failed.", |snapshot| number(snapshot.log_directories.iter().filter(|(_, is_offline)| *is_offline).count())),
    family!(Gauge "kafka_log_logmanager_logdirectoryoffline" ["logDirectory"], "Whether a log directory failed.", |snapshot| snapshot.log_directories.len(), |snapshot, step, out| {
        let (path, is_offline) = &snapshot.log_directories[step];
        out.put(&[("logDirectory", path)], f64::from(u8::from(*is_offline)));
    }),
    logs!("kafka_log_log_size", "Bytes of the log.", |log, _| log.bytes as f64),
    logs!("kafka_log_log_numlogsegments", "Segments of the log.", |log, _| log.segments as f64),
    logs!("kafka_log_log_logstartoffset", "The first offset of the log.", |log, _| log.start_offset as f64),
    logs!("kafka_log_log_logendoffset", "The offset of the next record.", |log, _| log.end_offset as f64),
    // kafka.cluster:type=Partition
    partitions!("kafka_cluster_partition_replicascount", "Replicas.", |row| number(row.replicas)),
    partitions!("kafka_cluster_partition_insyncreplicascount", "Replicas in sync.", |row| number(row.in_sync)),
    partitions!("kafka_cluster_partition_underreplicated", "Whether replicas are out of sync.", |row| flag(
        row.is_under_replicated()
    )),
    logs!(
        "kafka_cluster_partition_underminisr",
        "Whether there are fewer replicas in sync than min.insync.replicas; never more than there are replicas.",
        |log, row| f64::from(u8::from(row.in_sync < log.min_in_sync))
    ),
    logs!(
        "kafka_cluster_partition_atminisr",
        "Whether there are as many replicas in sync as min.insync.replicas.",
        |log, row| f64::from(u8::from(row.in_sync == log.min_in_sync))
    ),
    logs!(
        "kafka_cluster_partition_laststableoffsetlag",
        "Records that an open transaction hides from read_committed consumers.",
        |log, _| (log.high_watermark - log.last_stable_offset).max(0) as f64
    ),
    // kafka.coordinator.group:type=GroupMetadataManager
    broker!(Gauge "kafka_coordinator_group_groupmetadatamanager_numgroups", "Groups.", |snapshot| number(snapshot.groups.len())),
    broker!(Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupsstable", "Groups whose members have their assignment.", |snapshot| number(snapshot.groups_in("Stable"))),
    broker!(Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance", "Groups that wait for members to join.", |snapshot| number(snapshot.groups_in("PreparingRebalance"))),
    broker!(Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance", "Groups that wait for the leader's assignment.", |snapshot| number(snapshot.groups_in("CompletingRebalance"))),
    broker!(Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "Groups without members.", |snapshot| number(snapshot.groups_in("Empty"))),
    broker!(Gauge "kafka_coordinator_group_groupmetadatamanager_numoffsets", "Committed offsets.", |snapshot| number(snapshot.group_partitions.len())),
    // kafka_exporter
    broker!(Gauge "kafka_brokers", "Brokers of the cluster.", |snapshot| number(snapshot.image.cluster.unfenced_brokers().count())),
    family!(Gauge "kafka_broker_info" ["id,address"], "A broker and where it is registered.", |snapshot| snapshot.image.cluster.brokers().len(), put_broker_info),
    topics!("kafka_topic_partitions", "Partitions of the topic.", "topic", |row| row.partitions as f64),
    logs!(
        "kafka_topic_partition_current_offset",
        "The high watermark: the offset behind the last record that consumers see.",
        |log, _| log.high_watermark as f64
    ),
    logs!(
        "kafka_topic_partition_oldest_offset",
        "The first offset that consumers can read.",
        |log, _| log.start_offset as f64
    ),
    partitions!("kafka_topic_partition_leader", "The broker that leads; -1 for none.", |row| Some(f64::from(
        row.leader
    ))),
    partitions!("kafka_topic_partition_leader_is_preferred", "Whether it is the first replica.", |row| flag(
        row.is_preferred
    )),
    partitions!("kafka_topic_partition_replicas", "Replicas.", |row| number(row.replicas)),
    partitions!("kafka_topic_partition_in_sync_replica", "Replicas in sync.", |row| number(row.in_sync)),
    partitions!("kafka_topic_partition_under_replicated_partition", "Whether replicas are out of sync.", |row| flag(
        row.is_under_replicated()
    )),
    family!(Gauge "kafka_consumergroup_members" ["consumergroup"], "Members of the group.", |snapshot| snapshot.groups.len(), |snapshot, step, out| {
        let group = &snapshot.groups[step];
        out.put(&[("consumergroup", &group.id)], group.members as f64);
    }),
    group_partitions!("kafka_consumergroup_current_offset", "The offset that the group has committed.", |row| Some(
        row.offset as f64
    )),
    group_topics!(
        "kafka_consumergroup_current_offset_sum",
        "The group's offsets of the topic, added up.",
        "consumergroup",
        "topic",
        |row| row.offset_sum as f64
    ),
    group_partitions!("kafka_consumergroup_lag", "Records behind the group's offset.", |row| row
        .lag
        .map(|lag| lag as f64)),
    group_topics!(
        "kafka_consumergroup_lag_sum",
        "Records behind the group's offsets of the topic, added up.",
        "consumergroup",
        "topic",
        |row| row.lag_sum as f64
    ),
    // kminion
    family!(Gauge "kminion_kafka_cluster_info" ["broker_count,cluster_id,cluster_version,controller_id"], "The cluster.", |_| 1, |snapshot, _, out| {
        let brokers = snapshot.image.cluster.brokers().len();
        let (cluster, version) = (&snapshot.cluster_id, concat!("ottla-", env!("CARGO_PKG_VERSION")));
        out.put(&[("broker_count", &brokers), ("cluster_id", cluster), ("cluster_version", &version), ("controller_id", &snapshot.node_id)], 1.0);
    }),
    family!(Gauge "kminion_kafka_topic_info" ["topic_name,partition_count,replication_factor,cleanup_policy"], "A topic.", |snapshot| snapshot.topics.len(), |snapshot, step, out| {
        let row = &snapshot.topics[step];
        out.put(&[("topic_name", &row.name), ("partition_count", &row.partitions), ("replication_factor", &row.replication_factor), ("cleanup_policy", &row.cleanup_policy)], 1.0);
    }),
    topics!(
        "kminion_kafka_topic_log_dir_size_total_bytes",
        "Bytes of the topic's logs.",
        "topic_name",
        |row| row.bytes as f64
    ),
    family!(Gauge "kminion_kafka_consumer_group_info" ["group_id,protocol,state,coordinator_id"], "A group.", |snapshot| snapshot.groups.len(), |snapshot, step, out| {
        let row = &snapshot.groups[step];
        let protocol = row.protocol.as_deref().unwrap_or_default();
        out.put(&[("group_id", &row.id), ("protocol", &protocol), ("state", &row.state), ("coordinator_id", &row.coordinator)], 1.0);
    }),
    group_topics!(
        "kminion_kafka_consumer_group_topic_lag",
        "Records behind the group's offsets of the topic, added up.",
        "group_id",
        "topic_name",
        |row| row.lag_sum as f64
    ),
    // The process
    broker!(Gauge "kafka_server_kafkaserver_linux_disk_read_bytes", "Bytes that the process has had read from disks.", |snapshot| Some(snapshot.process?.disk_bytes?.0 as f64)),
    broker!(Gauge "kafka_server_kafkaserver_linux_disk_write_bytes", "Bytes that the process has had written to disks.", |snapshot| Some(snapshot.process?.disk_bytes?.1 as f64)),
    broker!(Counter "process_cpu_seconds_total", "CPU time of the process, in seconds.", |snapshot| snapshot.process.map(|process| process.cpu.as_secs_f64())),
    broker!(Gauge "process_resident_memory_bytes", "Memory of the process that is resident.", |snapshot| snapshot.process.map(|process| process.resident_bytes as f64)),
    broker!(Gauge "process_virtual_memory_bytes", "Address space of the process.", |snapshot| snapshot.process.map(|process| process.virtual_bytes as f64)),
    broker!(Gauge "process_open_fds", "Files and sockets that are open.", |snapshot| snapshot.process.map(|process| process.open_files as f64)),
    broker!(Gauge "process_max_fds", "Files and sockets that may be open.", |snapshot| snapshot.max_open_files.map(|limit| limit as f64)),
    broker!(Gauge "process_threads", "Threads of the process.", |snapshot| snapshot.process.map(|process| process.threads as f64)),
    broker!(Gauge "process_start_time_seconds", "When the process began, seconds since 1970.", |snapshot| snapshot.process.map(|process| process.started.as_secs_f64())),
    family!(Gauge "ottla_build_info" ["version"], "The release.", |_| 1, |_, _, out| out.put(&[("version", &env!("CARGO_PKG_VERSION"))], 1.0)),
    broker!(Gauge "ottla_time_seconds", "The broker's clock, seconds since 1970.", |snapshot| Some(snapshot.wall_millis as f64 / 1e3)),
];

fn put_histogram(snapshot: &Snapshot, step: usize, out: &mut Samples<'_>) {
    let row = &snapshot.requests[step];
    for (label, microseconds) in BOUNDS {
        out.put_as("_bucket", &[("request", &row.name), ("le", &label)], row.all.at_most(microseconds) as f64);
    }
    let count = row.all.count() as f64;
    out.put_as("_bucket", &[("request", &row.name), ("le", &"+Inf")], count);
    out.put_as("_sum", &[("request", &row.name)], row.all.seconds());
    out.put_as("_count", &[("request", &row.name)], count);
}

fn put_broker_info(snapshot: &Snapshot, step: usize, out: &mut Samples<'_>) {
    let Some(broker) = snapshot.image.cluster.brokers().values().nth(step) else { return };
    if let Some(endpoint) = broker.endpoints.first() {
        let address = format!("{}:{}", endpoint.host, endpoint.port);
        out.put(&[("id", &broker.id), ("address", &address)], 1.0);
    }
}

/// The table of all metrics as Markdown, for `ottla --list-metrics`.
pub fn render_markdown() -> String {
    let mut text = String::from("| metric | kind | labels | what it is |\n|---|---|---|---|\n");
    for family in FAMILIES {
        let labels = family.labels.replace(',', ", ");
        text += &format!("| {} | {} | {labels} | {} |\n", family.name, family.kind.name(), family.documentation);
    }
    for sample in Metrics::default().samples() {
        let kind = format!("{:?}", sample.kind).to_lowercase();
        text += &format!("| ottla_{} | {kind} |  | {} |\n", sample.name, sample.documentation);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_family_is_named_once_and_documented() {
        let own = Metrics::default().samples();
        let mut seen: BTreeSet<String> = own.iter().map(|sample| format!("ottla_{}", sample.name)).collect();
        for family in FAMILIES {
            assert!(seen.insert(family.name.to_owned()), "{} twice", family.name);
            assert!(family.documentation.ends_with('.'), "{}", family.name);
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(family.name.bytes().all(is_plain), "{}", family.name);
            let rises = family.name.ends_with("_total") || family.name.ends_with("_count");
            let exceptions = ["kafka_server_socket_server_metrics_connection_count"];
            assert_eq!(rises && !exceptions.contains(&family.name), family.kind == Counter, "{}", family.name);
        }
        // Those that read them by name.
        let text = render_markdown();
        for name in ["produces_waiting", "fetches_waiting", "record_bytes_in_total", "fetch_errors_total"] {
            assert!(text.contains(&format!("| ottla_{name} |")), "{name}");
        }
        assert_eq!(text.lines().count(), seen.len() + 2);
    }
}
