//! What clients write to and read from a topic (`BrokerTopicMetrics`).

use super::Counter;

/// Counters of one topic since it came into this process. They go when the topic goes.
#[derive(Debug, Default)]
pub struct TopicTraffic {
    /// Bytes of batches appended for producers.
    pub bytes_in: Counter,
    /// Bytes of batches sent to consumers.
    pub bytes_out: Counter,
    /// Records appended for producers.
    pub messages_in: Counter,
    /// Partitions of produce requests, refused ones too.
    pub produce_requests: Counter,
    /// Reads of a partition for consumers.
    pub fetch_requests: Counter,
    /// Batches of producers that were refused.
    pub failed_produce_requests: Counter,
    /// Reads that were refused.
    pub failed_fetch_requests: Counter,
}
