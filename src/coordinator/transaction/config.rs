//! What can be configured of transactions.

use crate::config::BrokerConfig;

/// The transaction coordinator's configuration; Kafka's keys and defaults (`TransactionStateManagerConfig`,
/// `TransactionLogConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transactional.id.expiration.ms`: how long an id without a transaction is remembered.
    pub transactional_id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`: how often expired ids are looked for.
    pub remove_expired_interval_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`: how often timed-out transactions are looked for.
    pub abort_timed_out_interval_ms: i64,
    /// `transaction.max.timeout.ms`: the longest timeout a producer may ask for.
    pub max_timeout_ms: i32,
    /// `transaction.state.log.num.partitions`: partitions of `__transaction_state` when it is created.
    pub state_topic_partitions: i32,
}

impl TransactionConfig {
    /// What the broker is configured to.
    pub fn from_broker(broker: &BrokerConfig) -> Self {
        Self {
            transactional_id_expiration_ms: i64::from(broker.transactional_id_expiration_ms()),
            remove_expired_interval_ms: i64::from(broker.transaction_remove_expired_transaction_cleanup_interval_ms()),
            abort_timed_out_interval_ms: i64::from(
                broker.transaction_abort_timed_out_transaction_cleanup_interval_ms(),
            ),
            max_timeout_ms: broker.transaction_max_timeout_ms(),
            state_topic_partitions: broker.transaction_state_log_num_partitions(),
        }
    }
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            transactional_id_expiration_ms: 7 * 24 * 60 * 60 * 1000,
            remove_expired_interval_ms: 60 * 60 * 1000,
            abort_timed_out_interval_ms: 10_000,
            max_timeout_ms: 15 * 60 * 1000,
            state_topic_partitions: 50,
        }
    }
}
