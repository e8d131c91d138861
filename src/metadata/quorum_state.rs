//! `quorum-state`: the epoch of the metadata log's leader, on disk before anything is written in that epoch
//! (`FileQuorumStateStore`). Apache Kafka begins the next epoch behind it, and so do we behind Kafka's.

use std::path::Path;

use serde_json::{Value, json};

use super::error::MetadataError;
use crate::env::Disk;

/// The file's name, beside the metadata log.
const QUORUM_STATE: &str = "quorum-state";
/// The longest such file that is read.
const MAX_BYTES: usize = 64 << 10;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QuorumState {
    /// The epoch of the last election.
    pub(super) leader_epoch: i32,
    /// The voters; `None` in the version for dynamic quorums, whose voters are in the log.
    pub(super) voters: Option<Vec<i32>>,
}

/// Reads the file: `Ok(None)` when there is none, the inner error says why it cannot be read. A quorum of one loses
/// nothing with it: no epoch is in it that matters and not in the log.
pub(super) fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<QuorumState>, String> {
    let path = directory.join(QUORUM_STATE);
    let bytes = match disk.read(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    parse(&bytes).map(Some).ok_or_else(|| format!("{} is not what Apache Kafka 4.3 writes", path.display()))
}

fn parse(bytes: &[u8]) -> Option<QuorumState> {
    let state: Value = serde_json::from_slice(bytes).ok()?;
    let epoch = i32::try_from(state.get("leaderEpoch")?.as_i64()?).ok().filter(|epoch| *epoch >= 0)?;
    let voters = match state.get("data_version")?.as_i64()? {
        0 => {
            let voters = state.get("currentVoters")?;
            let id = |voter: &Value| i32::try_from(voter.get("voterId")?.as_i64()?).ok();
            // Null before the first election.
            Some(voters.as_array().map_or(Some(Vec::new()), |voters| voters.iter().map(id).collect())?)
        }
        1 => None,
        _ => return None,
    };
    Some(QuorumState { leader_epoch: epoch, voters })
}

/// Notes durably that this node leads from now on in `leader_epoch`.
pub(super) fn write(
    disk: &dyn Disk,
    directory: &Path,
    node_id: i32,
    leader_epoch: i32,
    kraft_version: i16,
) -> Result<(), MetadataError> {
    let path = directory.join(QUORUM_STATE);
    disk.write_atomically(&path, encode(node_id, leader_epoch, kraft_version).as_bytes())
        .map_err(|error| MetadataError::disk("write", &path, error))
}

fn encode(node_id: i32, leader_epoch: i32, kraft_version: i16) -> String {
    let state = match kraft_version {
        0 => json!({
            "clusterId": "", "leaderId": node_id, "leaderEpoch": leader_epoch, "votedId": -1, "appliedOffset": 0,
            "currentVoters": [{ "voterId": node_id }], "data_version": 0,
        }),
        _ => json!({
            "leaderId": node_id, "leaderEpoch": leader_epoch, "votedId": -1,
            "votedDirectoryId": "AAAAAAAAAAAAAAAAAAAAAA", "data_version": 1,
        }),
    };
    state.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_writes_is_read() {
        let fixed = br#"{"clusterId":"","leaderId":1,"leaderEpoch":4,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
        assert_eq!(parse(fixed), Some(QuorumState { leader_epoch: 4, voters: Some(vec![1]) }));
        let dynamic = br#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        assert_eq!(parse(dynamic), Some(QuorumState { leader_epoch: 2, voters: None }));
    }

    #[test]
    fn what_we_write_is_read() {
        let state = parse(encode(7, 9, 0).as_bytes());
        assert_eq!(state, Some(QuorumState { leader_epoch: 9, voters: Some(vec![7]) }));
        assert_eq!(parse(encode(7, 9, 1).as_bytes()), Some(QuorumState { leader_epoch: 9, voters: None }));
    }

    #[test]
    fn anything_else_is_not() {
        for text in
            ["", "{}", "null", r#"{"leaderEpoch":1,"data_version":2}"#, r#"{"leaderEpoch":-1,"data_version":1}"#]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
