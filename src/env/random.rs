//! Randomness: the system's, or one that a seed repeats.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use parking_lot::Mutex;
use uuid::Uuid;

/// Randomness.
pub trait Random: Send + Sync {
    /// 64 random bits.
    fn next_u64(&self) -> u64;

    /// A random (version 4) id whose text form does not start with `-`, as Kafka's `Uuid.randomUuid`.
    fn uuid(&self) -> Uuid {
        loop {
            let bits = u128::from(self.next_u64()) << 64 | u128::from(self.next_u64());
            let id = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
            // '-' is digit 62 of URL-safe base64: the first six bits.
            if id.as_bytes()[0] >> 2 != 62 {
                return id;
            }
        }
    }
}

/// The operating system's randomness.
#[derive(Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn next_u64(&self) -> u64 {
        // Six bits of a version 4 id are fixed; hashing all of it with fresh keys spreads the other 122.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u128(Uuid::new_v4().as_u128());
        hasher.finish()
    }
}

/// A generator (SplitMix64) that gives the same numbers for the same seed.
pub struct SeededRandom {
    state: Mutex<u64>,
}

impl SeededRandom {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        let mut state = self.state.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = *state;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence() {
        let (one, other) = (SeededRandom::new(7), SeededRandom::new(7));
        assert!((0..100).all(|_| one.next_u64() == other.next_u64()));
        assert_ne!(SeededRandom::new(8).next_u64(), SeededRandom::new(7).next_u64());
    }

    #[test]
    fn ids_do_not_start_with_a_dash() {
        let random = SeededRandom::new(1);
        for _ in 0..10_000 {
            let id = random.uuid();
            assert_eq!(id.get_version_num(), 4);
            assert_ne!(id.as_bytes()[0] >> 2, 62);
        }
    }

    #[test]
    fn system_random_differs() {
        assert_ne!(SystemRandom.next_u64(), SystemRandom.next_u64());
    }
}
