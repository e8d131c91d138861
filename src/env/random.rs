//! Randomness: the system's, or one that a seed repeats.

use uuid::Uuid;

/// Randomness.
pub trait Random: Send + Sync {
    /// 64 random bits.
    fn next_u64(&self) -> u64;

    /// A random (version 4) id whose text form does not start with `-`, as Kafka's `Uuid.randomUuid`.
    fn uuid(&self) -> Uuid {
        loop {
            let id = uuid::Builder::from_random_bytes(
                (u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())).to_be_bytes(),
            )
            .into_uuid();
            // '-' is digit 62 of URL-safe base64: the first six bits.
            if id.as_bytes()[0] >> 2 != 62 {
                return id;
            }
        }
    }
}
