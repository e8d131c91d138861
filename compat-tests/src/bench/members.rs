//! What a member of a classic consumer group says, by the codec.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;

/// Version of JoinGroup.
pub const JOIN: i16 = 9;
/// Version of SyncGroup.
pub const SYNC: i16 = 5;
/// Version of Heartbeat.
pub const HEARTBEAT: i16 = 4;
/// Version of LeaveGroup.
pub const LEAVE: i16 = 5;
const PROTOCOL_TYPE: StrBytes = StrBytes::from_static_str("consumer");
const PROTOCOL: StrBytes = StrBytes::from_static_str("range");
const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 300_000;

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

/// Joins, with the id that the broker gave, or none.
pub fn join(group: &str, member_id: &StrBytes, topic: &str) -> JoinGroupRequest {
    let mut subscription = vec![0, 0, 0, 0, 0, 1];
    subscription.extend((topic.len() as i16).to_be_bytes());
    subscription.extend(topic.bytes());
    subscription.extend((-1i32).to_be_bytes());
    let protocol = JoinGroupRequestProtocol::default().with_name(PROTOCOL).with_metadata(Bytes::from(subscription));
    JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(SESSION_TIMEOUT_MS)
        .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
        .with_member_id(member_id.clone())
        .with_protocol_type(PROTOCOL_TYPE)
        .with_protocols(vec![protocol])
}

/// Asks for its partitions; the leader brings those of all.
pub fn sync(
    group: &str,
    member_id: &StrBytes,
    generation: i32,
    assignments: Vec<SyncGroupRequestAssignment>,
) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(generation)
        .with_member_id(member_id.clone())
        .with_protocol_type(Some(PROTOCOL_TYPE))
        .with_protocol_name(Some(PROTOCOL))
        .with_assignments(assignments)
}

/// Is alive.
pub fn heartbeat(group: &str, member_id: &StrBytes, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(generation)
        .with_member_id(member_id.clone())
}

/// Leaves.
pub fn leave(group: &str, member_id: &StrBytes) -> LeaveGroupRequest {
    let member = MemberIdentity::default().with_member_id(member_id.clone());
    LeaveGroupRequest::default().with_group_id(group_id(group)).with_members(vec![member])
}

/// Every partition of the topic to somebody, in ranges.
pub fn assign(members: &[JoinGroupResponseMember], topic: &str, partitions: i32) -> Vec<SyncGroupRequestAssignment> {
    let count = members.len() as i32;
    let range = |number: i32| (number * partitions / count)..((number + 1) * partitions / count);
    (0..)
        .zip(members)
        .map(|(number, member)| {
            let mut bytes = vec![0, 0, 0, 0, 0, 1];
            bytes.extend((topic.len() as i16).to_be_bytes());
            bytes.extend(topic.bytes());
            bytes.extend((range(number).len() as i32).to_be_bytes());
            range(number).for_each(|partition| bytes.extend(partition.to_be_bytes()));
            bytes.extend((-1i32).to_be_bytes());
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(Bytes::from(bytes))
        })
        .collect()
}

/// The partitions of an assignment.
pub fn assigned(bytes: &[u8]) -> Result<Vec<i32>> {
    let name = bytes.get(6..8).context("a short assignment")?;
    let at = 8 + usize::from(u16::from_be_bytes([name[0], name[1]]));
    let rest = bytes.get(at..).context("a short assignment")?;
    let (count, rest) = rest.split_first_chunk::<4>().context("a short assignment")?;
    let count = i32::from_be_bytes(*count) as usize;
    ensure!(rest.len() >= count * 4, "a short assignment");
    Ok(rest[..count * 4].chunks_exact(4).map(|word| i32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_is_assigned_once() {
        let members: Vec<_> = ["a", "b", "c"]
            .map(|id| JoinGroupResponseMember::default().with_member_id(StrBytes::from_static_str(id)))
            .into();
        let assignments = assign(&members, "some-topic", 10);
        let mut all = Vec::new();
        for assignment in &assignments {
            all.extend(assigned(&assignment.assignment).expect("an assignment"));
        }
        assert_eq!((assignments.len(), all), (3, (0..10).collect()));
    }
}
