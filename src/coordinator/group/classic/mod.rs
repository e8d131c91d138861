//! A classic group and its rules (Kafka's `ClassicGroup` and the classic half of `GroupMetadataManager`).
//!
//! Everything here is a pure function of the group, the request and the time in `Step`; what follows is noted in `Step`.

mod group;
mod heartbeat;
mod join;
mod leave;
mod member;
mod member_memory;
mod rebalance;
mod sync;

pub use group::{ClassicGroup, ClassicGroupState, join_error, sync_error};
pub use join::Join;
pub use member_memory::MemberMemory;
