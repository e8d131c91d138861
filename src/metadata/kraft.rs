//! What the control records of the metadata log say of its quorum: `kraft.version` and the voters (KIP-853). This broker
//! changes neither; it keeps them, so that every snapshot holds them again (`KRaftControlRecordStateMachine`).

use bytes::Bytes;

use crate::record::{BatchHeader, ControlRecordType, control_record_type, records as records_of};
use crate::types::Uuid;

/// The most bytes of a control batch that is read.
const MAX_CONTROL_BATCH_BYTES: usize = 1024 * 1024;

/// The quorum as the log has it. The default is a static quorum: the voters are in `controller.quorum.voters` only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KRaftState {
    version: i16,
    version_record: Option<Bytes>,
    voters_record: Option<Bytes>,
}

/// One of the voters that a `KRaftVoters` record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Voter {
    pub(super) id: i32,
    pub(super) directory_id: Uuid,
}

impl KRaftState {
    /// The level of `kraft.version`: 0 static, 1 dynamic voters.
    pub(super) fn version(&self) -> i16 {
        self.version
    }

    /// The control records that a snapshot's header is followed by, in Kafka's order.
    pub(super) fn snapshot_records(&self) -> Vec<(ControlRecordType, Bytes)> {
        let version = self.version_record.clone().map(|value| (ControlRecordType::KRaftVersion, value));
        let voters = self.voters_record.clone().map(|value| (ControlRecordType::KRaftVoters, value));
        version.into_iter().chain(voters).collect()
    }

    /// How many voters the log names, and the first; `None` when it names none.
    pub(super) fn voters(&self) -> Result<Option<(usize, Voter)>, String> {
        let Some(value) = &self.voters_record else { return Ok(None) };
        parse_voters(value).map(Some).ok_or_else(|| "a KRaftVoters record cannot be read".to_owned())
    }

    /// Notes what a batch of the log or of a snapshot says; batches of data say nothing.
    pub(super) fn observe(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), String> {
        if !header.is_control() {
            return Ok(());
        }
        let records = records_of(batch, MAX_CONTROL_BATCH_BYTES).map_err(|error| error.to_string())?;
        for record in records.iter() {
            let record = record.map_err(|error| error.to_string())?;
            let kind = record.key.and_then(control_record_type);
            let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
            match kind {
                Some(ControlRecordType::KRaftVersion) => {
                    let level = value.get(2..4).and_then(|bytes| bytes.try_into().ok());
                    self.version = level.map(i16::from_be_bytes).ok_or("a KRaftVersion record without a version")?;
                    self.version_record = Some(value);
                }
                Some(ControlRecordType::KRaftVoters) => {
                    parse_voters(&value).ok_or("a KRaftVoters record that names no voter")?;
                    self.voters_record = Some(value);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The number of voters and the first one: version, compact array of (id, directory id, …).
fn parse_voters(value: &[u8]) -> Option<(usize, Voter)> {
    let mut rest = value.get(2..)?;
    let mut length = 0_usize;
    for shift in (0..28).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let id = i32::from_be_bytes(*rest.first_chunk::<4>()?);
    let directory_id = Uuid::from_bytes(*rest.get(4..)?.first_chunk::<16>()?);
    Some((length.checked_sub(1).filter(|voters| *voters > 0)?, Voter { id, directory_id }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchIterator, snapshot_header_batch};

    #[test]
    fn voters_of_a_dynamic_quorum_are_read_and_kept() {
        // From a directory that Apache Kafka 4.3 formatted with --standalone: one voter, node 1.
        let mut voters = vec![0, 0, 2, 0, 0, 0, 1];
        voters.extend_from_slice(&[7; 16]);
        voters.extend_from_slice(&[2, 11]);
        voters.extend_from_slice(b"CONTROLLER");
        voters.extend_from_slice(&[10]);
        voters.extend_from_slice(b"127.0.0.1");
        voters.extend_from_slice(&[0x53, 0x37, 0, 0, 0, 0, 1, 0, 0, 0]);
        let more = [
            (ControlRecordType::KRaftVersion, Bytes::from_static(&[0, 0, 0, 1, 0])),
            (ControlRecordType::KRaftVoters, Bytes::from(voters)),
        ];
        let bytes = snapshot_header_batch(0, 1, 5, 5, &more);
        let mut state = KRaftState::default();
        for batch in BatchIterator::new(&bytes) {
            let (header, batch) = batch.expect("a batch");
            state.observe(&header, batch).expect("readable");
        }
        assert_eq!(state.version(), 1);
        let voter = Voter { id: 1, directory_id: Uuid::from_bytes([7; 16]) };
        assert_eq!(state.voters(), Ok(Some((1, voter))));
        assert_eq!(state.snapshot_records(), more);
        assert_eq!(KRaftState::default().voters(), Ok(None));
    }

    #[test]
    fn a_broken_list_of_voters_is_no_list() {
        for value in [&[][..], &[0, 0], &[0, 0, 1], &[0, 0, 2, 0, 0], &[0, 0, 0x80, 0x80, 0x80, 0x80, 0x80]] {
            assert_eq!(parse_voters(value), None, "{value:?}");
        }
    }
}
