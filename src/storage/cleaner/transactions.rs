//! Which transactions the cleaner is in the middle of (`CleanedTransactionMetadata`): records of aborted ones go at once, and a marker only
//! when it has seen no record of its transaction any more.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::record::{BatchHeader, ControlRecordType, RecordError, control_record_type, records};
use crate::storage::transaction_index::AbortedEntry;

/// Markers are tiny; a control batch that unpacks to more is not one.
const CONTROL_BATCH_LIMIT: usize = 64 << 10;

/// An aborted transaction, sorted by where it begins.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ByFirstOffset(AbortedEntry);

impl Ord for ByFirstOffset {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |entry: &AbortedEntry| (entry.first_offset, entry.last_offset, entry.producer_id);
        key(&self.0).cmp(&key(&other.0))
    }
}

impl PartialOrd for ByFirstOffset {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct OngoingAborted {
    transaction: AbortedEntry,
    has_batches: bool,
}

/// The transactions between their first batch and their marker, as the cleaner walks along the log.
#[derive(Default)]
pub(super) struct TransactionTracker {
    committed: HashSet<i64>,
    aborted: HashMap<i64, OngoingAborted>,
    /// Aborted transactions that begin further on.
    coming: BinaryHeap<Reverse<ByFirstOffset>>,
    /// Aborted transactions whose marker stays, for the index of the cleaned segment.
    retained: Vec<AbortedEntry>,
}

impl TransactionTracker {
    /// Adds the aborted transactions that touch the part of the log which comes next.
    pub(super) fn add_aborted(&mut self, transactions: impl IntoIterator<Item = AbortedEntry>) {
        self.coming.extend(transactions.into_iter().map(|entry| Reverse(ByFirstOffset(entry))));
    }

    /// The aborted transactions whose markers were kept since the last call.
    pub(super) fn take_retained(&mut self) -> Vec<AbortedEntry> {
        std::mem::take(&mut self.retained)
    }

    /// Notes a batch; whether nothing in it is needed: it is of an aborted transaction, or a marker without data.
    pub(super) fn can_discard(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<bool, RecordError> {
        self.begin_up_to(header.last_offset());
        if header.is_control() { self.on_control_batch(header, batch) } else { Ok(self.on_batch(header)) }
    }

    fn begin_up_to(&mut self, offset: i64) {
        while self.coming.peek().is_some_and(|Reverse(next)| next.0.first_offset <= offset) {
            let Some(Reverse(ByFirstOffset(transaction))) = self.coming.pop() else { return };
            let ongoing = OngoingAborted { transaction, has_batches: false };
            self.aborted.entry(transaction.producer_id).or_insert(ongoing);
        }
    }

    fn on_control_batch(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<bool, RecordError> {
        let records = records(batch, CONTROL_BATCH_LIMIT)?;
        // An empty control batch was cleaned before.
        let Some(record) = records.iter().next() else { return Ok(true) };
        match record?.key.and_then(control_record_type) {
            Some(ControlRecordType::Abort) => match self.aborted.remove(&header.producer_id) {
                Some(ongoing) if ongoing.has_batches => {
                    self.retained.push(ongoing.transaction);
                    Ok(false)
                }
                _ => Ok(true),
            },
            Some(ControlRecordType::Commit) => Ok(!self.committed.remove(&header.producer_id)),
            _ => Ok(false),
        }
    }

    fn on_batch(&mut self, header: &BatchHeader) -> bool {
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some(ongoing) => {
                ongoing.has_batches = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchProperties, end_transaction_marker, patch_offset_and_epoch};

    fn aborted(producer_id: i64, first_offset: i64, last_offset: i64) -> AbortedEntry {
        AbortedEntry::new(producer_id, first_offset, last_offset, last_offset + 1)
    }

    fn see(tracker: &mut TransactionTracker, batch: &[u8]) -> bool {
        tracker.can_discard(&BatchHeader::parse(batch).unwrap(), batch).unwrap()
    }

    fn data(producer_id: i64, base_offset: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchProperties {
            base_offset,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            is_transactional: true,
            ..BatchProperties::default()
        });
        builder.append(1, Some(b"k"), Some(b"v"), &[]).unwrap();
        builder.build().to_vec()
    }

    fn marker(commit: bool, producer_id: i64, offset: i64) -> Vec<u8> {
        let mut batch = end_transaction_marker(commit, 1, producer_id, 0, 0).to_vec();
        patch_offset_and_epoch(&mut batch, offset, 0);
        batch
    }

    #[test]
    fn aborted_data_goes_and_its_marker_stays_until_it_is_gone() {
        let mut tracker = TransactionTracker::default();
        tracker.add_aborted([aborted(1, 10, 12)]);
        assert!(!see(&mut tracker, &data(1, 5)), "an earlier transaction of the same producer");
        assert!(!see(&mut tracker, &marker(true, 1, 6)));
        assert!(see(&mut tracker, &data(1, 10)));
        assert!(!see(&mut tracker, &data(2, 11)));
        assert!(!see(&mut tracker, &marker(false, 1, 12)));
        assert_eq!(tracker.take_retained(), [aborted(1, 10, 12)]);
        assert!(tracker.take_retained().is_empty());
        assert!(!see(&mut tracker, &data(1, 13)), "the next transaction is another one");
    }

    #[test]
    fn markers_without_data_can_go() {
        let mut tracker = TransactionTracker::default();
        tracker.add_aborted([aborted(1, 10, 12)]);
        assert!(see(&mut tracker, &marker(false, 1, 12)));
        assert!(see(&mut tracker, &marker(true, 3, 13)));
        assert!(see(&mut tracker, &marker(false, 4, 14)), "an abort that the index does not know had no data");
        assert!(tracker.take_retained().is_empty());
    }

    /// KAFKA-8351: a transaction may begin in one segment and end in another; both tell of it.
    #[test]
    fn k_8351_a_transaction_spans_segments() {
        let mut tracker = TransactionTracker::default();
        tracker.add_aborted([aborted(1, 10, 25)]);
        assert!(see(&mut tracker, &data(1, 10)));
        tracker.add_aborted([aborted(1, 10, 25)]);
        assert!(see(&mut tracker, &data(1, 20)));
        assert!(!see(&mut tracker, &marker(false, 1, 25)));
        assert!(!see(&mut tracker, &data(1, 26)));
    }

    #[test]
    fn empty_control_batches_can_go() {
        let mut header = BatchHeader::parse(&marker(true, 1, 9)).unwrap();
        header.record_count = 0;
        header.batch_length = 49;
        let mut tracker = TransactionTracker::default();
        assert!(see(&mut tracker, &data(1, 8)) || tracker.can_discard(&header, &header.encode()).unwrap());
    }
}
