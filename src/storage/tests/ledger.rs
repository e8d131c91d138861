//! What the clients of a log know: what they wrote, what was acknowledged, what was flushed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::record::{BatchHeader, BatchIterator, check_crc};
use crate::storage::log::parse_marker;
use crate::storage::{FetchIsolation, FileSlice, Log, StorageError, StorageResult};

/// A batch as it was written, or as it was found.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) header: BatchHeader,
    /// What the checksum covers, and it.
    pub(super) body: Arc<[u8]>,
    /// Of a marker: whether it commits.
    pub(super) commits: Option<bool>,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let header = &self.header;
        let (base, last, epoch) = (header.base_offset, header.last_offset(), header.partition_leader_epoch);
        write!(formatter, "{base}-{last} of epoch {epoch}")?;
        if header.has_producer_id() { write!(formatter, " by {}", header.producer_id) } else { Ok(()) }
    }
}

impl Written {
    pub(super) fn parse(batch: &[u8]) -> Self {
        let header = BatchHeader::parse(batch).unwrap();
        let marker = if header.is_control() { parse_marker(batch).unwrap() } else { None };
        Self { header, body: batch[16..].into(), commits: marker.map(|marker| marker.committed) }
    }
}

/// One log, from its creation to its deletion.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) topic_id: Uuid,
    /// What the log holds, also below its start.
    pub(super) chain: Vec<Written>,
    /// Whatever it held once.
    pub(super) every: Vec<Written>,
    pub(super) start: i64,
    /// The largest start it had: a crash brings back what stands before, without its epochs.
    pub(super) largest_start: i64,
    pub(super) end: i64,
    /// The records before it are durable.
    pub(super) flushed: i64,
    pub(super) epoch: i32,
    pub(super) deleted: bool,
    /// Its creation failed: it may be there.
    pub(super) maybe: bool,
    /// Whether the log itself, its directory, is durable.
    pub(super) durable: bool,
}

impl Ledger {
    pub(super) fn append(&mut self, batch: &[u8], base_offset: i64) {
        let mut written = Written::parse(batch);
        written.header.base_offset = base_offset;
        written.header.partition_leader_epoch = self.epoch;
        self.end = written.header.next_offset();
        self.chain.push(written.clone());
        self.every.push(written);
    }

    pub(super) fn truncate(&mut self, end: i64) {
        self.chain.retain(|written| written.header.last_offset() < end);
        self.end = end;
        self.flushed = self.flushed.min(end);
        self.start = self.start.min(end);
    }

    /// Where a truncation cuts so many batches; never below what was deleted.
    pub(super) fn cut_offset(&self, batches: usize) -> Option<i64> {
        let cut = self.chain.iter().rev().nth(batches - 1)?;
        let offset = cut.header.base_offset.max(self.start);
        self.chain.iter().any(|written| written.header.base_offset == offset).then_some(offset)
    }

    pub(super) fn set_start(&mut self, start: i64) {
        self.start = start;
        self.largest_start = self.largest_start.max(start);
    }

    pub(super) fn flush(&mut self) {
        self.flushed = self.end;
        self.durable = true;
    }

    /// A producer's epoch and next sequence.
    pub(super) fn producer(&self, producer_id: i64) -> (i16, i32) {
        let own = self.chain.iter().filter(|written| written.header.producer_id == producer_id);
        let (epoch, last_sequence) = last_of(own);
        (epoch.max(0), last_sequence + 1)
    }
}

/// Epoch and last sequence of a producer after its batches; markers have none and may raise the epoch, which begins anew.
fn last_of<'a>(own: impl Iterator<Item = &'a Written>) -> (i16, i32) {
    own.fold((-1, -1), |(epoch, sequence), written| {
        let header = &written.header;
        let sequence = if header.producer_epoch == epoch { sequence } else { -1 };
        (header.producer_epoch, if header.is_control() { sequence } else { header.last_sequence() })
    })
}

fn bytes_of(slice: &FileSlice) -> StorageResult<Vec<u8>> {
    slice.read().map_err(|error| StorageError::io("reading", "a slice".as_ref(), &error))
}

/// What a log shows after a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) chain: Vec<Written>,
    /// Producer, epoch, last sequence.
    pub(super) producers: Vec<(i64, i32, i32)>,
    pub(super) epochs: Vec<(i32, i64)>,
    /// Producer and first offset of open transactions.
    pub(super) open: Vec<(i64, i64)>,
    /// Producer, first offset and marker of aborted transactions whose marker is there.
    pub(super) aborted: Vec<(i64, i64, i64)>,
}

impl Found {
    /// Reads the whole log, and each batch by its own offset.
    pub(super) fn of(log: &Log) -> StorageResult<Self> {
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let mut chain = Vec::new();
        let mut offset = start;
        while offset < end {
            let info = log.read(offset, 1 << 20, FetchIsolation::LogEnd, true)?;
            let Some(slice) = info.records else { break };
            for batch in BatchIterator::new(&bytes_of(&slice)?) {
                let (header, batch) = batch.unwrap();
                check_crc(batch).unwrap();
                offset = header.next_offset();
                chain.push(Written::parse(batch));
            }
        }
        for written in &chain {
            let last_offset = written.header.last_offset();
            let info = log.read(last_offset, 1, FetchIsolation::LogEnd, true)?;
            let bytes = bytes_of(&info.records.expect("a batch at its own offset"))?;
            assert_eq!(Written::parse(&bytes), *written, "found by offset {last_offset}");
        }
        let known = log.active_producers();
        let producers = known.iter().map(|known| (known.producer_id, known.producer_epoch, known.last_sequence));
        let open = known.iter().map(|known| (known.producer_id, known.current_transaction_start_offset));
        let open: Vec<_> = open.filter(|(_, first)| *first >= 0).collect();
        let bound = open.iter().map(|(_, first)| (*first).max(start)).min().unwrap_or(end);
        assert!(log.last_stable_offset() <= bound.min(log.high_watermark()), "{open:?}");
        let aborted = log.all_aborted_transactions()?.into_iter().filter(|entry| entry.last_offset >= start);
        let aborted = aborted.map(|entry| (entry.producer_id, entry.first_offset, entry.last_offset)).collect();
        let epochs = log.epoch_entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect();
        Ok(Self { start, end, chain, producers: producers.collect(), epochs, open, aborted })
    }

    /// Compares a log after a crash with what was promised before and after the step that the crash fell into.
    pub(super) fn check(&self, before: &Ledger, after: &Ledger, killed: bool) {
        let bound = |ledger: &Ledger| if killed { ledger.end } else { ledger.flushed };
        let promised = bound(before).min(bound(after));
        assert!(self.end >= promised, "{promised} was promised, the log ends at {}", self.end);
        assert!(self.end <= before.end.max(after.end).max(self.chain_end(before, after)), "ends at {}", self.end);
        let start = before.start.max(after.start);
        assert!(self.start <= start || promised <= start, "the log starts at {}", self.start);
        let mut next = None;
        for written in &self.chain {
            let base = written.header.base_offset;
            // What was to be deleted may come back in parts.
            let may_gap = |next: i64| !killed && (next >= promised || base <= start);
            assert!(next.is_none_or(|next| next == base || may_gap(next)), "a gap before {base}");
            next = Some(written.header.next_offset());
            let known = if killed { &after.chain } else { &after.every };
            assert!(known.contains(written) || before.chain.contains(written), "{written:?} was never written");
        }
        assert!(
            next.is_none_or(|next| next == self.end || next >= promised && !killed),
            "{:?} but the log ends at {}",
            self.chain.last(),
            self.end
        );
        let in_both = before.chain.iter().filter(|written| after.chain.contains(written));
        for written in in_both.filter(|written| written.header.last_offset() < promised) {
            let header = &written.header;
            assert!(header.last_offset() < start || self.chain.contains(written), "{written:?} is lost");
        }
        self.check_producers(after, start);
        self.check_transactions();
        self.check_epochs(before.largest_start.max(after.largest_start));
    }

    /// Whether two starts on the same disk found the same. What is known of producers from below the start of the log may get lost with
    /// a snapshot (`check` sees to the rest).
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let same_log = |left: &Self, right: &Self| {
            (left.start, left.end, &left.chain, &left.epochs) == (right.start, right.end, &right.chain, &right.epochs)
        };
        if self.start == 0 { self == other } else { same_log(self, other) }
    }

    /// Where the batches that may have come back after a truncation end.
    fn chain_end(&self, before: &Ledger, after: &Ledger) -> i64 {
        let every = before.every.iter().chain(&after.every);
        every.map(|written| written.header.next_offset()).max().unwrap_or(0)
    }

    /// The state of the producers is what the batches say, and not less.
    fn check_producers(&self, ledger: &Ledger, start: i64) {
        for &(id, epoch, last_sequence) in &self.producers {
            let mut own = ledger.every.iter().filter(|written| {
                let header = &written.header;
                (header.producer_id, i32::from(header.producer_epoch), header.last_sequence())
                    == (id, epoch, last_sequence)
            });
            let known = own.any(|written| written.header.last_offset() < start || self.chain.contains(written));
            assert!(known, "producer {id} has sequence {last_sequence}, of a batch that is not there");
        }
        let mut with_producer = self.chain.iter().filter(|written| written.header.has_producer_id());
        while let Some(written) = with_producer.next_back().filter(|written| written.header.last_offset() >= start) {
            let header = &written.header;
            let own = || self.chain.iter().filter(|other| other.header.producer_id == header.producer_id);
            let (epoch, sequence) = last_of(own());
            let known = self.producers.iter().find(|(id, ..)| *id == header.producer_id);
            assert_eq!(known.map(|(_, epoch, _)| *epoch), Some(i32::from(epoch)), "producer of {written:?}");
            // What is below the start may have given the sequence before a marker of the same epoch.
            let only_markers = own().filter(|own| own.header.producer_epoch == epoch).all(|own| own.commits.is_some());
            if !only_markers {
                assert_eq!(known.map(|(.., sequence)| *sequence), Some(sequence), "producer of {written:?}");
            }
        }
    }

    /// Open and aborted transactions are what the batches say. Of one that may have begun below the start that is less certain.
    fn check_transactions(&self) {
        let mut began: BTreeMap<i64, (i64, bool)> = BTreeMap::new();
        let mut ended: BTreeSet<i64> = BTreeSet::new();
        let (mut certain, mut possible) = (BTreeSet::new(), BTreeSet::new());
        for written in self.chain.iter().filter(|written| written.header.is_transactional()) {
            let header = &written.header;
            let (id, offset) = (header.producer_id, header.last_offset());
            let Some(commits) = written.commits else {
                began.entry(id).or_insert((header.base_offset, self.start == 0 || ended.contains(&id)));
                continue;
            };
            let first = began.remove(&id);
            let is_first_end = ended.insert(id);
            match first {
                Some((first, true)) if !commits => drop(certain.insert((id, first, offset))),
                // It touches what is below the start, if it is not empty.
                Some((_, false)) if !commits => drop(possible.insert((id, offset))),
                None if !commits && is_first_end && self.start > 0 => drop(possible.insert((id, offset))),
                _ => {}
            }
        }
        let aborted: BTreeSet<_> = self.aborted.iter().copied().collect();
        let uncertain: BTreeSet<_> = aborted.difference(&certain).map(|(id, _, marker)| (*id, *marker)).collect();
        assert!(certain.is_subset(&aborted), "aborted {certain:?}, found {aborted:?}");
        assert!(uncertain.is_subset(&possible), "aborted {certain:?} and perhaps {possible:?}, found {aborted:?}");
        let open: BTreeMap<_, _> = self.open.iter().copied().collect();
        for (id, (first, is_certain)) in &began {
            let found = open.get(id);
            assert!(
                found.is_some_and(|found| found == first || !is_certain && found < first),
                "{id}: {first} {found:?}"
            );
        }
        for id in open.keys().filter(|id| !began.contains_key(id)) {
            assert!(self.start > 0 && !ended.contains(id), "producer {id} has no open transaction");
        }
    }

    fn check_epochs(&self, start: i64) {
        for written in self.chain.iter().filter(|written| written.header.last_offset() >= start) {
            let offset = written.header.base_offset.max(start);
            let epoch = self.epochs.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch);
            assert_eq!(epoch, Some(written.header.partition_leader_epoch), "{written:?} in {:?}", self.epochs);
        }
    }
}
