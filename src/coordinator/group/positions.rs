//! Where all groups are, for metrics.

use std::sync::Arc;

use super::coordinator::GroupCoordinator;
use crate::coordinator::runtime::Answered;

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPosition {
    /// Its id.
    pub group_id: Arc<str>,
    /// Kafka's name of its state.
    pub state: &'static str,
    /// How its members share partitions out; none without members.
    pub protocol: Option<Arc<str>>,
    /// Number of members.
    pub members: usize,
    /// Topic, partition and committed offset, by topic and partition.
    pub offsets: Vec<(Arc<str>, i32, i64)>,
}

impl GroupCoordinator {
    /// Every group of this broker, one after the other: a shard's lock is held for one group at a time, so that commits do
    /// not wait for a scrape. Groups of shards that are loading are left out, and so are groups that go meanwhile.
    pub fn for_each_group(&self, mut take: impl FnMut(GroupPosition)) {
        for shard in self.shards() {
            let ids: Vec<Arc<str>> = match shard.read(|state| state.groups().map(|(id, _)| id.clone()).collect()) {
                Ok(ids) => ids.into_uncommitted(),
                Err(_) => continue,
            };
            for group_id in ids {
                let position = shard.read(|state| {
                    let group = state.group(&group_id)?;
                    let offsets = state.offsets().of_group(&group_id);
                    Some(GroupPosition {
                        group_id: group_id.clone(),
                        state: group.state().name(),
                        protocol: group.protocol().cloned(),
                        members: group.members().len(),
                        offsets: offsets.map(|(topic, number, at)| (topic.clone(), number, at.offset)).collect(),
                    })
                });
                if let Ok(Some(position)) = position.map(Answered::into_uncommitted) {
                    take(position);
                }
            }
        }
    }
}
