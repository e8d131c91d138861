//! Batches and their records, as a log or a fetch answer holds them; and each codec alone. The first byte chooses.
#![no_main]

mod memory;

use libfuzzer_sys::fuzz_target;
use ottla::record::{BatchIterator, CompressionType, check_crc, decompress, records};

const LIMIT: usize = 1024 * 1024;

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    if let 1..=4 = choice {
        let codec = CompressionType::from_id(i16::from(*choice)).expect("a codec");
        if let Ok(decompressed) = decompress(codec, rest, LIMIT) {
            assert!(decompressed.len() <= LIMIT);
        }
        return;
    }
    for batch in BatchIterator::new(rest) {
        let Ok((_, batch)) = batch else { return };
        let _ = check_crc(batch);
        if let Ok(records) = records(batch, LIMIT) {
            records.iter().for_each(drop);
        }
    }
});
