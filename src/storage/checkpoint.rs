//! Kafka's text checkpoints: a version, a count, one entry a line (`CheckpointFile`, `OffsetCheckpointFile`,
//! `LeaderEpochCheckpointFile`).
//!
//! Kafka's format has no checksum, and one flipped bit makes a 3 of a 7. Ottla seals what it writes with a CRC-32C that stands where
//! Kafka's readers see nothing: as 32 blanks at the end of the last entry, a tab for each bit that is set (they split lines at
//! whitespace). A file without blanks there is Kafka's own and taken as it is; a seal that does not fit makes the file malformed.

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
    sealed(text)
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
    sealed(text)
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

/// Bits of a seal, and so blanks.
const SEAL_BLANKS: usize = 32;

/// Puts the seal into a text that has entries.
fn sealed(mut text: String) -> String {
    if text.bytes().filter(|byte| *byte == b'\n').count() > 2 {
        let crc = crc32c::crc32c(text.as_bytes());
        text.truncate(text.len() - 1);
        text.extend((0..SEAL_BLANKS).map(|bit| if crc >> bit & 1 == 1 { '\t' } else { ' ' }));
        text.push('\n');
    }
    text
}

/// Whether the seal, if there is one, fits.
fn seal_fits(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_suffix(b"\n") else { return true };
    let text = rest.trim_ascii_end();
    match rest.len() - text.len() {
        0 => true,
        SEAL_BLANKS => {
            let blanks = &rest[text.len()..];
            let crc = blanks.iter().rev().fold(0, |crc: u32, blank| crc << 1 | u32::from(*blank == b'\t'));
            let is_blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
            blanks.iter().all(is_blank) && crc32c::crc32c_append(crc32c::crc32c(text), b"\n") == crc
        }
        _ => false,
    }
}

fn parse_lines(bytes: &[u8]) -> Option<Vec<&str>> {
    if !seal_fits(bytes) {
        return None;
    }
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
        assert_eq!(text.trim_ascii_end(), "0\n2\na 10 -1\nb 0 7");
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
        assert_eq!(text.trim_ascii_end(), "0\n2\n0 0\n4 99");
        assert_eq!(parse_epochs(b"0\n2\n0 0\n4 99\n").as_ref(), Some(&entries));
        assert_eq!(parse_epochs(text.as_bytes()), Some(entries));
    }

    #[test]
    fn every_flipped_bit_of_a_sealed_file_is_noticed() {
        let offsets: OffsetMap =
            [(TopicPartition::new("a", 0), 7), (TopicPartition::new("b", 1), 3)].into_iter().collect();
        let text = encode_offsets(&offsets).into_bytes();
        for bit in 0..text.len() * 8 {
            let mut damaged = text.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_offsets(&damaged), None, "bit {bit}");
        }
        assert_eq!(parse_offsets(encode_offsets(&OffsetMap::new()).as_bytes()), Some(OffsetMap::new()));
    }
}
