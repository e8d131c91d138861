//! Kafka's text checkpoints: a version, a count, one entry a line (`CheckpointFile`, `OffsetCheckpointFile`,
//! `LeaderEpochCheckpointFile`).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::types::TopicPartition;

/// Files read back are cut off here; 64 MiB are about a million partitions.
pub(super) const MAX_CHECKPOINT_BYTES: usize = 64 << 20;

/// Offsets of many partitions, for `recovery-point-offset-checkpoint` and its kin.
pub(super) type OffsetMap = BTreeMap<TopicPartition, i64>;

/// Writes `topic partition offset` lines.
pub(super) fn encode_offsets(offsets: &OffsetMap) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for (topic_partition, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", topic_partition.topic, topic_partition.partition);
    }
    text
}

/// Reads what [`encode_offsets`] or Kafka wrote; `None` if anything in it is malformed.
pub(super) fn parse_offsets(bytes: &[u8]) -> Option<OffsetMap> {
    let lines = parse_lines(bytes)?;
    lines
        .into_iter()
        .map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (topic, partition, offset) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            words.next().is_none().then(|| (TopicPartition::new(topic, partition), offset))
        })
        .collect()
}

/// A leader epoch and the first offset written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The leader epoch.
    pub epoch: i32,
    /// The first offset written in it.
    pub start_offset: i64,
}

/// Writes `epoch offset` lines.
pub(super) fn encode_epochs(entries: &[EpochEntry]) -> String {
    let mut text = format!("0\n{}\n", entries.len());
    for entry in entries {
        let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset);
    }
    text
}

/// Reads what [`encode_epochs`] or Kafka wrote; `None` if anything in it is malformed.
pub(super) fn parse_epochs(bytes: &[u8]) -> Option<Vec<EpochEntry>> {
    let lines = parse_lines(bytes)?;
    lines
        .into_iter()
        .map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (epoch, start_offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            words.next().is_none().then_some(EpochEntry { epoch, start_offset })
        })
        .collect()
}

fn parse_lines(bytes: &[u8]) -> Option<Vec<&str>> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()?.trim() != "0" {
        return None;
    }
    let count: usize = lines.next()?.trim().parse().ok()?;
    let entries: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    (entries.len() == count).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_round_trip_in_kafkas_text() {
        let offsets: OffsetMap =
            [(TopicPartition::new("b", 0), 7), (TopicPartition::new("a", 10), -1)].into_iter().collect();
        let text = encode_offsets(&offsets);
        assert_eq!(text, "0\n2\na 10 -1\nb 0 7\n");
        assert_eq!(parse_offsets(text.as_bytes()), Some(offsets));
    }

    #[test]
    fn malformed_files_are_refused() {
        for text in ["", "1\n0\n", "0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na 0 1 2\n", "0\n1\na x 1\n", "0\n-1\n"]
        {
            assert_eq!(parse_offsets(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_offsets(&[0xff, 0xfe]), None);
        assert_eq!(parse_epochs(b"0\n1\n1 2 3\n"), None);
    }

    #[test]
    fn epochs_round_trip() {
        let entries = vec![EpochEntry { epoch: 0, start_offset: 0 }, EpochEntry { epoch: 4, start_offset: 99 }];
        let text = encode_epochs(&entries);
        assert_eq!(text, "0\n2\n0 0\n4 99\n");
        assert_eq!(parse_epochs(text.as_bytes()), Some(entries));
    }
}
