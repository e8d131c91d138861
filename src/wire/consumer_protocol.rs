//! What members of protocol type `consumer` say of themselves (`ConsumerProtocol`): subscriptions and assignments, which
//! the broker otherwise does not look into.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use kafka_protocol::protocol::{Decodable, Encodable, Message};

use super::WireError;
use super::guard::decode_guarded;

/// Protocol type of consumer groups (`ConsumerProtocol.PROTOCOL_TYPE`).
pub const PROTOCOL_TYPE: &str = "consumer";

/// Reads the metadata of a member's protocol.
pub fn decode_subscription(metadata: &Bytes) -> Result<ConsumerProtocolSubscription, WireError> {
    decode(metadata)
}

/// Reads the assignment of a member.
pub fn decode_assignment(assignment: &Bytes) -> Result<ConsumerProtocolAssignment, WireError> {
    decode(assignment)
}

/// Writes a subscription in `version`.
pub fn encode_subscription(subscription: &ConsumerProtocolSubscription, version: i16) -> Result<Bytes, WireError> {
    encode(subscription, version)
}

/// Writes an assignment in `version`.
pub fn encode_assignment(assignment: &ConsumerProtocolAssignment, version: i16) -> Result<Bytes, WireError> {
    encode(assignment, version)
}

/// A newer version than ours is read as our newest, since versions only add fields at the end
/// (`ConsumerProtocol.checkSubscriptionVersion`).
fn decode<M: Message + Decodable>(bytes: &Bytes) -> Result<M, WireError> {
    let mut buffer = bytes.clone();
    let version = buffer.try_get_i16().map_err(|_| WireError::Undecodable("no version".to_owned()))?;
    if version < M::VERSIONS.min {
        return Err(WireError::Undecodable(format!("consumer protocol version {version}")));
    }
    decode_guarded(buffer, version.min(M::VERSIONS.max))
}

fn encode<M: Encodable>(message: &M, version: i16) -> Result<Bytes, WireError> {
    let unencodable = |error: anyhow::Error| WireError::Unencodable(error.to_string());
    let mut buffer = BytesMut::with_capacity(2 + message.compute_size(version).map_err(unencodable)?);
    buffer.put_i16(version);
    message.encode(&mut buffer, version).map_err(unencodable)?;
    Ok(buffer.freeze())
}
