//! What one decision collects.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};

use super::config::GroupCoordinatorConfig;
use super::record::GroupRecord;
use super::shard::GroupShard;
use crate::coordinator::runtime::{Decision, Effect, Ticket};

/// Names a timer of a shard of groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupTimer {
    /// A member's session, or the time that a pending or a new member has to come.
    Session {
        /// The group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
    },
    /// The end of a rebalance's join phase.
    Join(Arc<str>),
    /// The end of the time that members have to send SyncGroup.
    Sync(Arc<str>),
    /// The next search for expired offsets and empty groups.
    Expiration,
}

/// The answer to a request that was parked.
#[derive(Clone, Debug, PartialEq)]
pub enum Parked {
    /// To JoinGroup.
    Join(JoinGroupResponse),
    /// To SyncGroup.
    Sync(SyncGroupResponse),
}

/// Time and limits of one decision, and what follows from it so far.
#[derive(Debug)]
pub struct Step<'a> {
    /// Milliseconds since the epoch.
    pub now_ms: i64,
    /// Limits.
    pub config: &'a GroupCoordinatorConfig,
    /// What is to be written.
    pub records: Vec<GroupRecord>,
    /// What is to be done after that.
    pub effects: Vec<Effect<GroupShard>>,
}

impl<'a> Step<'a> {
    /// Nothing has followed yet.
    pub fn new(now_ms: i64, config: &'a GroupCoordinatorConfig) -> Self {
        Self { now_ms, config, records: Vec::new(), effects: Vec::new() }
    }

    /// Answers a parked JoinGroup.
    pub fn answer_join(&mut self, ticket: Ticket, response: JoinGroupResponse) {
        self.effects.push(Effect::Answer(ticket, Parked::Join(response)));
    }

    /// Answers a parked SyncGroup.
    pub fn answer_sync(&mut self, ticket: Ticket, response: SyncGroupResponse) {
        self.effects.push(Effect::Answer(ticket, Parked::Sync(response)));
    }

    /// Sets a timer.
    pub fn schedule(&mut self, timer: GroupTimer, delay_ms: i64) {
        let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
        self.effects.push(Effect::Schedule(timer, delay));
    }

    /// Removes a timer.
    pub fn cancel(&mut self, timer: GroupTimer) {
        self.effects.push(Effect::Cancel(timer));
    }

    /// The decision.
    pub fn decide<R>(self, response: R) -> Decision<GroupShard, R> {
        Decision { response, records: self.records, effects: self.effects, divisible: false, again: false }
    }
}
