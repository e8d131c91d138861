//! Gives out blocks of producer ids (`ProducerIdControlManager`). Blocks are never given out twice, so an id that a
//! crash wasted stays wasted.

use kafka_protocol::error::ResponseError;

use super::super::api_error::ApiError;
use super::super::image::PRODUCER_ID_BLOCK_SIZE;
use super::super::records;
use super::cluster_control::check_broker_epoch;
use super::control::{ControlContext, ControlResult};

/// A block of producer ids (`ProducerIdsBlock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdsBlock {
    /// The first id.
    pub first_producer_id: i64,
    /// How many ids.
    pub size: i32,
}

/// The next block, for a broker.
pub fn allocate(
    context: &ControlContext<'_>,
    broker_id: i32,
    broker_epoch: i64,
) -> ControlResult<Result<ProducerIdsBlock, ApiError>> {
    if let Err(error) = check_broker_epoch(&context.image.cluster, broker_id, broker_epoch) {
        return ControlResult::unchanged(Err(error));
    }
    let first_producer_id = context.image.producer_ids.next_producer_id;
    let Some(next_producer_id) = first_producer_id.checked_add(i64::from(PRODUCER_ID_BLOCK_SIZE)) else {
        let message = format!(
            "Exhausted all producerIds as the next block's end producerId has exceeded the int64 type limit: \
             {first_producer_id}"
        );
        return ControlResult::unchanged(Err(ApiError::new(ResponseError::UnknownServerError, message)));
    };
    ControlResult {
        response: Ok(ProducerIdsBlock { first_producer_id, size: PRODUCER_ID_BLOCK_SIZE }),
        records: vec![records::producer_ids(broker_id, broker_epoch, next_producer_id)],
    }
}
