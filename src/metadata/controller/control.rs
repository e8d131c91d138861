//! What the `*_control` parts have in common: what they are given and what they give back (`ControllerResult`).

use super::super::image::MetadataImage;
use super::super::records::MetadataRecord;
use crate::config::BrokerConfig;
use crate::env::Random;

/// What a command decides from, besides its request.
#[derive(Clone, Copy)]
pub struct ControlContext<'a> {
    /// The metadata before the command.
    pub image: &'a MetadataImage,
    /// For topic ids and the start of a placement.
    pub random: &'a dyn Random,
    /// The broker's configuration: defaults of new topics.
    pub config: &'a BrokerConfig,
    /// The broker that takes the request: dynamic broker configurations can be changed on itself only.
    pub node_id: i32,
}

/// What a command decided: the answer, and the records that bring it about. All records of a command are one batch:
/// all or none of them are in the log after a crash.
#[derive(Clone, Debug)]
pub struct ControlResult<R> {
    /// The answer to give once the records are durable and replayed.
    pub response: R,
    /// What to write.
    pub records: Vec<MetadataRecord>,
}

impl<R> ControlResult<R> {
    /// An answer that changes nothing.
    pub fn unchanged(response: R) -> Self {
        Self { response, records: Vec::new() }
    }

    /// The same answer without its records, for `validate_only`.
    pub fn without_records_if(mut self, validate_only: bool) -> Self {
        if validate_only {
            self.records.clear();
        }
        self
    }
}
