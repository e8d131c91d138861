//! Records of the internal topics: the first byte chooses the kind. What decodes encodes to the same meaning.
#![no_main]

mod memory;

use libfuzzer_sys::fuzz_target;
use ottla::wire::records::group::{GroupMetadataValue, GroupRecordKey, LegacyOffsetCommitValue, OffsetCommitValue};
use ottla::wire::records::group::{decode_value, encode_value};
use ottla::wire::records::metadata::MetadataRecord;
use ottla::wire::records::transaction::{TransactionLogValue, decode_transaction_key};

macro_rules! value {
    ($value:ty, $bytes:expr) => {
        if let Ok((value, version)) = decode_value::<$value>($bytes) {
            let encoded = encode_value(&value, version).expect("encodes");
            assert_eq!(decode_value::<$value>(&encoded).expect("decodes"), (value, version));
        }
    };
}

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    match choice % 7 {
        0 => {
            if let Ok((record, version)) = MetadataRecord::decode(rest) {
                let encoded = record.encode(version).expect("encodes");
                let (again, _) = MetadataRecord::decode(&encoded).expect("decodes");
                // Not the records: a quota of NaN differs from itself.
                assert_eq!(again.encode(version).expect("encodes"), encoded);
            }
        }
        1 => drop(GroupRecordKey::decode(rest)),
        2 => drop(decode_transaction_key(rest)),
        3 => value!(OffsetCommitValue, rest),
        4 => value!(LegacyOffsetCommitValue, rest),
        5 => value!(GroupMetadataValue, rest),
        _ => value!(TransactionLogValue, rest),
    }
});
