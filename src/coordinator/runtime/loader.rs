//! Loading a shard's state from its log (Kafka's `CoordinatorLoaderImpl`).

use super::batch;
use super::decision::StateMachine;
use super::log::CoordinatorLog;
use crate::coordinator::CoordinatorError;

/// Bytes asked for in one read (`offsets.load.buffer.size`).
const READ_BYTES: usize = 5 * 1024 * 1024;

/// Replays the log from its start to the end that it has now; gives that end.
pub fn load<S: StateMachine>(log: &dyn CoordinatorLog, state: &mut S) -> Result<i64, CoordinatorError> {
    let end = log.end_offset();
    let mut offset = log.start_offset();
    while offset < end {
        let bytes = log.read(offset, READ_BYTES)?;
        if bytes.is_empty() {
            // The end of the log may be a gap: compaction by an earlier release of Apache Kafka, or a truncation, left no batch there.
            break;
        }
        match batch::replay(state, &bytes)? {
            Some(next) if next > offset => offset = next,
            // Nothing readable where the log says that there is something: better no coordinator than half of one.
            _ => return Err(CoordinatorError::CorruptRecord(format!("nothing to read at offset {offset} of {end}"))),
        }
    }
    Ok(end)
}
