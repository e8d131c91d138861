//! AddOffsetsToTxn (key 25): the offsets of a group are going to be part of a transaction
//! (`KafkaApis.handleAddOffsetsToTxnRequest`, KIP-98).

use std::sync::Arc;

use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::error_mapping::fenced_producer;
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::types::{GROUP_METADATA_TOPIC_NAME, TopicPartition, TransactionVersion};

/// First version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_VERSION: i16 = 2;

/// Adds the group's partition of `__consumer_offsets`. Clients of transaction.version 2 do not send this.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: AddOffsetsToTxnRequest,
) -> Answer<AddOffsetsToTxnResponse> {
    let knows_fenced = context.api_version >= PRODUCER_FENCED_VERSION;
    let partition = TopicPartition::new(GROUP_METADATA_TOPIC_NAME, services.groups.partition_for(&request.group_id));
    let added = services.transactions.add_partitions(
        &request.transactional_id,
        *request.producer_id,
        request.producer_epoch,
        &[partition],
        TransactionVersion::Tv0,
    );
    Answer::Later(Box::pin(async move {
        let error_code = added.await.err().map_or(0, |error| fenced_producer(error, knows_fenced).code());
        AddOffsetsToTxnResponse::default().with_error_code(error_code)
    }))
}
