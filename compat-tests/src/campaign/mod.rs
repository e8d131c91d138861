//! Campaigns: load, a fault, a restart, and a checker that says whether the log kept its promises. Again and again, with seeds.
//!
//! Every record carries who wrote it, where to, its number in that stream, and a checksum ([`Tag`]). [`Load`] writes with eight
//! librdkafka producers, four of them idempotent, and keeps every acknowledgement in a [`Ledger`]. A [`Follower`] reads along through
//! all restarts; [`compacted`] reads logs that lose records by design. [`Process`] is the broker. A finding is a string in
//! [`Findings`]; one is enough to fail a campaign, and the data directory stays for a look.

pub mod compacted;
mod findings;
mod follower;
mod groups;
mod ledger;
mod load;
mod loop_disk;
mod process;
mod random;
mod tag;
mod topics;

pub use findings::Findings;
pub use follower::{Follower, reread, watermarks};
pub use groups::{Committers, committed_offset};
pub use ledger::{Ack, Ledger};
pub use load::{IDEMPOTENT_WRITERS, Load, LoadPlan, WRITERS};
pub use loop_disk::{FileSystem, LoopDisk};
pub use process::Process;
pub use random::Random;
pub use tag::Tag;
pub use topics::{Kind, Place, Topic, TopicCreator, TopicTurnover, existing_topics};
