//! First writes of transactions that are being verified with the coordinator (`VerificationStateEntry`, KIP-890). Kept in memory only,
//! under the log's lock: a leader that starts anew asks again.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::BatchHeader;
use crate::types::VerificationGuard;

/// Producers of one log that may be verified at a time. Anyone may ask with any producer id: beyond it the older half is forgotten,
/// and whose answer comes then is refused and asks again.
pub(super) const MAX_VERIFICATIONS: usize = 10_000;

/// Numbers are never used twice in a process: an answer to an old question fits no new one.
static NEXT_GUARD: AtomicU64 = AtomicU64::new(1);

/// One producer's verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verification {
    number: u64,
    /// When it began, in milliseconds since 1970.
    started_ms: i64,
    /// The lowest sequence that was tried in this epoch: a later batch must not get in before it.
    pub(super) lowest_sequence: i32,
    /// The epoch of the write that waits.
    pub(super) epoch: i16,
    /// Whether the producer speaks the protocol of `TransactionVersion::Tv2`.
    pub(super) supports_epoch_bump: bool,
}

impl Verification {
    pub(super) fn guard(&self) -> VerificationGuard {
        NonZeroU64::new(self.number).map_or(VerificationGuard::NONE, VerificationGuard::new)
    }
}

/// Whether a sequence comes before another of the same producer, which is near: sequences wrap from `i32::MAX` to 0.
pub(super) fn comes_before(sequence: i32, other: i32) -> bool {
    let distance = other.wrapping_sub(sequence) & i32::MAX;
    distance != 0 && distance < 1 << 30
}

/// The verifications of one log, by producer id.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    by_producer: HashMap<i64, Verification>,
}

impl Verifications {
    pub(super) fn get(&self, producer_id: i64) -> Option<&Verification> {
        self.by_producer.get(&producer_id)
    }

    /// Begins a verification, or joins the one under way: both get the same guard (`maybeCreateVerificationStateEntry`).
    pub(super) fn start(
        &mut self,
        producer_id: i64,
        epoch: i16,
        sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> VerificationGuard {
        if self.by_producer.len() >= MAX_VERIFICATIONS && !self.by_producer.contains_key(&producer_id) {
            self.forget_older_half();
        }
        let entry = self.by_producer.entry(producer_id).or_insert_with(|| Verification {
            number: NEXT_GUARD.fetch_add(1, Ordering::Relaxed),
            started_ms: now_ms,
            lowest_sequence: sequence,
            epoch,
            supports_epoch_bump,
        });
        if epoch == entry.epoch && comes_before(sequence, entry.lowest_sequence) {
            entry.lowest_sequence = sequence;
        } else if epoch > entry.epoch {
            (entry.epoch, entry.lowest_sequence) = (epoch, sequence);
        }
        entry.guard()
    }

    /// A transactional batch was written: either its transaction has a first offset now, or it has ended. Only the marker of a
    /// transaction that the producer has left already (its next one is being verified in the marker's epoch) ends no verification.
    pub(super) fn on_append(&mut self, header: &BatchHeader) {
        if !header.is_transactional() || self.by_producer.is_empty() {
            return;
        }
        let next_has_begun = self.get(header.producer_id).is_some_and(|entry| {
            entry.supports_epoch_bump && header.is_control() && header.producer_epoch == entry.epoch
        });
        if !next_has_begun {
            self.by_producer.remove(&header.producer_id);
        }
    }

    /// Forgets verifications that nothing came of.
    pub(super) fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_producer.retain(|_, entry| now_ms.saturating_sub(entry.started_ms) < expiration_ms);
        if self.by_producer.is_empty() {
            self.by_producer = HashMap::new();
        }
    }

    fn forget_older_half(&mut self) {
        let mut numbers: Vec<u64> = self.by_producer.values().map(|entry| entry.number).collect();
        let middle = numbers.len() / 2;
        let (_, median, _) = numbers.select_nth_unstable(middle);
        let median = *median;
        self.by_producer.retain(|_, entry| entry.number >= median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifications_keep_the_lowest_sequence_of_the_newest_epoch() {
        let mut verifications = Verifications::default();
        let guard = verifications.start(7, 2, 30, false, 0);
        assert!(!guard.is_none());
        assert_eq!(verifications.start(7, 2, 20, false, 0), guard);
        assert_eq!(verifications.start(7, 2, 25, false, 0), guard);
        // A zombie's sequence says nothing.
        assert_eq!(verifications.start(7, 1, 3, false, 0), guard);
        assert_eq!(verifications.get(7).map(|entry| (entry.epoch, entry.lowest_sequence)), Some((2, 20)));
        assert_eq!(verifications.start(7, 3, 40, false, 0), guard);
        assert_eq!(verifications.get(7).map(|entry| (entry.epoch, entry.lowest_sequence)), Some((3, 40)));
        assert_ne!(verifications.start(8, 2, 30, false, 0), guard);
    }

    #[test]
    fn verifications_are_bounded_and_expire() {
        let mut verifications = Verifications::default();
        for producer_id in 0..MAX_VERIFICATIONS as i64 + 10 {
            verifications.start(producer_id, 0, 0, true, producer_id);
        }
        assert!(verifications.by_producer.len() <= MAX_VERIFICATIONS / 2 + 11);
        assert!(verifications.get(0).is_none(), "the oldest go");
        assert!(verifications.get(MAX_VERIFICATIONS as i64 + 9).is_some());
        verifications.remove_expired(MAX_VERIFICATIONS as i64 + 9, 10);
        assert_eq!(verifications.by_producer.len(), 10);
    }
}
