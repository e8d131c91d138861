//! Who hears of new images (`org.apache.kafka.image.publisher.MetadataPublisher`).

use std::sync::Arc;

use super::delta::MetadataDelta;
use super::image::MetadataImage;

/// A room above that follows the metadata.
pub trait MetadataPublisher: Send + Sync {
    /// Called for every new image, in order, on the thread that ran the command and before the command answers, so
    /// that a topic whose creation was answered is served. The first call, from `Controller::subscribe`, brings a delta
    /// from the empty image. Must not call the controller, must not wait, and should be short.
    fn on_metadata_update(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>);
}
