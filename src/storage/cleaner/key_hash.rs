//! SipHash-2-4 with 128 bits (Aumasson and Bernstein): the hash of keys.
//!
//! Two keys with one hash would cost a record. 128 bits make that as unlikely as Kafka's MD5 does by chance; the secret of the process
//! makes it so on purpose too, which MD5 does not: whoever can write to a topic can compute MD5 collisions.

/// The secret that keys are hashed with; a new one for each cleaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHasher {
    k0: u64,
    k1: u64,
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }

    fn finish(&mut self) -> u64 {
        (0..4).for_each(|_| self.round());
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }
}

impl KeyHasher {
    pub(super) fn new(k0: u64, k1: u64) -> Self {
        Self { k0, k1 }
    }

    pub(super) fn hash(&self, key: &[u8]) -> [u64; 2] {
        let mut state = State {
            v0: self.k0 ^ 0x736f_6d65_7073_6575,
            v1: self.k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: self.k0 ^ 0x6c79_6765_6e65_7261,
            v3: self.k1 ^ 0x7465_6462_7974_6573,
        };
        let (words, tail) = key.as_chunks::<8>();
        words.iter().for_each(|word| state.absorb(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        last[7] = key.len() as u8;
        state.absorb(u64::from_le_bytes(last));
        state.v2 ^= 0xee;
        let low = state.finish();
        state.v1 ^= 0xdd;
        [low, state.finish()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the reference implementation: key 00 01 … 0f, input the bytes 00 01 ….
    #[test]
    fn hashes_as_the_reference_does() {
        let key: Vec<u8> = (0..16).collect();
        let word = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().unwrap());
        let hasher = KeyHasher::new(word(0), word(8));
        let expected: [(usize, [u8; 16]); 3] = [
            (0, [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93]),
            (1, [0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45]),
            (2, [0x81, 0x77, 0x22, 0x8d, 0xa4, 0xa4, 0x5d, 0xc7, 0xfc, 0xa3, 0x8b, 0xde, 0xf6, 0x0a, 0xff, 0xe4]),
        ];
        for (length, bytes) in expected {
            let input: Vec<u8> = (0..length as u8).collect();
            let [low, high] = hasher.hash(&input);
            assert_eq!([low.to_le_bytes(), high.to_le_bytes()].concat(), bytes, "{length}");
        }
    }

    #[test]
    fn every_byte_and_the_length_count() {
        let hasher = KeyHasher::new(1, 2);
        let mut seen = std::collections::HashSet::new();
        for length in 0..40 {
            assert!(seen.insert(hasher.hash(&vec![0; length])));
            for at in 0..length {
                let mut key = vec![0; length];
                key[at] = 1;
                assert!(seen.insert(hasher.hash(&key)), "{length} {at}");
            }
        }
        assert_ne!(hasher.hash(b"a"), KeyHasher::new(1, 3).hash(b"a"));
    }
}
