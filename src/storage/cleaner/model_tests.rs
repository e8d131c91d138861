//! Random lives of a compacted log, against a model that knows nothing of segments, batches or files but what compaction promises.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use proptest::prelude::*;

use super::cleaner_tests::{Room, Seen, compacted, seen};
use crate::config::LogConfig;
use crate::env::Disk;
use crate::record::{BatchBuilder, BatchProperties, CompressionType};
use crate::storage::log::log_tests::append;

const RETENTION_MS: i64 = 1_000;

/// What happens to the log.
#[derive(Clone, Debug)]
enum Step {
    /// A batch: keys by number, values or tombstones.
    Append(Vec<(u8, bool)>, u8),
    Roll,
    Clean,
    /// Cleaning with a map of so many slots, again and again.
    CleanInRounds(u8),
    Pass(u16),
    /// The process is killed, or the log stopped cleanly.
    Reopen(bool),
    /// The indexes are lost, too.
    LoseIndexes,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::collection::vec((0u8..12, prop::bool::weighted(0.8)), 1..6), 0u8..5)
            .prop_map(|(records, codec)| Step::Append(records, codec)),
        2 => Just(Step::Roll),
        2 => Just(Step::Clean),
        1 => (6u8..20).prop_map(Step::CleanInRounds),
        1 => (0u16..1_500).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Reopen),
        1 => Just(Step::LoseIndexes),
    ]
}

#[derive(Clone)]
struct Record {
    seen: Seen,
    batch: usize,
}

/// What a consumer should see.
#[derive(Default)]
struct Model {
    records: Vec<Record>,
    /// When the tombstones of a batch may go, once a cleaning has seen them.
    horizons: HashMap<usize, i64>,
    batches: usize,
}

impl Model {
    /// Everything before `end` is cleaned.
    fn clean(&mut self, end: i64, now_ms: i64) {
        let mut newest = HashMap::new();
        for Record { seen, .. } in self.records.iter().filter(|record| record.seen.0 < end) {
            newest.insert(seen.2.clone(), seen.0);
        }
        let horizons = &self.horizons;
        self.records.retain(|Record { seen, batch }| {
            let passed = horizons.get(batch).is_some_and(|horizon| *horizon <= now_ms);
            seen.0 >= end || (newest[&seen.2] == seen.0 && (seen.3.is_some() || !passed))
        });
        for Record { seen, batch } in &self.records {
            if seen.0 < end && seen.3.is_none() {
                self.horizons.entry(*batch).or_insert(now_ms + RETENTION_MS);
            }
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.records.iter().map(|record| record.seen.clone()).collect()
    }
}

fn now_ms(room: &Room) -> i64 {
    room.world.directory.env.clock.wall_millis()
}

fn append_batch(room: &Room, model: &mut Model, records: &[(u8, bool)], codec: u8) {
    let codec = CompressionType::from_id(codec.into()).unwrap();
    let mut builder = BatchBuilder::new(BatchProperties { compression: codec.into(), ..BatchProperties::default() });
    let offset = room.log.log_end_offset();
    for (index, (key, has_value)) in records.iter().enumerate() {
        let timestamp = 10_000 + offset + index as i64;
        let key = format!("key {key}");
        let value = has_value.then(|| format!("value {timestamp}"));
        builder.append(timestamp, Some(key.as_bytes()), value.as_ref().map(String::as_bytes), &[]).unwrap();
        model.records.push(Record { seen: (offset + index as i64, timestamp, key, value), batch: model.batches });
    }
    model.batches += 1;
    let info = append(&room.log, builder.build());
    room.log.update_high_watermark(info.log_end_offset);
}

/// A cleaning that has all in its map; whether there was one.
fn clean(room: &Room, model: &mut Model) -> bool {
    let cleaned = room.clean();
    if cleaned {
        model.clean(room.checkpoint().unwrap(), now_ms(room));
    }
    cleaned
}

fn reopen(room: Room, cleanly: bool) -> Room {
    let end = room.log.log_end_offset();
    let world = room.world.killed();
    let log = if cleanly {
        room.log.close().unwrap();
        room.world.killed().open_clean()
    } else {
        world.open()
    };
    let world = if cleanly { room.world.killed() } else { world };
    assert_eq!(log.log_end_offset(), end);
    drop(log);
    let log = world.open();
    log.update_high_watermark(end);
    Room::of(world, log)
}

fn live(steps: Vec<Step>) {
    let config = LogConfig { segment_bytes: 600, delete_retention_ms: RETENTION_MS, ..compacted() };
    let mut room = Room::new(config);
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append(records, codec) => append_batch(&room, &mut model, &records, codec),
            Step::Roll => room.roll(),
            Step::Clean => {
                clean(&room, &mut model);
            }
            Step::CleanInRounds(slots) => {
                room.limit_map(usize::from(slots) * 24);
                let mut rounds = 0;
                while clean(&room, &mut model) {
                    rounds += 1;
                    assert!(rounds < 200, "no progress");
                }
                room.limit_map(1 << 20);
            }
            Step::Pass(milliseconds) => room.pass(milliseconds.into()),
            Step::Reopen(cleanly) => room = reopen(room, cleanly),
            Step::LoseIndexes => {
                for path in room.world.files("index") {
                    room.world.disk.remove_file(&path).unwrap();
                }
                room = reopen(room, false);
            }
        }
        let expected = model.seen();
        assert_eq!(seen(&room.log), expected);
        let offsets: BTreeSet<i64> = expected.iter().map(|record| record.0).collect();
        for record in expected.iter().step_by(3) {
            let found = room.log.offset_for_timestamp(record.1).unwrap().map(|found| found.offset);
            assert_eq!(found, Some(record.0), "the timestamps ascend");
        }
        assert!(offsets.last().is_none_or(|last| *last < room.log.log_end_offset()));
    }
    let _: &Arc<_> = &room.log;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_consumer_sees_what_the_model_keeps(steps in prop::collection::vec(step(), 1..40)) {
        live(steps);
    }
}
