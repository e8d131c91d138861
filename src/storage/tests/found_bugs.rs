//! The shortest stories of what the crash points found once. Each failed before its fix.

use super::crash_points::{Tally, crash_everywhere};
use super::story::Step::{self, *};

fn all_is_well(steps: &[Step]) {
    let mut tally = Tally::default();
    crash_everywhere(1, steps, 64, &mut tally);
    assert!(tally.disks > 20, "{tally:?}");
}

fn sequenced(producer: i64, records: i32) -> Step {
    AppendSequenced { log: 0, producer, records }
}

/// A power cut took the end of a sealed segment and left the producer snapshot of its end: a retry of what was lost would have been
/// acknowledged as a duplicate.
#[test]
fn a_snapshot_of_lost_batches_is_not_believed() {
    let batch = sequenced(1, 3);
    // The first segment's name may be lost while the second one and the snapshot between them are there.
    all_is_well(&[Create(0), batch, batch, batch, batch, batch]);
    all_is_well(&[
        Create(0),
        sequenced(1, 2),
        Flush(0),
        sequenced(1, 1),
        sequenced(0, 2),
        sequenced(1, 3),
        sequenced(1, 3),
    ]);
}

/// The file was cut before the segments behind it were removed.
#[test]
fn a_kill_during_a_truncation_leaves_no_hole() {
    let append = Append { log: 0, records: 3 };
    all_is_well(&[Create(0), append, append, append, append, append, append, Truncate { log: 0, batches: 4 }]);
}

/// Removed segments came back behind what was appended after the truncation; and the recovery point on disk stayed above it.
#[test]
fn what_was_truncated_does_not_come_back() {
    let append = Append { log: 0, records: 3 };
    let cut = Truncate { log: 0, batches: 3 };
    all_is_well(&[Create(0), append, append, append, append, append, Wait { ms: 70_000 }, cut, append, append]);
}

/// A log without records is not synced by a clean stop; the first flush of the next life did not know.
#[test]
fn a_log_that_was_empty_at_a_clean_stop_becomes_durable() {
    all_is_well(&[Create(0), CleanRestart, Append { log: 0, records: 1 }, Flush(0), Append { log: 0, records: 1 }]);
}

/// `partition.metadata` was never synced when the stop came before the first flush.
#[test]
fn a_topic_id_is_durable_after_a_clean_stop() {
    let append = Append { log: 0, records: 1 };
    all_is_well(&[Create(0), append, KillAndRestart, append, CleanRestart, append]);
}

/// The first start after a crash dropped an epoch that the second one found again.
#[test]
fn the_epoch_of_a_log_whose_records_are_all_deleted_stays() {
    let delete = DeleteRecords { log: 0, records: 9 };
    all_is_well(&[Create(0), Append { log: 0, records: 1 }, delete, Flush(0), NewEpoch(0), delete, KillAndRestart]);
}

/// The batch around the start of the log was left out when producers were read from the log.
#[test]
fn a_batch_around_the_start_counts_for_its_producer() {
    let delete = DeleteRecords { log: 0, records: 2 };
    all_is_well(&[Create(0), sequenced(1, 3), Flush(0), delete, Wait { ms: 70_000 }, sequenced(0, 1)]);
}
