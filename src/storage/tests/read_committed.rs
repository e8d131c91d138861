//! What a read_committed consumer sees, against a model that knows transactions and nothing of indexes, segments or files: random
//! interleavings of transactions of both generations, markers, high watermarks, fetch sizes, truncation, compaction and restarts. The
//! consumer filters as Kafka's clients do, with the aborted transactions that each read came with. `OTTLA_SEQUENCES` sets how many,
//! `OTTLA_SEED` which.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::setting;
use crate::config::LogConfig;
use crate::env::{Clock, Disk, ManualClock, MemoryDisk};
use crate::record::{
    BatchBuilder, BatchIterator, BatchProperties, ControlRecordType, TimestampType, ValidatedBatch,
    control_record_type, marker_batch, records,
};
use crate::storage::cleaner::cleaner_tests::Room;
use crate::storage::log::log_tests::World;
use crate::storage::{AppendOrigin, AppendTerms, FetchIsolation, Log, LogOptions};
use crate::types::{EndTransactionMarker, TransactionResult, TransactionVersion};

/// Producers 1 and 2 speak the first generation of the protocol, 3 and 4 the second.
const PRODUCERS: u8 = 4;

#[derive(Clone, Debug)]
enum Op {
    /// Without a transaction.
    Plain {
        keys: Vec<u8>,
    },
    Write {
        producer: u8,
        keys: Vec<u8>,
    },
    End {
        producer: u8,
        commit: bool,
    },
    /// The high watermark comes up to so many records behind the end.
    Watermark {
        behind: i64,
    },
    Truncate {
        batches: usize,
    },
    Roll,
    Clean,
    Pass {
        ms: u64,
    },
    Reopen {
        clean: bool,
    },
    LoseIndexes,
    /// The consumer reads on, so many times.
    Poll {
        max_bytes: usize,
        times: usize,
    },
    /// Somebody reads from anywhere.
    ReadFrom {
        at: u8,
        max_bytes: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let keys = || prop::collection::vec(0..8u8, 1..4);
    prop_oneof![
        4 => keys().prop_map(|keys| Op::Plain { keys }),
        12 => (1..=PRODUCERS, keys()).prop_map(|(producer, keys)| Op::Write { producer, keys }),
        8 => (1..=PRODUCERS, any::<bool>()).prop_map(|(producer, commit)| Op::End { producer, commit }),
        6 => (0..8i64).prop_map(|behind| Op::Watermark { behind }),
        1 => (1..5usize).prop_map(|batches| Op::Truncate { batches }),
        2 => Just(Op::Roll),
        2 => Just(Op::Clean),
        1 => (0..3000u64).prop_map(|ms| Op::Pass { ms }),
        1 => any::<bool>().prop_map(|clean| Op::Reopen { clean }),
        1 => Just(Op::LoseIndexes),
        6 => (1..900usize, 1..4usize).prop_map(|(max_bytes, times)| Op::Poll { max_bytes, times }),
        4 => (any::<u8>(), 1..900usize).prop_map(|(at, max_bytes)| Op::ReadFrom { at, max_bytes }),
    ]
}

/// Offset, key, value.
type Seen = (i64, u8, u32);

/// A batch that was written, as the model remembers it for good.
#[derive(Clone, Debug)]
struct Written {
    base: i64,
    last: i64,
    /// Of a transaction.
    producer: Option<u8>,
    /// Set in a marker: whether it commits.
    commits: Option<bool>,
}

/// A transaction as the batches tell it.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    producer: u8,
    first: i64,
    /// Its marker's offset, and whether that commits.
    end: Option<(i64, bool)>,
}

#[derive(Clone, Copy, Default)]
struct Identity {
    epoch: i16,
    sequence: i32,
}

struct Pair {
    world: World,
    log: Arc<Log>,
    batches: Vec<Written>,
    records: Vec<(Option<u8>, Seen)>,
    identities: BTreeMap<u8, Identity>,
    end: i64,
    watermark: i64,
    /// Where the consumer is.
    position: i64,
    values: u32,
    truncated: bool,
    cleaned: bool,
}

impl Pair {
    fn new() -> Self {
        let clock = ManualClock::new(1_000_000);
        let disk = MemoryDisk::ephemeral(Arc::new(clock.clone()));
        disk.create_dir_all(Path::new("/data")).unwrap();
        let config = LogConfig {
            segment_bytes: 700,
            index_interval_bytes: 120,
            compact: true,
            delete: false,
            min_cleanable_dirty_ratio: 0.0,
            delete_retention_ms: 1_000,
            ..LogConfig::default()
        };
        let world = World::on(clock, disk, config);
        let log = world.open();
        Self {
            world,
            log,
            batches: Vec::new(),
            records: Vec::new(),
            identities: BTreeMap::new(),
            end: 0,
            watermark: 0,
            position: 0,
            values: 0,
            truncated: false,
            cleaned: false,
        }
    }

    fn transactions(&self) -> Vec<Transaction> {
        let mut found: Vec<Transaction> = Vec::new();
        for batch in &self.batches {
            let Some(producer) = batch.producer else { continue };
            let open = found.iter_mut().find(|one| one.producer == producer && one.end.is_none());
            match (open, batch.commits) {
                (None, None) => found.push(Transaction { producer, first: batch.base, end: None }),
                (Some(open), Some(commits)) => open.end = Some((batch.last, commits)),
                _ => {}
            }
        }
        found
    }

    /// The first offset that is undecided, or whose decision not every replica has.
    fn stable(&self) -> i64 {
        let is_unstable = |one: &&Transaction| one.end.is_none_or(|(marker, _)| marker >= self.watermark);
        let transactions = self.transactions();
        let unstable = transactions.iter().filter(is_unstable).map(|one| one.first).min();
        unstable.unwrap_or(i64::MAX).min(self.watermark)
    }

    /// What a read_committed consumer may see, now and for good.
    fn visible(&self) -> Vec<Seen> {
        let (transactions, stable) = (self.transactions(), self.stable());
        let is_committed = |producer: Option<u8>, offset: i64| {
            let own = |one: &&Transaction| Some(one.producer) == producer && one.first <= offset;
            producer.is_none()
                || transactions.iter().rfind(own).is_some_and(|one| one.end.is_some_and(|(_, commits)| commits))
        };
        let records =
            self.records.iter().filter(|(producer, (offset, ..))| *offset < stable && is_committed(*producer, *offset));
        records.map(|(_, seen)| *seen).collect()
    }

    fn write(&mut self, producer: Option<u8>, keys: &[u8]) {
        let identity = producer.map(|producer| *self.identities.entry(producer).or_default());
        let mut properties = BatchProperties { is_transactional: producer.is_some(), ..BatchProperties::default() };
        if let (Some(producer), Some(identity)) = (producer, identity) {
            properties.producer_id = i64::from(producer);
            (properties.producer_epoch, properties.base_sequence) = (identity.epoch, identity.sequence);
        }
        let mut builder = BatchBuilder::new(properties);
        let base = self.end;
        for (number, key) in keys.iter().enumerate() {
            self.values += 1;
            builder.append(self.now(), Some(&[*key]), Some(&self.values.to_be_bytes()), &[]).unwrap();
            self.records.push((producer, (base + number as i64, *key, self.values)));
        }
        let info = self.log.append_verified(builder.build(), 0, self.now()).unwrap();
        assert_eq!((info.first_offset, info.duplicate), (base, false));
        self.end = info.last_offset + 1;
        self.batches.push(Written { base, last: info.last_offset, producer, commits: None });
        if let Some(producer) = producer {
            self.identities.entry(producer).or_default().sequence += keys.len() as i32;
        }
    }

    fn end(&mut self, producer: u8, commit: bool) {
        let identity = self.identities.entry(producer).or_default();
        let is_second_generation = producer > 2;
        if is_second_generation {
            *identity = Identity { epoch: identity.epoch + 1, sequence: 0 };
        }
        let marker = EndTransactionMarker {
            producer_id: i64::from(producer),
            producer_epoch: identity.epoch,
            coordinator_epoch: 0,
            result: TransactionResult::from_committed(commit),
            transaction_version: if is_second_generation { TransactionVersion::Tv2 } else { TransactionVersion::Tv1 },
        };
        let batch = marker_batch(&marker, self.now(), TimestampType::CreateTime);
        let terms = AppendTerms {
            transaction_version: marker.transaction_version,
            ..AppendTerms::new(0, AppendOrigin::Coordinator, self.now())
        };
        let info = self.log.append_as_leader(ValidatedBatch::from_trusted(batch).unwrap(), &terms).unwrap();
        assert_eq!(info.first_offset, self.end);
        self.batches.push(Written { base: self.end, last: self.end, producer: Some(producer), commits: Some(commit) });
        self.end += 1;
    }

    fn now(&self) -> i64 {
        self.world.clock.wall_millis()
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Plain { keys } => self.write(None, keys),
            Op::Write { producer, keys } => self.write(Some(*producer), keys),
            Op::End { producer, commit } => self.end(*producer, *commit),
            Op::Watermark { behind } => {
                let whole = self.batches.iter().map(|batch| batch.last + 1).filter(|end| *end <= self.end - behind);
                self.commit(whole.max().unwrap_or(0));
            }
            Op::Truncate { batches } => self.truncate(*batches),
            Op::Roll => {
                let mut state = self.log.lock();
                self.log.roll_locked(&mut state, self.now()).unwrap();
            }
            Op::Clean => self.clean(),
            Op::Pass { ms } => self.world.clock.advance(Duration::from_millis(*ms)),
            Op::Reopen { clean } => self.reopen(*clean, false),
            Op::LoseIndexes => self.reopen(true, true),
            Op::Poll { max_bytes, times } => {
                for _ in 0..*times {
                    self.position = self.read(self.position, *max_bytes);
                }
            }
            Op::ReadFrom { at, max_bytes } => {
                let mut position = self.end * i64::from(*at) / 255;
                let mut before = -1;
                while position > before {
                    before = position;
                    position = self.read(position, *max_bytes);
                }
                assert!(position >= self.stable(), "{position} of {}", self.stable());
            }
        }
        assert_eq!(self.log.last_stable_offset(), self.stable(), "{op:?}");
    }

    fn commit(&mut self, offset: i64) {
        self.watermark = offset.clamp(self.watermark, self.end);
        self.log.maybe_increment_high_watermark(offset);
        assert_eq!(self.log.high_watermark(), self.watermark);
    }

    fn truncate(&mut self, batches: usize) {
        let Some(cut) = self.batches.iter().rev().nth(batches - 1).map(|batch| batch.base) else { return };
        // What is committed stays; what a cleaning has taken from a producer's past does not come back with a truncation.
        if self.cleaned || cut < self.watermark {
            return;
        }
        assert!(self.log.truncate_to(cut).unwrap());
        self.batches.retain(|batch| batch.base < cut);
        self.records.retain(|(_, (offset, ..))| *offset < cut);
        self.end = cut;
        self.truncated = true;
        let known = self.log.active_producers();
        for (producer, identity) in &mut self.identities {
            let known = known.iter().find(|known| known.producer_id == i64::from(*producer));
            *identity = known.map_or_else(Identity::default, |known| Identity {
                epoch: known.producer_epoch as i16,
                sequence: known.last_sequence + 1,
            });
        }
        self.lead();
    }

    /// The only replica leads: all that it has is committed.
    fn lead(&mut self) {
        self.watermark = self.log.update_high_watermark(self.end);
        assert_eq!(self.watermark, self.end);
        self.position = self.position.min(self.end);
    }

    fn clean(&mut self) {
        if self.truncated {
            return;
        }
        let World { clock, disk, config, .. } = &self.world;
        // Whole segments, up to that which the first undecided offset is in.
        let bases = self.log.segments().unwrap().into_iter().map(|segment| segment.base_offset);
        let bound = bases.filter(|base| *base <= self.stable()).max().unwrap_or(0);
        let visible = self.visible();
        let room = Room::of(World::on(clock.clone(), disk.clone(), config.clone()), self.log.clone());
        if !room.clean() {
            return;
        }
        self.cleaned = true;
        let mut newest = HashSet::new();
        let superseded: HashSet<i64> = (visible.iter().rev())
            .filter(|(offset, ..)| *offset < bound)
            .filter_map(|(offset, key, _)| (!newest.insert(*key)).then_some(*offset))
            .collect();
        self.records.retain(|(_, (offset, ..))| !superseded.contains(offset));
    }

    fn reopen(&mut self, clean: bool, without_indexes: bool) {
        let recovery_point = if clean { self.end } else { self.log.recovery_point() };
        if clean {
            self.log.close().unwrap();
        }
        if without_indexes {
            for suffix in [".index", ".timeindex", ".txnindex"] {
                self.world.files(suffix).iter().for_each(|path| self.world.disk.remove_file(path).unwrap());
            }
        }
        let options = LogOptions {
            // Without indexes a clean stop is none.
            recovery_point: if without_indexes { 0 } else { recovery_point },
            high_watermark: self.watermark,
            clean_shutdown: clean && !without_indexes,
            ..self.world.options()
        };
        self.log = Log::open(options).unwrap();
        assert_eq!(self.log.log_end_offset(), self.end);
        self.lead();
    }

    /// One fetch, filtered as clients do; gives where it goes on.
    fn read(&self, position: i64, max_bytes: usize) -> i64 {
        let info = self.log.read(position, max_bytes, FetchIsolation::TransactionCommitted, true).unwrap();
        assert_eq!((info.last_stable_offset, info.high_watermark), (self.stable(), self.watermark));
        let Some(slice) = info.records else { return position };
        let mut aborted: Vec<(i64, i64)> =
            info.aborted_transactions.iter().map(|one| (one.first_offset, one.producer_id)).collect();
        aborted.sort_unstable();
        let mut aborted = aborted.into_iter().peekable();
        let mut skipped = HashSet::new();
        let bytes = slice.read().unwrap();
        let (mut next, mut seen) = (position, Vec::new());
        for item in BatchIterator::new(&bytes) {
            let Ok((header, batch)) = item else { break };
            assert!(header.last_offset() < self.stable());
            next = header.next_offset();
            while let Some((_, producer_id)) = aborted.next_if(|(first, _)| *first <= header.last_offset()) {
                skipped.insert(producer_id);
            }
            let records = records(batch, 1 << 20).unwrap();
            if header.is_control() {
                let key = records.iter().next().map(|record| record.unwrap().key.and_then(control_record_type));
                if key == Some(Some(ControlRecordType::Abort)) {
                    skipped.remove(&header.producer_id);
                }
                continue;
            }
            if header.is_transactional() && skipped.contains(&header.producer_id) {
                continue;
            }
            for record in &records {
                let record = record.unwrap();
                let value = u32::from_be_bytes(record.value.unwrap().try_into().unwrap());
                seen.extend((record.offset >= position).then(|| (record.offset, record.key.unwrap()[0], value)));
            }
        }
        let expected: Vec<Seen> =
            self.visible().into_iter().filter(|(offset, ..)| (position..next).contains(offset)).collect();
        assert_eq!(seen, expected, "from {position} to {next}; told of {:?}", info.aborted_transactions);
        next
    }
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
    fn a_read_committed_consumer_sees_what_was_committed_and_nothing_else(ops in prop::collection::vec(op(), 1..80)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.step(op);
        }
        pair.commit(pair.end);
        pair.step(&Op::ReadFrom { at: 0, max_bytes: 300 });
    }
}
