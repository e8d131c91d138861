//! What tools ask: DescribeTransactions and ListTransactions (KIP-664, KIP-994, KIP-1152).

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState as DescribedTransaction};
use kafka_protocol::messages::list_transactions_response::TransactionState as ListedTransaction;
use kafka_protocol::messages::{ListTransactionsRequest, ProducerId, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use super::metadata::TransactionMetadata;
use super::shard::TransactionShard;
use super::state::TransactionState;
use crate::types::java_pattern::JavaPattern;

/// Memory for the automaton of a request's pattern, and for making it, bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Describes one id; its name is the caller's to fill in. `None` when there is no such id.
pub fn describe(shard: &TransactionShard, transactional_id: &str) -> Option<DescribedTransaction> {
    let metadata = shard.transaction(transactional_id)?;
    let mut topics: Vec<TopicData> = Vec::new();
    for partition in shard.partitions(transactional_id) {
        match topics.last_mut() {
            Some(topic) if topic.topic.as_str() == &*partition.topic => topic.partitions.push(partition.partition),
            _ => {
                let topic = TopicData::default().with_topic(TopicName(string(&partition.topic)));
                topics.push(topic.with_partitions(vec![partition.partition]));
            }
        }
    }
    let described = DescribedTransaction::default()
        .with_transaction_state(StrBytes::from_static_str(metadata.state.name()))
        .with_transaction_timeout_ms(metadata.timeout_ms)
        .with_transaction_start_time_ms(metadata.start_ms)
        .with_producer_id(ProducerId(metadata.producer_id))
        .with_producer_epoch(metadata.producer_epoch)
        .with_topics(topics);
    Some(described)
}

/// Which transactions are listed.
pub struct ListFilter {
    now_ms: i64,
    producer_ids: BTreeSet<i64>,
    has_states: bool,
    states: Vec<TransactionState>,
    unknown_states: Vec<StrBytes>,
    duration_ms: i64,
    pattern: Option<JavaPattern>,
}

impl ListFilter {
    /// What the request asks for; empty filters let everything through.
    pub fn new(request: &ListTransactionsRequest, now_ms: i64) -> Result<Self, ResponseError> {
        let pattern = request.transactional_id_pattern.as_ref().filter(|pattern| !pattern.is_empty());
        let names: BTreeSet<&str> = request.state_filters.iter().map(StrBytes::as_str).collect();
        let is_known = |name: &&str| TransactionState::is_known_name(name);
        Ok(Self {
            now_ms,
            producer_ids: request.producer_id_filters.iter().map(|id| id.0).collect(),
            has_states: !names.is_empty(),
            states: TransactionState::ALL.into_iter().filter(|state| names.contains(state.name())).collect(),
            unknown_states: names.into_iter().filter(|name| !is_known(name)).map(string).collect(),
            duration_ms: request.duration_filter,
            pattern: pattern.map(|pattern| read_pattern(pattern)).transpose()?,
        })
    }

    /// The names in the filter that are no states.
    pub fn into_unknown_states(self) -> Vec<StrBytes> {
        self.unknown_states
    }

    /// The shard's transactions that pass.
    pub fn select(&self, shard: &TransactionShard) -> Vec<ListedTransaction> {
        let selected = shard.transactions().filter(|(id, metadata)| self.passes(id, metadata));
        let listed = selected.map(|(id, metadata)| {
            ListedTransaction::default()
                .with_transactional_id(TransactionalId(string(id)))
                .with_producer_id(ProducerId(metadata.producer_id))
                .with_transaction_state(StrBytes::from_static_str(metadata.state.name()))
        });
        listed.collect()
    }

    fn passes(&self, transactional_id: &str, metadata: &TransactionMetadata) -> bool {
        (self.producer_ids.is_empty() || self.producer_ids.contains(&metadata.producer_id))
            && (!self.has_states || self.states.contains(&metadata.state))
            // As in Kafka, an id without a transaction counts as having had one forever.
            && (self.duration_ms < 0 || self.now_ms.saturating_sub(metadata.start_ms) > self.duration_ms)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(transactional_id))
    }
}

/// The pattern that a whole transactional id must match (KIP-1152).
fn read_pattern(pattern: &str) -> Result<JavaPattern, ResponseError> {
    JavaPattern::new(pattern, PATTERN_BYTES_MAX).map_err(|error| {
        tracing::info!(pattern, %error, "refused the pattern of a ListTransactions request");
        ResponseError::InvalidRegularExpression
    })
}

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
