//! The one thing that the coordinator reads in a member's metadata: the topics of a consumer's subscription.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The topics in `ConsumerProtocolSubscription` metadata of any version: version 0 is a prefix of all later ones
/// (`ClassicGroup.computeSubscribedTopics`). `None` when the bytes are something else.
pub fn subscribed_topics(metadata: &[u8]) -> Option<BTreeSet<Arc<str>>> {
    let mut rest = metadata;
    let version = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
    if version < 0 {
        return None;
    }
    let count = i32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
    let mut topics = BTreeSet::new();
    // A lying count runs out of bytes; nothing is reserved for it.
    for _ in 0..u32::try_from(count).ok()? {
        let length = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let name = std::str::from_utf8(take(&mut rest, usize::try_from(length).ok()?)?).ok()?;
        topics.insert(Arc::from(name));
    }
    let user_data = i32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
    if user_data > 0 {
        take(&mut rest, usize::try_from(user_data).ok()?)?;
    }
    Some(topics)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_prefix_of_every_version() {
        let v0 = b"\0\0\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        let expected: BTreeSet<Arc<str>> = [Arc::from("a"), Arc::from("bc")].into();
        assert_eq!(subscribed_topics(v0), Some(expected.clone()));
        let v1 = b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\0\0\0\x01x\0\0\0\0";
        assert_eq!(subscribed_topics(v1), Some(expected));
    }

    #[test]
    fn refuses_what_is_not_a_subscription() {
        for bytes in
            [&b""[..], b"\xff\xff\0\0\0\0\0\0\0\0", b"\0\0\x7f\xff\xff\xff", b"\0\0\0\0\0\x01\0\x05ab", b"opaque"]
        {
            assert_eq!(subscribed_topics(bytes), None, "{bytes:?}");
        }
    }
}
