//! What the clients of a log know: what they wrote, what was acknowledged, what was flushed.

use std::sync::Arc;

use uuid::Uuid;

use crate::record::{BatchHeader, BatchIterator, check_crc};
use crate::storage::{FetchIsolation, FileSlice, Log, StorageError, StorageResult};

/// A batch as it was written, or as it was found.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) header: BatchHeader,
    /// What the checksum covers, and it.
    pub(super) body: Arc<[u8]>,
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
        Self { header: BatchHeader::parse(batch).unwrap(), body: batch[16..].into() }
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

    pub(super) fn next_sequence(&self, producer_id: i64) -> i32 {
        let last = self.chain.iter().rev().find(|written| written.header.producer_id == producer_id);
        last.map_or(0, |written| written.header.last_sequence() + 1)
    }
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
        let producers = log.active_producers().into_iter();
        let producers = producers.map(|known| (known.producer_id, known.producer_epoch, known.last_sequence)).collect();
        let epochs = log.epoch_entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect();
        Ok(Self { start, end, chain, producers, epochs })
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
        self.check_epochs(before.largest_start.max(after.largest_start));
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
            let last = self.chain.iter().rev().find(|other| other.header.producer_id == header.producer_id);
            let sequence = last.map(|last| last.header.last_sequence());
            let known = self.producers.iter().find(|(id, ..)| *id == header.producer_id);
            assert_eq!(known.map(|(.., sequence)| *sequence), sequence, "producer of {written:?}");
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
