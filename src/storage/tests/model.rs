//! A log against the plainest model of one: a list of records. Sequences of everything that a log can be asked for give the same
//! answers. `OTTLA_SEQUENCES` sets how many, `OTTLA_SEED` which; a failing one is made as short as possible and printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::setting;
use crate::config::LogConfig;
use crate::env::{Clock, Disk, ManualClock, MemoryDisk};
use crate::record::{BatchBuilder, BatchHeader, BatchIterator, BatchProperties, records};
use crate::storage::cleaner::cleaner_tests::Room;
use crate::storage::log::log_tests::World;
use crate::storage::{AppendOrigin, FetchIsolation, Log, LogAppendInfo, LogOptions, StorageError, StorageResult};

const RETENTION_MS: i64 = 10_000;
const RETENTION_BYTES: u64 = 2500;
/// Batches of a producer that a retry is recognised by.
const WINDOW: usize = 5;

#[derive(Clone, Debug)]
enum Op {
    Append {
        keys: Vec<u8>,
        age_ms: i64,
    },
    AppendSequenced {
        producer: i64,
        keys: Vec<u8>,
    },
    /// Sends the batch again that a producer sent so many batches ago.
    Retry {
        producer: i64,
        back: usize,
    },
    /// Leaves out a sequence number.
    SkipSequence {
        producer: i64,
    },
    BumpProducerEpoch {
        producer: i64,
    },
    LeaderEpoch,
    Roll,
    Truncate {
        batches: usize,
    },
    DeleteRecords {
        records: i64,
    },
    Watermark {
        behind: i64,
    },
    Pass {
        ms: u64,
    },
    Retention,
    Clean,
    Flush,
    CleanReopen,
    KillAndReopen,
    Read {
        at: u8,
        max_bytes: usize,
        committed: bool,
        one: bool,
    },
    TimeLookup {
        age_ms: i64,
    },
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..6u8, 1..5)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (keys(), 0..9000i64).prop_map(|(keys, age_ms)| Op::Append { keys, age_ms }),
        8 => (0..3i64, keys()).prop_map(|(producer, keys)| Op::AppendSequenced { producer, keys }),
        4 => (0..3i64, 0..8usize).prop_map(|(producer, back)| Op::Retry { producer, back }),
        1 => (0..3i64).prop_map(|producer| Op::SkipSequence { producer }),
        1 => (0..3i64).prop_map(|producer| Op::BumpProducerEpoch { producer }),
        1 => Just(Op::LeaderEpoch),
        1 => Just(Op::Roll),
        1 => (1..6usize).prop_map(|batches| Op::Truncate { batches }),
        2 => (0..12i64).prop_map(|records| Op::DeleteRecords { records }),
        1 => (0..12i64).prop_map(|behind| Op::Watermark { behind }),
        2 => (0..6000u64).prop_map(|ms| Op::Pass { ms }),
        2 => Just(Op::Retention),
        2 => Just(Op::Clean),
        1 => Just(Op::Flush),
        1 => Just(Op::CleanReopen),
        1 => Just(Op::KillAndReopen),
        6 => (any::<u8>(), 1..700usize, any::<bool>(), any::<bool>())
            .prop_map(|(at, max_bytes, committed, one)| Op::Read { at, max_bytes, committed, one }),
        2 => (0..20_000i64).prop_map(|age_ms| Op::TimeLookup { age_ms }),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    offset: i64,
    timestamp: i64,
    key: u8,
    value: Option<String>,
}

#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    last: i64,
    leader_epoch: i32,
    max_timestamp: i64,
    /// Producer, its epoch, first sequence.
    producer: Option<(i64, i16, i32)>,
    bytes: Bytes,
}

/// The log under test and its model.
struct Pair {
    world: World,
    log: Arc<Log>,
    entries: Vec<Entry>,
    batches: Vec<Batch>,
    start: i64,
    end: i64,
    watermark: i64,
    leader_epoch: i32,
    producer_epochs: [i16; 3],
    /// Batches that the log has had in one piece: beyond them only the last of each producer is remembered.
    window_from: i64,
    truncated: bool,
    cleaned: bool,
    values: u32,
}

impl Pair {
    fn new() -> Self {
        let clock = ManualClock::new(1_000_000);
        let disk = MemoryDisk::ephemeral(Arc::new(clock.clone()));
        disk.create_dir_all(Path::new("/data")).unwrap();
        let config = LogConfig {
            segment_bytes: 600,
            index_interval_bytes: 150,
            retention_ms: RETENTION_MS,
            retention_bytes: RETENTION_BYTES as i64,
            compact: true,
            delete: true,
            min_cleanable_dirty_ratio: 0.0,
            delete_retention_ms: 1 << 40,
            ..LogConfig::default()
        };
        let world = World::on(clock, disk, config);
        let log = world.open();
        Self {
            world,
            log,
            entries: Vec::new(),
            batches: Vec::new(),
            start: 0,
            end: 0,
            watermark: 0,
            leader_epoch: 0,
            producer_epochs: [0; 3],
            window_from: 0,
            truncated: false,
            cleaned: false,
            values: 0,
        }
    }

    fn now(&self) -> i64 {
        self.world.clock.wall_millis()
    }

    /// The batches of a producer that the log must know, the newest last.
    fn known_of(&self, producer: i64) -> Vec<&Batch> {
        let own = self.batches.iter().filter(|batch| batch.producer.is_some_and(|(id, ..)| id == producer));
        let own: Vec<&Batch> = own.collect();
        if own.last().is_some_and(|last| last.last >= self.start) { own } else { Vec::new() }
    }

    fn was_forgotten(&self, producer: i64) -> bool {
        let any = self.batches.iter().any(|batch| batch.producer.is_some_and(|(id, ..)| id == producer));
        any && self.known_of(producer).is_empty()
    }

    fn build(&mut self, properties: BatchProperties, keys: &[u8], timestamp: i64) -> (Bytes, Vec<Entry>) {
        let mut builder = BatchBuilder::new(properties);
        let mut entries = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            self.values += 1;
            let value = (!self.values.is_multiple_of(7)).then(|| self.values.to_string());
            let timestamp = timestamp + number as i64;
            builder.append(timestamp, Some(&[*key]), value.as_deref().map(str::as_bytes), &[]).unwrap();
            entries.push(Entry { offset: number as i64, timestamp, key: *key, value });
        }
        (builder.build(), entries)
    }

    fn send(&self, batch: Bytes) -> StorageResult<LogAppendInfo> {
        self.log.append_records(batch, self.leader_epoch, AppendOrigin::Client, self.now())
    }

    fn append(&mut self, producer: Option<(i64, i16, i32)>, keys: &[u8], timestamp: i64) {
        let (producer_id, producer_epoch, base_sequence) = producer.unwrap_or((-1, -1, -1));
        let properties = BatchProperties { producer_id, producer_epoch, base_sequence, ..BatchProperties::default() };
        let (bytes, entries) = self.build(properties, keys, timestamp);
        let info = self.send(bytes.clone()).unwrap();
        let (base, last) = (self.end, self.end + keys.len() as i64 - 1);
        assert_eq!((info.first_offset, info.last_offset, info.duplicate), (base, last, false));
        let max_timestamp = entries.iter().map(|entry| entry.timestamp).max().unwrap_or(-1);
        self.entries.extend(entries.into_iter().map(|entry| Entry { offset: base + entry.offset, ..entry }));
        self.batches.push(Batch { base, last, leader_epoch: self.leader_epoch, max_timestamp, producer, bytes });
        self.end = last + 1;
    }

    fn next_sequence(&self, producer: i64) -> i32 {
        let epoch = self.producer_epochs[producer as usize];
        let known = self.known_of(producer);
        let last = known.last().and_then(|batch| batch.producer.map(|own| (own, batch)));
        match last {
            Some(((_, last_epoch, first), batch)) if last_epoch == epoch => {
                first + (batch.last - batch.base + 1) as i32
            }
            _ => 0,
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Append { keys, age_ms } => self.append(None, keys, self.now() - age_ms),
            Op::AppendSequenced { producer, keys } => {
                if !self.was_forgotten(*producer) {
                    let epoch = self.producer_epochs[*producer as usize];
                    self.append(Some((*producer, epoch, self.next_sequence(*producer))), keys, self.now());
                }
            }
            Op::Retry { producer, back } => self.retry(*producer, *back),
            Op::SkipSequence { producer } => self.skip_sequence(*producer),
            Op::BumpProducerEpoch { producer } => self.producer_epochs[*producer as usize] += 1,
            Op::LeaderEpoch => self.leader_epoch += 1,
            Op::Roll => {
                let mut state = self.log.lock();
                self.log.roll_locked(&mut state, self.now()).unwrap();
            }
            Op::Truncate { batches } => self.truncate(*batches),
            Op::DeleteRecords { records } => {
                let offset = (self.start + records).min(self.watermark);
                self.start = self.start.max(offset);
                assert_eq!(self.log.delete_records_before(offset).unwrap(), self.start);
            }
            Op::Watermark { behind } => {
                self.watermark = (self.end - behind).clamp(self.start, self.end);
                assert_eq!(self.log.update_high_watermark(self.watermark), self.watermark);
            }
            Op::Pass { ms } => self.world.clock.advance(Duration::from_millis(*ms)),
            Op::Retention => self.retain(),
            Op::Clean => self.clean(),
            Op::Flush => {
                self.log.flush().unwrap();
                assert_eq!(self.log.recovery_point(), self.end);
            }
            Op::CleanReopen => self.reopen(true),
            Op::KillAndReopen => self.reopen(false),
            Op::Read { at, max_bytes, committed, one } => {
                let offset = self.start + (self.end - self.start) * i64::from(*at) / 255;
                self.read(offset, *max_bytes, *committed, *one);
            }
            Op::TimeLookup { age_ms } => {
                let timestamp = self.now() - age_ms;
                let visible = self.entries.iter().filter(|entry| entry.offset >= self.start);
                let expected = visible.into_iter().find(|entry| entry.timestamp >= timestamp);
                let found = self.log.offset_for_timestamp(timestamp).unwrap();
                let expected = expected.map(|entry| (entry.timestamp, entry.offset));
                assert_eq!(found.map(|found| (found.timestamp, found.offset)), expected, "at {timestamp}");
            }
        }
    }

    fn retry(&mut self, producer: i64, back: usize) {
        let known = self.known_of(producer);
        let Some(index) = known.len().checked_sub(back + 1) else { return };
        let batch = known[index].clone();
        let newest_epoch = known.last().and_then(|last| last.producer).map(|(_, epoch, _)| epoch);
        let epoch = batch.producer.map(|(_, epoch, _)| epoch);
        let is_known = back < WINDOW && epoch == newest_epoch;
        // After a start only what follows the last snapshot is remembered in full.
        let is_certain = is_known && (back == 0 || batch.base >= self.window_from);
        match self.send(batch.bytes.clone()) {
            Ok(info) => {
                assert!(is_known && info.duplicate, "appended again: {batch:?}");
                assert_eq!((info.first_offset, info.last_offset), (batch.base, batch.last));
            }
            Err(StorageError::OutOfOrderSequence(_)) => assert!(!is_certain, "unknown: {batch:?}"),
            Err(StorageError::InvalidProducerEpoch(_)) => assert_ne!(epoch, newest_epoch, "{batch:?}"),
            Err(error) => panic!("{error}"),
        }
    }

    fn skip_sequence(&mut self, producer: i64) {
        if self.known_of(producer).is_empty() {
            return;
        }
        let base_sequence = self.next_sequence(producer) + 1;
        let producer_epoch = self.producer_epochs[producer as usize];
        let properties =
            BatchProperties { producer_id: producer, producer_epoch, base_sequence, ..BatchProperties::default() };
        let (bytes, _) = self.build(properties, &[0], self.now());
        assert!(matches!(self.send(bytes), Err(StorageError::OutOfOrderSequence(_))));
    }

    fn truncate(&mut self, batches: usize) {
        let Some(cut) = self.batches.iter().rev().nth(batches - 1).map(|batch| batch.base) else { return };
        // What a cleaning has taken from a producer's past does not come back with it.
        if cut < self.start || self.cleaned {
            return;
        }
        assert!(self.log.truncate_to(cut).unwrap());
        self.batches.retain(|batch| batch.base < cut);
        self.entries.retain(|entry| entry.offset < cut);
        self.end = cut;
        self.watermark = self.watermark.min(cut);
        self.window_from = cut;
        self.truncated = true;
        // Producers go on from what is left.
        for producer in 0..3 {
            let last = self.batches.iter().rev().find_map(|batch| batch.producer.filter(|(id, ..)| *id == producer));
            let epoch = &mut self.producer_epochs[producer as usize];
            *epoch = last.map_or(*epoch, |(_, last_epoch, _)| last_epoch.max(*epoch));
        }
    }

    /// Three passes, as Kafka's `deleteOldSegments`: what is below the start, what is too much, what is too old.
    fn retain(&mut self) {
        let segments = self.log.segments().unwrap();
        let now = self.now();
        let mut deleted = 0;
        let in_reach = |index: usize| {
            let segment = &segments[index];
            segment.next_base_offset <= self.watermark && !(segment.is_active && segment.size == 0)
        };
        while deleted < segments.len()
            && in_reach(deleted)
            && !segments[deleted].is_active
            && segments[deleted].next_base_offset <= self.start
        {
            deleted += 1;
        }
        let mut size: u64 = segments[deleted..].iter().map(|segment| segment.size).sum();
        while deleted < segments.len() && in_reach(deleted) && size >= RETENTION_BYTES + segments[deleted].size {
            size -= segments[deleted].size;
            deleted += 1;
        }
        // A cleaned segment may have kept the time of a batch whose records are gone; an emptied one has that of its file.
        let is_old = |index: usize, times: &mut dyn Iterator<Item = (i64, i64)>| {
            let range = segments[index].base_offset..segments[index].next_base_offset;
            let largest = times.filter(|(offset, _)| range.contains(offset)).map(|(_, timestamp)| timestamp).max();
            largest.is_none_or(|largest| now - largest > RETENTION_MS)
        };
        let mut may_go = deleted;
        while may_go < segments.len()
            && in_reach(may_go)
            && is_old(may_go, &mut self.entries.iter().map(|entry| (entry.offset, entry.timestamp)))
        {
            let mut batches = self.batches.iter().map(|batch| (batch.base, batch.max_timestamp));
            let range = segments[may_go].base_offset..segments[may_go].next_base_offset;
            let has_records = self.entries.iter().any(|entry| range.contains(&entry.offset));
            if deleted == may_go && has_records && is_old(may_go, &mut batches) {
                deleted += 1;
            }
            may_go += 1;
        }
        let count = self.log.delete_old_segments(now).unwrap();
        assert!((deleted..=may_go).contains(&count), "{count} segments deleted, not {deleted} to {may_go}");
        if count > 0 {
            self.start = self.start.max(segments[count - 1].next_base_offset);
        }
    }

    fn clean(&mut self) {
        if self.truncated {
            return;
        }
        self.watermark = self.log.update_high_watermark(self.end);
        let uncleanable = self.log.segments().unwrap().last().map_or(0, |active| active.base_offset);
        let World { clock, disk, config, .. } = &self.world;
        let room = Room::of(World::on(clock.clone(), disk.clone(), config.clone()), self.log.clone());
        if room.clean() {
            self.cleaned = true;
            // The newest of each key stays; what is below the start of the log is looked at, and makes nothing older go.
            let mut newest: BTreeSet<u8> = BTreeSet::new();
            let mut gone: BTreeSet<i64> = BTreeSet::new();
            for entry in self.entries.iter().rev().filter(|entry| entry.offset < uncleanable) {
                let is_newest =
                    if entry.offset < self.start { !newest.contains(&entry.key) } else { newest.insert(entry.key) };
                gone.extend((!is_newest).then_some(entry.offset));
            }
            self.entries.retain(|entry| !gone.contains(&entry.offset));
        }
        // The cleaner does the retention of what it cleans.
        let start = self.log.log_start_offset();
        assert!((self.start..=self.watermark).contains(&start), "{start}");
        self.start = start;
    }

    fn reopen(&mut self, clean: bool) {
        if clean {
            self.log.close().unwrap();
        }
        let options = LogOptions {
            recovery_point: self.log.recovery_point(),
            log_start_offset: self.start,
            high_watermark: self.watermark,
            clean_shutdown: clean,
            ..self.world.options()
        };
        self.log = Log::open(options).unwrap();
        self.window_from = self.end;
        assert_eq!(self.log.high_watermark(), self.watermark);
        self.check_all();
    }

    fn read(&self, offset: i64, max_bytes: usize, committed: bool, one: bool) {
        let isolation = if committed { FetchIsolation::HighWatermark } else { FetchIsolation::LogEnd };
        let bound = if committed { self.watermark } else { self.end };
        let info = self.log.read(offset, max_bytes, isolation, one).unwrap();
        // A batch around the bound is behind it.
        let bound = self.batches.iter().find(|batch| batch.last >= bound).map_or(bound, |batch| batch.base.min(bound));
        let wanted: Vec<&Entry> =
            self.entries.iter().filter(|entry| (offset.max(self.start)..bound).contains(&entry.offset)).collect();
        let Some(slice) = info.records else {
            assert!(wanted.is_empty() || info.first_entry_incomplete, "nothing from {offset}, but {wanted:?}");
            assert!(!(one && info.first_entry_incomplete));
            return;
        };
        let bytes = slice.read().unwrap();
        let mut position = 0;
        let mut found = Vec::new();
        while let Ok(header) = BatchHeader::parse(&bytes[position..]) {
            let Some(batch) = bytes.get(position..position + header.size_in_bytes()) else { break };
            position += batch.len();
            assert!(
                header.last_offset() >= offset && header.last_offset() < bound,
                "{header:?} from {offset} to {bound}"
            );
            found.extend(entries_of(batch).into_iter().filter(|entry| entry.offset >= offset));
        }
        assert!(position > 0 || !one, "not one whole batch");
        assert!(position <= max_bytes || one, "{position} bytes of {max_bytes}");
        let found: Vec<&Entry> = found.iter().collect();
        assert_eq!(found, wanted[..found.len()], "from {offset}");
    }

    fn check_all(&self) {
        let log = &self.log;
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (self.start, self.end));
        let mut offset = self.start;
        let mut found = Vec::new();
        while let Some(slice) = log.read(offset, 400, FetchIsolation::LogEnd, true).unwrap().records {
            let bytes = slice.read().unwrap();
            let before = offset;
            for batch in BatchIterator::new(&bytes) {
                let Ok((header, batch)) = batch else { break };
                offset = header.next_offset();
                found.extend(entries_of(batch).into_iter().filter(|entry| entry.offset >= self.start));
                let epoch = self.batches.iter().find(|known| known.last >= header.last_offset());
                let epoch = epoch.map(|known| known.leader_epoch);
                assert_eq!(Some(header.partition_leader_epoch), epoch, "{header:?}");
                assert_eq!(log.leader_epoch_for(header.last_offset()), epoch, "{header:?}");
            }
            assert!(offset > before, "no whole batch from {before}");
        }
        let visible: Vec<Entry> = self.entries.iter().filter(|entry| entry.offset >= self.start).cloned().collect();
        assert_eq!(found, visible);
        self.check_producers();
        self.check_epochs();
    }

    fn check_producers(&self) {
        let known: BTreeMap<i64, (i32, i32)> = (self.log.active_producers().into_iter())
            .map(|known| (known.producer_id, (known.producer_epoch, known.last_sequence)))
            .collect();
        for producer in 0..3 {
            let own = self.known_of(producer);
            let Some((last, (_, epoch, first))) = own.last().and_then(|last| Some((last, last.producer?))) else {
                continue;
            };
            let expected = (i32::from(epoch), first + (last.last - last.base) as i32);
            assert_eq!(known.get(&producer), Some(&expected), "producer {producer}");
        }
    }

    /// An epoch ends where the first batch of a later one begins.
    fn check_epochs(&self) {
        let visible: Vec<&Batch> = self.batches.iter().filter(|batch| batch.last >= self.start).collect();
        for batch in &visible {
            let later = visible.iter().find(|other| other.leader_epoch > batch.leader_epoch);
            let expected = (batch.leader_epoch, later.map_or(self.end, |later| later.base));
            assert_eq!(self.log.end_offset_for_epoch(batch.leader_epoch), expected);
        }
    }
}

fn entries_of(batch: &[u8]) -> Vec<Entry> {
    let records = records(batch, 1 << 20).unwrap();
    let entry = |record: crate::record::Record<'_>| Entry {
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.unwrap()[0],
        value: record.value.map(|value| String::from_utf8_lossy(value).into_owned()),
    };
    records.iter().map(|record| entry(record.unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: setting("OTTLA_SEQUENCES", 300) as u32,
        rng_seed: RngSeed::Fixed(setting("OTTLA_SEED", 1)),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_log_is_a_list_of_records(ops in prop::collection::vec(op(), 1..60)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.step(op);
        }
        pair.check_all();
    }
}
