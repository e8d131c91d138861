//! The newest offset of each key (`SkimpyOffsetMap`): 24 bytes a key, whatever the keys' sizes, in one table of fixed size.

use super::key_hash::KeyHasher;

/// Bytes of an entry: a hash of 128 bits and an offset.
pub(super) const ENTRY_BYTES: usize = 24;

/// One slot; an offset of zero means empty, any other is one more than the key's.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: [u64; 2],
    offset_and_one: u64,
}

/// Keys by their hash, and the offset up to which the log was read into the map.
pub(super) struct OffsetMap {
    hasher: KeyHasher,
    slots: Vec<Slot>,
    entries: usize,
    entries_max: usize,
    latest_offset: i64,
}

impl OffsetMap {
    /// A map for `records` records at most, within `bytes_max` bytes of which `load_factor` may be used. Its memory is what the operating
    /// system hands out page by page, as slots are written.
    pub(super) fn new(hasher: KeyHasher, records: u64, bytes_max: usize, load_factor: f64) -> Self {
        let load_factor = load_factor.clamp(0.01, 1.0);
        let wanted = (records as f64 / load_factor) as usize + 2;
        let slots = wanted.min(bytes_max / ENTRY_BYTES).max(2);
        // At least one slot stays empty: where a search ends.
        let entries_max = ((slots as f64 * load_factor) as usize).clamp(1, slots - 1);
        Self { hasher, slots: vec![Slot::default(); slots], entries: 0, entries_max, latest_offset: -1 }
    }

    /// The last offset that was read into the map; -1 while none was.
    pub(super) fn latest_offset(&self) -> i64 {
        self.latest_offset
    }

    /// Everything up to `offset` is in the map.
    pub(super) fn update_latest_offset(&mut self, offset: i64) {
        self.latest_offset = self.latest_offset.max(offset);
    }

    /// Notes a key at an offset; offsets come ascending. False: the map is full and unchanged.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        if self.entries >= self.entries_max {
            return false;
        }
        let hash = self.hasher.hash(key);
        let at = self.find(hash);
        let slot = &mut self.slots[at];
        let offset_and_one = offset as u64 + 1;
        if slot.offset_and_one == 0 {
            self.entries += 1;
        } else if slot.offset_and_one >= offset_and_one {
            return true;
        }
        *slot = Slot { hash, offset_and_one };
        true
    }

    /// The newest offset of a key, if it was put.
    pub(super) fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots[self.find(self.hasher.hash(key))];
        slot.offset_and_one.checked_sub(1).map(|offset| offset as i64)
    }

    /// How full the table is, in percent.
    pub(super) fn utilization_percent(&self) -> u64 {
        (self.entries as u64 * 100) / self.slots.len() as u64
    }

    /// Bytes of the table.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * ENTRY_BYTES
    }

    /// The slot of a hash, or the empty one where it belongs.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len() as u64;
        // The upper part of a product spreads a hash over any number of slots.
        let mut at = ((u128::from(hash[0]) * u128::from(count)) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot.offset_and_one == 0 || slot.hash == hash {
                return at;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn map(records: u64, bytes_max: usize) -> OffsetMap {
        OffsetMap::new(KeyHasher::new(3, 4), records, bytes_max, 0.9)
    }

    #[test]
    fn takes_no_more_than_it_was_given() {
        let small = map(10, 128 << 20);
        assert!(small.bytes() <= 14 * ENTRY_BYTES);
        let capped = map(1 << 40, 1 << 20);
        assert!(capped.bytes() <= 1 << 20 && capped.bytes() > (1 << 20) - ENTRY_BYTES);
        assert_eq!(std::mem::size_of::<Slot>(), ENTRY_BYTES);
    }

    #[test]
    fn says_when_it_is_full_and_still_finds_what_it_has() {
        let mut map = map(1 << 30, 100 * ENTRY_BYTES);
        let count = (0i64..).take_while(|offset| map.put(&offset.to_be_bytes(), *offset)).count();
        assert_eq!(count, 90);
        assert!(!map.put(b"one more", 500));
        assert_eq!(map.utilization_percent(), 90);
        for offset in 0..90i64 {
            assert_eq!(map.get(&offset.to_be_bytes()), Some(offset));
        }
        assert_eq!(map.get(b"one more"), None);
    }

    #[test]
    fn the_newest_offset_wins() {
        let mut map = map(10, 1 << 20);
        assert!(map.put(b"a", 0) && map.put(b"b", 1) && map.put(b"a", 7) && map.put(b"a", 3));
        assert_eq!((map.get(b"a"), map.get(b"b"), map.get(b"")), (Some(7), Some(1), None));
        assert_eq!(map.latest_offset(), -1);
        map.update_latest_offset(7);
        map.update_latest_offset(5);
        assert_eq!(map.latest_offset(), 7);
    }

    proptest! {
        #[test]
        fn behaves_as_a_hash_map(keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..200)) {
            let mut map = map(keys.len() as u64, 1 << 20);
            let mut model = HashMap::new();
            for (offset, key) in keys.iter().enumerate() {
                prop_assert!(map.put(key, offset as i64));
                model.insert(key.clone(), offset as i64);
            }
            for (key, offset) in &model {
                prop_assert_eq!(map.get(key), Some(*offset));
            }
            prop_assert_eq!(map.get(b"a key of thirteen"), None);
        }
    }
}
