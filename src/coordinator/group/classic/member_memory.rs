//! The memory that members' metadata takes. It may be as long as a frame, and who vanishes while it joins is forgotten after five
//! minutes only: 60 such members took 900 MB.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;

use super::member::Protocol;

/// Bytes that the names of one member's protocols may take, each with `NAME_MEMORY`.
const NAMES_MAX: usize = 64 * 1024;
/// What a protocol takes beside its name and its metadata.
const NAME_MEMORY: usize = 64;

/// What the metadata of all members may take together.
pub struct MemberMemory {
    limit: usize,
    used: Arc<AtomicUsize>,
}

impl MemberMemory {
    /// At most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: Arc::default() }
    }

    /// Copies a request's protocols out of the receive buffer; the metadata count until the last copy is dropped.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE, after which clients try again, where there is no room for the metadata; INVALID_REQUEST for a
    /// thousand protocols.
    pub fn copy(&self, protocols: &[JoinGroupRequestProtocol]) -> Result<Vec<Protocol>, ResponseError> {
        if protocols.iter().map(|protocol| protocol.name.len() + NAME_MEMORY).sum::<usize>() > NAMES_MAX {
            return Err(ResponseError::InvalidRequest);
        }
        let length = protocols.iter().map(|protocol| protocol.metadata.len()).sum();
        let held = self.hold(length).ok_or(ResponseError::CoordinatorNotAvailable)?;
        let mut bytes = Vec::with_capacity(length);
        protocols.iter().for_each(|protocol| bytes.extend_from_slice(&protocol.metadata));
        let mut rest = Bytes::from_owner(Metadata { bytes, _held: held });
        let copied = protocols.iter().map(|protocol| {
            let name = Arc::from(protocol.name.as_str());
            (name, rest.split_to(protocol.metadata.len()))
        });
        Ok(copied.collect())
    }

    fn hold(&self, bytes: usize) -> Option<Held> {
        let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Held { used: self.used.clone(), bytes })
    }
}

struct Held {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Metadata {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Metadata {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn protocols(lengths: &[usize]) -> Vec<JoinGroupRequestProtocol> {
        let protocol = |(index, length): (usize, &usize)| {
            JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_string(index.to_string()))
                .with_metadata(vec![index as u8; *length].into())
        };
        lengths.iter().enumerate().map(protocol).collect()
    }

    #[test]
    fn metadata_count_until_their_last_copy_is_gone() {
        let memory = MemberMemory::new(100);
        let mut member = memory.copy(&protocols(&[30, 0, 30])).expect("room");
        let own: Vec<(&str, &[u8])> = member.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
        assert_eq!(own, [("0", &[0; 30][..]), ("1", &[]), ("2", &[2; 30])]);
        assert_eq!(memory.copy(&protocols(&[41])), Err(ResponseError::CoordinatorNotAvailable));
        assert!(memory.copy(&protocols(&[40])).is_ok());
        let chosen = member.swap_remove(2);
        drop(member);
        assert_eq!(memory.copy(&protocols(&[41])), Err(ResponseError::CoordinatorNotAvailable));
        drop(chosen);
        assert!(memory.copy(&protocols(&[100])).is_ok());
    }

    #[test]
    fn a_member_names_no_thousand_protocols() {
        let memory = MemberMemory::new(100);
        assert!(memory.copy(&protocols(&[0; 900])).is_ok());
        assert_eq!(memory.copy(&protocols(&[0; 1100])), Err(ResponseError::InvalidRequest));
    }
}
