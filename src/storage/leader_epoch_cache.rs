//! Which leader epoch began at which offset (`LeaderEpochFileCache`, KIP-101 and KIP-279).

use super::checkpoint::EpochEntry;

/// Stands for an epoch that nobody knows (`RecordBatch.NO_PARTITION_LEADER_EPOCH`).
const NO_EPOCH: i32 = -1;

/// The epochs of one log, ascending in epoch and in start offset. Its file is written by the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaderEpochCache {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochCache {
    pub(super) fn new(entries: Vec<EpochEntry>) -> Self {
        let mut cache = Self::default();
        for entry in entries {
            cache.assign(entry.epoch, entry.start_offset);
        }
        cache
    }

    pub(super) fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub(super) fn latest_epoch(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// Notes that `epoch` begins at `start_offset`; returns whether anything changed. Entries that contradict it go.
    pub(super) fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 {
            return false;
        }
        if self.entries.last().is_some_and(|last| last.epoch == epoch && last.start_offset <= start_offset) {
            return false;
        }
        while self.entries.last().is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// The largest known epoch not above `epoch` and the offset after its last record; (-1, -1) if there is none
    /// (`endOffsetFor`). Only -1 stands for no epoch: what is below it is older than all known.
    pub(super) fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> (i32, i64) {
        if epoch == NO_EPOCH {
            return (-1, -1);
        }
        if self.latest_epoch() == Some(epoch) {
            return (epoch, log_end_offset);
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let Some(higher) = self.entries.get(above) else {
            // Nobody asks for an epoch that this log has not seen, unless this replica is behind.
            return (-1, -1);
        };
        match above.checked_sub(1) {
            // Older than all known: the first epoch's start is where the asked one ended.
            None => (epoch, higher.start_offset),
            Some(index) => (self.entries[index].epoch, higher.start_offset),
        }
    }

    /// The epoch of the record at `offset`.
    pub(super) fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let above = self.entries.partition_point(|entry| entry.start_offset <= offset);
        above.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// Forgets epochs that begin at or after `end_offset`; returns whether anything changed.
    pub(super) fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end_offset);
        before != self.entries.len()
    }

    /// Forgets epochs that end at or before `start_offset`; the one that covers it begins there.
    pub(super) fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let above = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        let Some(covering) = above.checked_sub(1) else { return false };
        let changed = covering > 0 || self.entries[0].start_offset != start_offset;
        self.entries.drain(..covering);
        self.entries[0].start_offset = start_offset;
        changed
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        LeaderEpochCache::new(entries.iter().map(|&(epoch, start_offset)| EpochEntry { epoch, start_offset }).collect())
    }

    #[test]
    fn answers_end_offsets_as_kafka() {
        let cache = cache(&[(2, 10), (5, 20), (7, 20), (9, 35)]);
        // 5 began where 7 began: it wrote nothing and is forgotten.
        assert_eq!(cache.entries().len(), 3);
        assert_eq!(cache.end_offset_for(9, 50), (9, 50));
        assert_eq!(cache.end_offset_for(8, 50), (7, 35));
        assert_eq!(cache.end_offset_for(7, 50), (7, 35));
        assert_eq!(cache.end_offset_for(6, 50), (2, 20));
        assert_eq!(cache.end_offset_for(1, 50), (1, 10));
        assert_eq!(cache.end_offset_for(10, 50), (-1, -1));
        assert_eq!(cache.end_offset_for(-1, 50), (-1, -1));
        assert_eq!(cache.end_offset_for(-2, 50), (-2, 10));
        assert_eq!(LeaderEpochCache::default().end_offset_for(3, 0), (-1, -1));
    }

    #[test]
    fn assigns_and_truncates() {
        let mut cache = cache(&[(1, 0), (2, 10), (3, 20)]);
        assert!(!cache.assign(3, 25), "an epoch keeps its first offset");
        assert!(cache.assign(4, 15), "a lower start offset wins over newer entries");
        assert_eq!(cache.entries(), cache_entries(&[(1, 0), (2, 10), (4, 15)]));
        assert!(cache.truncate_from_end(15));
        assert!(!cache.truncate_from_end(15));
        assert_eq!(cache.latest_epoch(), Some(2));
        assert!(cache.truncate_from_start(12));
        assert_eq!(cache.entries(), cache_entries(&[(2, 12)]));
        assert!(!cache.truncate_from_start(12));
        assert_eq!(cache.epoch_for_offset(11), None);
        assert_eq!(cache.epoch_for_offset(12), Some(2));
    }

    fn cache_entries(entries: &[(i32, i64)]) -> Vec<EpochEntry> {
        entries.iter().map(|&(epoch, start_offset)| EpochEntry { epoch, start_offset }).collect()
    }
}
