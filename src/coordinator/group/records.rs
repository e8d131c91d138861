//! Kafka's bytes for the records of `__consumer_offsets` (`GroupCoordinatorRecordHelpers`,
//! `GroupCoordinatorRecordSerde`).

use std::sync::Arc;

use bytes::Bytes;

use super::record::{GroupMetadata, GroupRecord, MemberMetadata, OffsetAndMetadata};
use crate::coordinator::CoordinatorError;
use crate::coordinator::runtime::KeyValue;
use crate::wire::WireError;
use crate::wire::records::group as schema;

/// Written since Kafka 4.1: with the topic's id.
const OFFSET_COMMIT_VALUE_VERSION: i16 = 4;
/// The only version that has an expiry of its own; it knows neither leader epoch nor topic id.
const OFFSET_COMMIT_VALUE_WITH_EXPIRY_VERSION: i16 = 1;
const GROUP_METADATA_VALUE_VERSION: i16 = 3;
/// Stands for "none" in timestamps.
const NO_TIMESTAMP: i64 = -1;

/// Encodes a record.
pub fn encode(record: &GroupRecord) -> Result<KeyValue, CoordinatorError> {
    match record {
        GroupRecord::Offset { group_id, topic, partition, value } => Ok(KeyValue {
            key: encode_offset_key(group_id, topic, *partition)?,
            value: value.as_ref().map(encode_offset).transpose()?,
        }),
        GroupRecord::Group { group_id, value } => {
            let key = schema::GroupMetadataKey { group: group_id.to_string() };
            Ok(KeyValue {
                key: schema::encode_key(&key).map_err(unexpected)?,
                value: value.as_ref().map(encode_group).transpose()?,
            })
        }
    }
}

/// Bytes of key and value; more than anything allows when the record cannot be encoded (a string over 32 KiB).
pub fn encoded_size(record: &GroupRecord) -> usize {
    encode(record).map_or(usize::MAX, |encoded| encoded.key.len() + encoded.value.as_ref().map_or(0, Bytes::len))
}

/// Decodes a record; `None` for types of other kinds of groups.
pub fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<GroupRecord>, CoordinatorError> {
    match schema::GroupRecordKey::decode(key).map_err(corrupt)? {
        schema::GroupRecordKey::LegacyOffsetCommit(key) => {
            offset_record(&key.group, &key.topic, key.partition, value).map(Some)
        }
        schema::GroupRecordKey::OffsetCommit(key) => {
            offset_record(&key.group, &key.topic, key.partition, value).map(Some)
        }
        schema::GroupRecordKey::GroupMetadata(key) => {
            let value = value.map(decode_group).transpose()?;
            Ok(Some(GroupRecord::Group { group_id: Arc::from(key.group), value }))
        }
        schema::GroupRecordKey::Unknown(_) => Ok(None),
    }
}

/// What the schema says, written at once: this is most of what a commit writes, and the schema wants strings of its own.
fn encode_offset_key(group_id: &str, topic: &str, partition: i32) -> Result<Bytes, CoordinatorError> {
    let (Ok(group_length), Ok(topic_length)) = (i16::try_from(group_id.len()), i16::try_from(topic.len())) else {
        let key = schema::OffsetCommitKey { group: group_id.to_owned(), topic: topic.to_owned(), partition };
        return schema::encode_key(&key).map_err(unexpected);
    };
    let mut bytes = Vec::with_capacity(2 + 2 + group_id.len() + 2 + topic.len() + 4);
    bytes.extend(<schema::OffsetCommitKey as schema::CoordinatorKey>::RECORD_TYPE.to_be_bytes());
    bytes.extend(group_length.to_be_bytes());
    bytes.extend(group_id.as_bytes());
    bytes.extend(topic_length.to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend(partition.to_be_bytes());
    Ok(bytes.into())
}

/// The usual value, without expiry and remark, as [`encode_offset_key`]; `None` for others.
fn encode_usual_offset(value: &OffsetAndMetadata) -> Option<Bytes> {
    if value.expire_timestamp_ms.is_some() || !value.metadata.is_empty() {
        return None;
    }
    let has_id = !value.topic_id.is_nil();
    let mut bytes = Vec::with_capacity(2 + 8 + 4 + 1 + 8 + if has_id { 3 + 16 } else { 1 });
    bytes.extend(OFFSET_COMMIT_VALUE_VERSION.to_be_bytes());
    bytes.extend(value.offset.to_be_bytes());
    bytes.extend(value.leader_epoch.to_be_bytes());
    // A text of no bytes.
    bytes.push(1);
    bytes.extend(value.commit_timestamp_ms.to_be_bytes());
    if has_id {
        // One tagged field, number 0, 16 bytes.
        bytes.extend([1, 0, 16]);
        bytes.extend(value.topic_id.as_bytes());
    } else {
        bytes.push(0);
    }
    Some(bytes.into())
}

fn encode_offset(value: &OffsetAndMetadata) -> Result<Bytes, CoordinatorError> {
    if let Some(bytes) = encode_usual_offset(value) {
        return Ok(bytes);
    }
    encode_offset_by_schema(value)
}

fn encode_offset_by_schema(value: &OffsetAndMetadata) -> Result<Bytes, CoordinatorError> {
    let version = match value.expire_timestamp_ms {
        Some(_) => OFFSET_COMMIT_VALUE_WITH_EXPIRY_VERSION,
        None => OFFSET_COMMIT_VALUE_VERSION,
    };
    let message = schema::OffsetCommitValue {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.to_string(),
        commit_timestamp: value.commit_timestamp_ms,
        expire_timestamp: value.expire_timestamp_ms.unwrap_or(NO_TIMESTAMP),
        topic_id: value.topic_id,
    };
    schema::encode_value(&message, version).map_err(unexpected)
}

fn offset_record(
    group_id: &str,
    topic: &str,
    partition: i32,
    value: Option<&Bytes>,
) -> Result<GroupRecord, CoordinatorError> {
    let value = match value {
        None => None,
        Some(bytes) => {
            let (message, _) = schema::decode_value::<schema::OffsetCommitValue>(bytes).map_err(corrupt)?;
            Some(OffsetAndMetadata {
                offset: message.offset,
                leader_epoch: message.leader_epoch,
                metadata: message.metadata.into_boxed_str(),
                commit_timestamp_ms: message.commit_timestamp,
                expire_timestamp_ms: (message.expire_timestamp != NO_TIMESTAMP).then_some(message.expire_timestamp),
                topic_id: message.topic_id,
            })
        }
    };
    Ok(GroupRecord::Offset { group_id: Arc::from(group_id), topic: Arc::from(topic), partition, value })
}

fn encode_group(value: &GroupMetadata) -> Result<Bytes, CoordinatorError> {
    let text = |name: &Arc<str>| name.to_string();
    let members = value.members.iter().map(|member| schema::MemberMetadata {
        member_id: text(&member.member_id),
        group_instance_id: member.group_instance_id.as_ref().map(text),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    });
    let message = schema::GroupMetadataValue {
        protocol_type: value.protocol_type.as_ref().map(text).unwrap_or_default(),
        generation: value.generation,
        protocol: value.protocol.as_ref().map(text),
        leader: value.leader.as_ref().map(text),
        current_state_timestamp: value.state_timestamp_ms.unwrap_or(NO_TIMESTAMP),
        members: members.collect(),
    };
    schema::encode_value(&message, GROUP_METADATA_VALUE_VERSION).map_err(unexpected)
}

fn decode_group(bytes: &Bytes) -> Result<GroupMetadata, CoordinatorError> {
    let (message, _) = schema::decode_value::<schema::GroupMetadataValue>(bytes).map_err(corrupt)?;
    let members = message.members.into_iter().map(|member| MemberMetadata {
        member_id: Arc::from(member.member_id),
        group_instance_id: member.group_instance_id.map(Arc::from),
        client_id: Arc::from(member.client_id),
        client_host: Arc::from(member.client_host),
        // Version 0 had one timeout for both.
        rebalance_timeout_ms: match member.rebalance_timeout {
            -1 => member.session_timeout,
            timeout => timeout,
        },
        session_timeout_ms: member.session_timeout,
        subscription: member.subscription,
        assignment: member.assignment,
    });
    Ok(GroupMetadata {
        members: members.collect(),
        protocol_type: Some(message.protocol_type).filter(|name| !name.is_empty()).map(Arc::from),
        generation: message.generation,
        protocol: message.protocol.map(Arc::from),
        leader: message.leader.map(Arc::from),
        state_timestamp_ms: (message.current_state_timestamp != NO_TIMESTAMP)
            .then_some(message.current_state_timestamp),
    })
}

fn unexpected(error: WireError) -> CoordinatorError {
    CoordinatorError::Unexpected(error.to_string())
}

fn corrupt(error: WireError) -> CoordinatorError {
    CoordinatorError::CorruptRecord(error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Uuid;

    proptest! {
        #[test]
        fn what_is_written_at_once_is_what_the_schema_says(
            group in ".{0,40}",
            topic in ".{0,40}",
            partition in any::<i32>(),
            (offset, epoch, time) in any::<(i64, i32, i64)>(),
            id in prop_oneof![Just(0_u128), any::<u128>()],
        ) {
            let key = schema::OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition };
            prop_assert_eq!(encode_offset_key(&group, &topic, partition).unwrap(), schema::encode_key(&key).unwrap());
            let value = OffsetAndMetadata {
                offset,
                leader_epoch: epoch,
                metadata: Box::from(""),
                commit_timestamp_ms: time,
                expire_timestamp_ms: None,
                topic_id: Uuid::from_u128(id),
            };
            prop_assert_eq!(encode_usual_offset(&value).unwrap(), encode_offset_by_schema(&value).unwrap());
            let unusual = OffsetAndMetadata { metadata: Box::from("x"), ..value.clone() };
            prop_assert!(encode_usual_offset(&unusual).is_none());
            let unusual = OffsetAndMetadata { expire_timestamp_ms: Some(1), ..value };
            prop_assert!(encode_usual_offset(&unusual).is_none());
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_refused() {
        let name = "x".repeat(40_000);
        assert!(encode_offset_key(&name, "t", 0).is_err() && encode_offset_key("g", &name, 0).is_err());
    }
}
