//! Names of files and directories (`LogFileUtils`, `LocalLog.parseTopicPartitionName`).

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::types::TopicPartition;

pub(super) const LOG_SUFFIX: &str = ".log";
pub(super) const INDEX_SUFFIX: &str = ".index";
pub(super) const TIME_INDEX_SUFFIX: &str = ".timeindex";
/// Aborted transactions of a segment; created with the first one.
pub(super) const TRANSACTION_INDEX_SUFFIX: &str = ".txnindex";
/// The checksum of a transaction index.
pub(super) const TRANSACTION_SEAL_SUFFIX: &str = ".txnindex-ottla";
pub(super) const SNAPSHOT_SUFFIX: &str = ".snapshot";
pub(super) const DELETED_SUFFIX: &str = ".deleted";
/// A cleaner's unfinished output; removed at start.
pub(super) const CLEANED_SUFFIX: &str = ".cleaned";
/// A cleaner's finished output, being put in place; completed at start.
pub(super) const SWAP_SUFFIX: &str = ".swap";
/// The offset where a segment that is being put in place ends; Kafka ignores it.
pub(super) const SWAP_EXTENT_SUFFIX: &str = ".extent.swap";
pub(super) const DELETE_DIR_SUFFIX: &str = "-delete";
pub(super) const STRAY_DIR_SUFFIX: &str = "-stray";
pub(super) const FUTURE_DIR_SUFFIX: &str = "-future";
pub(super) const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
pub(super) const PARTITION_METADATA: &str = "partition.metadata";

const MAX_DIRECTORY_NAME: usize = 255;

/// `00000000000000000042.log` and the like, in `directory`.
pub(super) fn offset_file(directory: &Path, offset: i64, suffix: &str) -> PathBuf {
    directory.join(format!("{offset:020}{suffix}"))
}

/// The offset in a file name with this very suffix.
pub(super) fn parse_offset_file(path: &Path, suffix: &str) -> Option<i64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(suffix)?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// What a directory inside a log directory is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogDirectoryEntry {
    Partition(TopicPartition),
    /// Waits for its removal.
    Deleted,
    /// Was found on disk but not in the metadata.
    Stray,
    /// A replica on its way to this log directory; not supported yet.
    Future,
    /// Not a partition's directory.
    Other,
}

/// Classifies a directory by its name.
pub(super) fn classify_directory(path: &Path) -> LogDirectoryEntry {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return LogDirectoryEntry::Other };
    // `<topic>-<partition>.<32 hex digits>-delete`
    let has_unique_id = |stem: &str| {
        stem.rsplit_once('.').is_some_and(|(partition, id)| {
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && parse_partition(partition).is_some()
        })
    };
    for (suffix, entry) in [
        (DELETE_DIR_SUFFIX, LogDirectoryEntry::Deleted),
        (STRAY_DIR_SUFFIX, LogDirectoryEntry::Stray),
        (FUTURE_DIR_SUFFIX, LogDirectoryEntry::Future),
    ] {
        if name.strip_suffix(suffix).is_some_and(has_unique_id) {
            return entry;
        }
    }
    parse_partition(name).map_or(LogDirectoryEntry::Other, LogDirectoryEntry::Partition)
}

fn parse_partition(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let valid_topic =
        !topic.is_empty() && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let canonical = partition.bytes().all(|byte| byte.is_ascii_digit());
    (valid_topic && canonical).then(|| partition.parse().ok().map(|number| TopicPartition::new(topic, number)))?
}

/// The name a directory gets when its partition is deleted or stray; cut to 255 bytes as Kafka does.
pub(super) fn renamed_directory(topic_partition: &TopicPartition, id: Uuid, suffix: &str) -> String {
    let tail = format!("-{}.{}{suffix}", topic_partition.partition, id.simple());
    let topic = &topic_partition.topic[..topic_partition.topic.len().min(MAX_DIRECTORY_NAME - tail.len())];
    format!("{topic}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_offset_files_with_twenty_digits() {
        let path = offset_file(Path::new("/d"), 42, LOG_SUFFIX);
        assert_eq!(path, Path::new("/d/00000000000000000042.log"));
        assert_eq!(parse_offset_file(&path, LOG_SUFFIX), Some(42));
        assert_eq!(parse_offset_file(&path, INDEX_SUFFIX), None);
        assert_eq!(parse_offset_file(Path::new("/d/.log"), LOG_SUFFIX), None);
        assert_eq!(parse_offset_file(Path::new("/d/99999999999999999999.log"), LOG_SUFFIX), None);
    }

    #[test]
    fn classifies_directories() {
        use LogDirectoryEntry::*;
        let classify = |name: &str| classify_directory(Path::new(name));
        assert_eq!(classify("/d/a-b-12"), Partition(TopicPartition::new("a-b", 12)));
        assert_eq!(classify("/d/a.b-0"), Partition(TopicPartition::new("a.b", 0)));
        assert_eq!(classify("/d/a"), Other);
        assert_eq!(classify("/d/-1"), Other);
        assert_eq!(classify("/d/a-x"), Other);
        assert_eq!(classify("/d/a--1"), Partition(TopicPartition::new("a-", 1)));
        let id = Uuid::from_u128(5);
        let long = TopicPartition::new("t".repeat(249), 3);
        let name = renamed_directory(&long, id, DELETE_DIR_SUFFIX);
        assert_eq!(name.len(), 255);
        assert_eq!(classify(&name), Deleted);
        assert_eq!(classify(&renamed_directory(&long, id, STRAY_DIR_SUFFIX)), Stray);
    }
}
