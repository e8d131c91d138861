//! Transactions of a log as its batches tell them, and the transaction indexes that must say the same.

use std::collections::HashMap;
use std::path::Path;

use super::{Problems, Severity};
use crate::record::BatchHeader;
use crate::storage::log::parse_marker;

const ENTRY_BYTES: usize = 34;

/// An aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aborted {
    producer_id: i64,
    first_offset: i64,
    last_offset: i64,
}

/// Follows the transactions over all segments of a log.
#[derive(Default)]
pub(super) struct Transactions {
    /// First offset of each open transaction, by producer.
    open: HashMap<i64, i64>,
    /// Those that an abort marker of the current segment ended.
    aborted: Vec<Aborted>,
    /// Abort markers of the current segment whose transaction began where the log no longer has it.
    markers: Vec<(i64, i64)>,
}

impl Transactions {
    pub(super) fn batch(&mut self, header: &BatchHeader, whole: Option<&[u8]>) {
        if !header.is_transactional() || !header.has_producer_id() {
            return;
        }
        if !header.is_control() {
            self.open.entry(header.producer_id).or_insert(header.base_offset);
            return;
        }
        let Some(Ok(Some(marker))) = whole.map(parse_marker) else { return };
        let first_offset = self.open.remove(&header.producer_id);
        if !marker.committed {
            self.markers.push((header.producer_id, header.last_offset()));
            if let Some(first_offset) = first_offset {
                let (producer_id, last_offset) = (header.producer_id, header.last_offset());
                self.aborted.push(Aborted { producer_id, first_offset, last_offset });
            }
        }
    }

    /// Compares a segment's index file (empty when there is none) with what the segment's markers said.
    pub(super) fn end_segment(&mut self, path: &Path, bytes: &[u8], severity: Severity, problems: &mut Problems) {
        let expected = std::mem::take(&mut self.aborted);
        let markers = std::mem::take(&mut self.markers);
        let odd = bytes.len() % ENTRY_BYTES;
        if odd != 0 {
            problems.add(Severity::Damage, path, Some((bytes.len() - odd) as u64), format!("{odd} bytes are no entry"));
        }
        let mut found = Vec::new();
        for (number, entry) in bytes.chunks_exact(ENTRY_BYTES).enumerate() {
            let at = Some((number * ENTRY_BYTES) as u64);
            let (version, fields) = decode(entry);
            let [producer_id, first_offset, last_offset, last_stable_offset] = fields;
            let is_known = markers.contains(&(producer_id, last_offset));
            if version != 0 {
                problems.add(Severity::Damage, path, at, format!("version {version} is unknown"));
            } else if !is_known || first_offset > last_offset || last_stable_offset > last_offset + 1 {
                let what = format!("no abort marker of producer {producer_id} stands at offset {last_offset}");
                problems.add(Severity::Damage, path, at, what);
            }
            found.push(Aborted { producer_id, first_offset, last_offset });
        }
        for aborted in expected.into_iter().filter(|aborted| !found.contains(aborted)) {
            let what = format!(
                "the aborted transaction of producer {} from offset {} to {} is missing: read_committed readers would \
                 see its records",
                aborted.producer_id, aborted.first_offset, aborted.last_offset
            );
            problems.add(severity, path, None, what);
        }
    }
}

fn decode(entry: &[u8]) -> (i16, [i64; 4]) {
    let mut fields = [0; 4];
    for (field, bytes) in fields.iter_mut().zip(entry[2..].chunks_exact(8)) {
        let mut array = [0; 8];
        array.copy_from_slice(bytes);
        *field = i64::from_be_bytes(array);
    }
    (i16::from_be_bytes([entry[0], entry[1]]), fields)
}
