//! A life of a log manager: steps, and what they promise.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::ledger::{Found, Ledger};
use crate::config::LogConfig;
use crate::env::{Env, InlineSpawn, ManualClock, MemoryBudget, MemoryDisk, NamedFuture, Random, SeededRandom};
use crate::record::{BatchBuilder, BatchProperties, TimestampType, ValidatedBatch, marker_batch};
use crate::storage::{AppendOrigin, AppendTerms, Log, LogManager, LogManagerOptions, StorageError, StorageResult};
use crate::types::{EndTransactionMarker, TopicPartition, TransactionResult, TransactionVersion};

/// Logs of a story.
pub(super) const LOGS: usize = 2;

/// What happens in a story; logs are named by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create(usize),
    Delete(usize),
    Append {
        log: usize,
        records: i32,
    },
    AppendSequenced {
        log: usize,
        producer: i64,
        records: i32,
    },
    /// Producer 5 speaks the first generation of the protocol, 6 the second.
    AppendTransactional {
        log: usize,
        producer: i64,
        records: i32,
    },
    EndTransaction {
        log: usize,
        producer: i64,
        commit: bool,
    },
    NewEpoch(usize),
    Flush(usize),
    /// Removes so many of the newest batches.
    Truncate {
        log: usize,
        batches: usize,
    },
    /// Moves the start of the log by so many records.
    DeleteRecords {
        log: usize,
        records: i64,
    },
    /// Time passes: background flush, retention, checkpoints, removal of files.
    Wait {
        ms: u64,
    },
    CleanRestart,
    KillAndRestart,
}

impl Step {
    /// A random story.
    pub(super) fn story(seed: u64, length: usize) -> Vec<Self> {
        let random = SeededRandom::new(seed);
        let below = |bound: u64| random.next_u64() % bound;
        let mut steps = vec![Self::Create(0)];
        while steps.len() < length {
            let log = usize::from(below(4) == 0);
            steps.push(match below(44) {
                0..8 => Self::Append { log, records: 1 + below(3) as i32 },
                8..15 => Self::AppendSequenced { log, producer: below(2) as i64, records: 1 + below(3) as i32 },
                15..19 => Self::Flush(log),
                19 | 20 => Self::NewEpoch(log),
                21 => Self::Truncate { log, batches: 1 + below(4) as usize },
                22 | 23 => Self::DeleteRecords { log, records: 1 + below(8) as i64 },
                24..27 => Self::Wait { ms: [100, 1100, 5000, 70_000][below(4) as usize] },
                27 => Self::CleanRestart,
                28 => Self::KillAndRestart,
                29 => Self::Delete(log),
                30..36 => {
                    Self::AppendTransactional { log, producer: 5 + below(2) as i64, records: 1 + below(2) as i32 }
                }
                36..42 => Self::EndTransaction { log, producer: 5 + below(2) as i64, commit: below(2) == 0 },
                _ => Self::Create(log),
            });
        }
        steps
    }
}

/// Polls the futures of an [`InlineSpawn`].
#[derive(Default)]
struct Tasks(Vec<NamedFuture>);

impl Tasks {
    fn run(&mut self, spawn: &InlineSpawn) {
        for _ in 0..4 {
            self.0.extend(spawn.take());
            self.0.retain_mut(|(_, future)| future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    }
}

/// A log manager on a simulated disk, and what its clients know.
pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) disk: MemoryDisk,
    pub(super) manager: Arc<LogManager>,
    pub(super) ledgers: Vec<Option<Ledger>>,
    spawn: InlineSpawn,
    tasks: Tasks,
    batches: u64,
    /// The batch that was appended last, whether that succeeded or not.
    attempted: Bytes,
}

pub(super) fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 400,
        index_interval_bytes: 100,
        retention_bytes: 1200,
        file_delete_delay_ms: 3000,
        ..LogConfig::default()
    }
}

fn name(log: usize) -> TopicPartition {
    TopicPartition::new("t", log as i32)
}

/// Opens a manager on a disk.
pub(super) fn open(disk: &MemoryDisk, clock: &ManualClock, spawn: &InlineSpawn) -> StorageResult<Arc<LogManager>> {
    let env = Env {
        clock: Arc::new(clock.clone()),
        random: Arc::new(SeededRandom::new(3)),
        disk: Arc::new(disk.clone()),
        spawn: Arc::new(spawn.clone()),
        memory: MemoryBudget::unlimited(),
    };
    let options = LogManagerOptions {
        default_config: Arc::new(config()),
        initial_task_delay_ms: 500,
        retention_check_interval_ms: 4000,
        ..LogManagerOptions::new(vec!["/data".into()], 1)
    };
    LogManager::open(env, options)
}

/// What the logs of a manager show; `None`: there is no such log.
pub(super) fn found(manager: &LogManager) -> Vec<Option<(Uuid, Found)>> {
    try_found(manager).unwrap()
}

fn try_found(manager: &LogManager) -> StorageResult<Vec<Option<(Uuid, Found)>>> {
    let show = |log: Arc<Log>| Ok((log.topic_id(), Found::of(&log)?));
    (0..LOGS).map(|log| manager.log(&name(log)).map(show).transpose()).collect()
}

impl World {
    /// The first start on an empty disk.
    pub(super) fn begin(disk: MemoryDisk, clock: ManualClock) -> StorageResult<Self> {
        let spawn = InlineSpawn::default();
        let manager = open(&disk, &clock, &spawn)?;
        manager.start();
        let (ledgers, tasks) = (vec![None; LOGS], Tasks::default());
        Ok(Self { clock, disk, manager, ledgers, spawn, tasks, batches: 0, attempted: Bytes::new() })
    }

    pub(super) fn log(&self, log: usize) -> Option<(Arc<Log>, &Ledger)> {
        let ledger = self.ledgers[log].as_ref().filter(|ledger| !ledger.deleted)?;
        let found = self.manager.log(&name(log));
        assert!(found.is_some() || self.disk.failures() > 0, "log {log} is not there");
        Some((found?, ledger))
    }

    fn change(&mut self, log: usize, change: impl FnMut(&mut Ledger)) {
        self.ledgers[log].iter_mut().for_each(change);
    }

    /// Does a step; steps on logs that do not exist do nothing.
    pub(super) fn step(&mut self, step: Step) -> StorageResult<()> {
        self.do_step(step)?;
        self.tasks.run(&self.spawn);
        Ok(())
    }

    fn do_step(&mut self, step: Step) -> StorageResult<()> {
        match step {
            Step::Create(log) => self.create(log),
            Step::Delete(log) => match self.log(log) {
                Some(_) => {
                    self.manager.delete_async(&name(log))?;
                    self.change(log, |ledger| ledger.deleted = true);
                    Ok(())
                }
                None => Ok(()),
            },
            Step::Append { log, records } => self.append(log, None, records),
            Step::AppendSequenced { log, producer, records } => self.append(log, Some((producer, false)), records),
            Step::AppendTransactional { log, producer, records } => self.append(log, Some((producer, true)), records),
            Step::EndTransaction { log, producer, commit } => self.end_transaction(log, producer, commit),
            Step::Wait { ms } => {
                self.wait(ms);
                Ok(())
            }
            Step::CleanRestart => {
                self.manager.shutdown(1)?;
                // Of an empty log nothing is worth a sync.
                self.ledgers.iter_mut().flatten().filter(|ledger| ledger.end > ledger.start).for_each(Ledger::flush);
                self.restart()
            }
            Step::KillAndRestart => self.restart(),
            Step::NewEpoch(log) | Step::Flush(log) => self.change_log(step, log),
            Step::Truncate { log, .. } | Step::DeleteRecords { log, .. } => self.change_log(step, log),
        }
    }

    fn create(&mut self, log: usize) -> StorageResult<()> {
        if self.log(log).is_some() {
            return Ok(());
        }
        self.batches += 1;
        let topic_id = self.topic_id(log);
        self.manager.get_or_create(&name(log), topic_id, Arc::new(config()))?;
        self.ledgers[log] = Some(Ledger { topic_id, ..Ledger::default() });
        Ok(())
    }

    /// A new id, or that of a creation that failed.
    fn topic_id(&self, log: usize) -> Uuid {
        let tried = self.ledgers[log].as_ref().filter(|ledger| ledger.maybe).map(|ledger| ledger.topic_id);
        tried.unwrap_or(Uuid::from_u128(u128::from(self.batches) << 8 | 7))
    }

    /// `producer`: its id, and whether the batch is of a transaction.
    fn append(&mut self, number: usize, producer: Option<(i64, bool)>, records: i32) -> StorageResult<()> {
        let Some((log, ledger)) = self.log(number) else { return Ok(()) };
        let mut properties = BatchProperties::default();
        if let Some((producer_id, is_transactional)) = producer {
            let (producer_epoch, base_sequence) = ledger.producer(producer_id);
            properties = BatchProperties { producer_id, producer_epoch, base_sequence, is_transactional, ..properties };
        }
        let epoch = ledger.epoch;
        let (batch, end) = (self.batch(properties, records), self.ledgers[number].as_ref().map(|ledger| ledger.end));
        self.attempted = batch.clone();
        let info = log.append_verified(batch.clone(), epoch, 0)?;
        assert_eq!((Some(info.first_offset), info.duplicate), (end, false));
        log.update_high_watermark(info.log_end_offset);
        self.change(number, |ledger| ledger.append(&batch, info.first_offset));
        if producer.is_some() {
            let again = log.append_records(batch, epoch, AppendOrigin::Client, 0)?;
            assert!(again.duplicate && again.first_offset == info.first_offset);
        }
        Ok(())
    }

    fn end_transaction(&mut self, number: usize, producer_id: i64, commit: bool) -> StorageResult<()> {
        use crate::env::Clock;
        let Some((log, ledger)) = self.log(number) else { return Ok(()) };
        let is_second_generation = producer_id > 5;
        let marker = EndTransactionMarker {
            producer_id,
            producer_epoch: ledger.producer(producer_id).0 + i16::from(is_second_generation),
            coordinator_epoch: 1,
            result: TransactionResult::from_committed(commit),
            transaction_version: if is_second_generation { TransactionVersion::Tv2 } else { TransactionVersion::Tv1 },
        };
        let batch = marker_batch(&marker, self.clock.wall_millis(), TimestampType::CreateTime);
        let terms = AppendTerms {
            transaction_version: marker.transaction_version,
            ..AppendTerms::new(ledger.epoch, AppendOrigin::Coordinator, 0)
        };
        self.attempted = batch.clone();
        let trusted = ValidatedBatch::from_trusted(batch.clone()).expect("a batch");
        let info = log.append_as_leader(trusted, &terms)?;
        log.update_high_watermark(info.log_end_offset);
        self.change(number, |ledger| ledger.append(&batch, info.first_offset));
        Ok(())
    }

    /// A batch like no other.
    pub(super) fn batch(&mut self, properties: BatchProperties, records: i32) -> Bytes {
        use crate::env::Clock;
        self.batches += 1;
        let mut builder = BatchBuilder::new(properties);
        for number in 0..records {
            let value = format!("{}.{number}", self.batches);
            builder.append(self.clock.wall_millis(), None, Some(value.as_bytes()), &[]).unwrap();
        }
        builder.build()
    }

    fn change_log(&mut self, step: Step, number: usize) -> StorageResult<()> {
        let Some((log, ledger)) = self.log(number) else { return Ok(()) };
        match step {
            Step::NewEpoch(_) => {
                log.assign_epoch_start_offset(ledger.epoch + 1, ledger.end)?;
                self.change(number, |ledger| ledger.epoch += 1);
            }
            Step::Flush(_) => {
                log.flush()?;
                self.change(number, Ledger::flush);
            }
            Step::Truncate { batches, .. } => {
                if let Some(offset) = ledger.cut_offset(batches) {
                    log.truncate_to(offset)?;
                    self.change(number, |ledger| ledger.truncate(offset));
                }
            }
            Step::DeleteRecords { records, .. } => {
                let start = log.delete_records_before((ledger.start + records).min(ledger.end))?;
                self.change(number, |ledger| ledger.set_start(start));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the log directory failed.
    pub(super) fn is_offline(&self) -> bool {
        self.manager.directories().any(|directory| directory.is_offline())
    }

    /// A step failed: what it would have done may have been done.
    pub(super) fn attempt(&mut self, step: Step) {
        let attempted = self.attempted.clone();
        match step {
            Step::Create(log) if self.log(log).is_none() => {
                let topic_id = self.topic_id(log);
                self.ledgers[log] = Some(Ledger { topic_id, deleted: true, maybe: true, ..Ledger::default() });
            }
            Step::Delete(log) => self.change(log, |ledger| ledger.deleted = true),
            Step::Append { log, .. }
            | Step::AppendSequenced { log, .. }
            | Step::AppendTransactional { log, .. }
            | Step::EndTransaction { log, .. } => {
                self.change(log, |ledger| ledger.append(&attempted, ledger.end));
            }
            Step::Truncate { log, batches } => {
                let is_untouched = self.log(log).is_some_and(|(log, ledger)| log.log_end_offset() == ledger.end);
                if self.is_offline() || !is_untouched {
                    self.change(log, |ledger| {
                        ledger.cut_offset(batches).into_iter().for_each(|offset| ledger.truncate(offset));
                    });
                }
            }
            Step::DeleteRecords { log, records } => {
                self.change(log, |ledger| ledger.set_start((ledger.start + records).min(ledger.end)));
            }
            _ => {}
        }
    }

    /// Lets time pass in small steps, so that each task finds its moment.
    fn wait(&mut self, ms: u64) {
        let step = (ms / 10).max(100);
        let mut passed = 0;
        while passed < ms {
            self.clock.advance(Duration::from_millis(step));
            self.tasks.run(&self.spawn);
            passed += step;
        }
        // The background flush has been there.
        let is_flushed = ms > 1000 && !self.is_offline();
        for number in 0..LOGS {
            let Some((log, _)) = self.log(number) else { continue };
            let start = log.log_start_offset();
            self.change(number, |ledger| {
                ledger.set_start(start);
                if is_flushed && ledger.end > 0 {
                    ledger.flush();
                }
            });
        }
    }

    /// The next life, on the same disk.
    fn restart(&mut self) -> StorageResult<()> {
        self.tasks = Tasks::default();
        let closed = open_nothing(&self.clock);
        // The lock goes with the old manager.
        drop(std::mem::replace(&mut self.manager, closed));
        self.spawn = InlineSpawn::default();
        self.manager = open(&self.disk, &self.clock, &self.spawn)?;
        self.manager.start();
        for (number, after) in try_found(&self.manager)?.into_iter().enumerate() {
            let Some(ledger) = self.ledgers[number].as_mut().filter(|ledger| !ledger.deleted) else {
                let maybe = self.ledgers[number].as_ref().is_some_and(|ledger| ledger.maybe);
                assert!(maybe || after.is_none(), "a deleted log is back");
                continue;
            };
            let Some((topic_id, found)) = after else {
                assert!(self.disk.failures() > 0, "log {number} is not there after a restart");
                return Err(StorageError::UnknownLog { topic_partition: name(number) });
            };
            assert_eq!(topic_id, ledger.topic_id);
            found.check(ledger, ledger, true);
            ledger.start = found.start;
            if let Some(log) = self.manager.log(&name(number)) {
                log.update_high_watermark(ledger.end);
            }
        }
        Ok(())
    }
}

fn open_nothing(clock: &ManualClock) -> Arc<LogManager> {
    let disk = MemoryDisk::new(Arc::new(clock.clone()));
    open(&disk, clock, &InlineSpawn::default()).expect("an empty disk")
}

/// Whether a disk bears the marker of a clean stop.
pub(super) fn has_clean_marker(disk: &MemoryDisk) -> bool {
    use crate::env::Disk;
    disk.metadata(Path::new("/data/.kafka_cleanshutdown")).is_ok()
}
