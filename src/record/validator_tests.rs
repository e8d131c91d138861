//! What is refused, in which order and in which words; what is changed in what is accepted.

use bytes::Bytes;

use super::*;
use crate::types::TopicPartition;

const NOW: i64 = 1_700_000_000_000;

fn rules() -> ValidationRules {
    ValidationRules::new(TopicPartition::new("orders", 3))
}

fn batch_with(properties: BatchProperties, records: &[(i64, Option<&[u8]>)]) -> Bytes {
    let mut builder = BatchBuilder::new(properties);
    for (timestamp, key) in records {
        builder.append(*timestamp, *key, Some(&[b'v'; 200]), &[]).expect("fits");
    }
    builder.build()
}

fn batch(codec: CompressionType) -> Bytes {
    let properties = BatchProperties { compression: codec.into(), ..BatchProperties::default() };
    batch_with(properties, &[(NOW, Some(b"a")), (NOW + 1, None), (NOW - 5, Some(b"c"))])
}

/// Changes the header and makes the checksum agree.
fn with_header(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(batch).expect("a header");
    change(&mut header);
    let mut bytes = batch.to_vec();
    bytes[..BATCH_HEADER_SIZE].copy_from_slice(&header.encode());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[CRC_OFFSET..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

fn refused(records: Bytes, rules: &ValidationRules) -> ValidationError {
    validate_produce(records, rules, NOW).expect_err("refused")
}

#[test]
fn good_batches_pass_untouched() {
    for codec in [CompressionType::None, CompressionType::Gzip, CompressionType::Zstd] {
        let sent = batch(codec);
        for strict in [false, true] {
            let rules = ValidationRules { strict, ..rules() };
            let accepted = validate_produce(sent.clone(), &rules, NOW).expect("accepted");
            assert_eq!(accepted.to_bytes(), sent, "{codec:?}");
            assert_eq!(accepted.size_in_bytes(), sent.len());
            assert_eq!(accepted.body.as_ptr(), sent[BATCH_HEADER_SIZE..].as_ptr(), "the body is not copied");
        }
        assert_eq!(ValidatedBatch::from_trusted(sent.clone()).expect("framed").to_bytes(), sent);
    }
}

#[test]
fn a_request_holds_exactly_one_batch_of_magic_2() {
    let one = batch(CompressionType::None);
    let two = Bytes::from([&one[..], &one[..]].concat());
    let cut = Bytes::from([&one[..], &one[..30]].concat());
    let invalid = |records| matches!(refused(records, &rules()), ValidationError::InvalidRecord(_));
    assert!(invalid(Bytes::new()));
    assert!(invalid(one.slice(..one.len() - 1)));
    assert!(invalid(two));
    assert_eq!(validate_produce(cut, &rules(), NOW).expect("the cut batch is dropped").to_bytes(), one);
    for magic in [0, 1] {
        let mut old = one.to_vec();
        old[MAGIC_OFFSET] = magic;
        assert!(invalid(old.into()));
    }
    let mut newer = one.to_vec();
    newer[MAGIC_OFFSET] = 3;
    assert!(matches!(refused(newer.into(), &rules()), ValidationError::CorruptFraming(_)));
}

#[test]
fn zstd_needs_produce_7() {
    let zstd = batch(CompressionType::Zstd);
    assert!(ProduceBatch::parse(&zstd, 7).is_ok());
    assert!(matches!(ProduceBatch::parse(&zstd, 6), Err(ValidationError::UnsupportedCompression(_))));
    assert!(ProduceBatch::parse(&batch(CompressionType::Lz4), 3).is_ok());
}

#[test]
fn header_rules_come_in_kafka_s_order() {
    let good = batch(CompressionType::None);
    let changed = |change: fn(&mut BatchHeader)| refused(with_header(&good, change), &rules()).to_string();
    // Each line breaks its own rule and all later ones.
    assert_eq!(
        changed(|header| (header.base_offset, header.last_offset_delta) = (7, -1)),
        "The baseOffset of the record batch in the append to orders-3 should be 0, but it is 7"
    );
    assert_eq!(
        changed(|header| (header.last_offset_delta, header.record_count) = (-1, 0)),
        "Batch has an invalid offset range: [0, -1]"
    );
    assert_eq!(changed(|header| header.record_count = 0), "Invalid reported count for record batch: 0");
    assert_eq!(changed(|header| header.record_count = -7), "Invalid reported count for record batch: -7");
    assert_eq!(
        changed(|header| (header.record_count, header.attributes) = (4, 0x20)),
        "Inconsistent batch offset range [0, 2] and count of records 4"
    );
    assert_eq!(
        changed(|header| (header.attributes, header.producer_id) = (0x20, 5)),
        "Clients are not allowed to write control records"
    );
    assert_eq!(
        changed(|header| header.producer_id = 5),
        "Invalid sequence number -1 in record batch with producerId 5"
    );
    assert_eq!(changed(|header| header.attributes = 5), "Unknown compression type id: 5");
}

#[test]
fn size_comes_before_checksum() {
    let good = batch(CompressionType::None);
    let mut broken = good.to_vec();
    broken[BATCH_HEADER_SIZE + 8] ^= 1;
    let small = rules().with_max_message_bytes(good.len() - 1);
    assert!(matches!(refused(broken.clone().into(), &small), ValidationError::MessageTooLarge(_)));
    assert!(matches!(refused(broken.into(), &rules()), ValidationError::CorruptMessage(_)));
    let exact = rules().with_max_message_bytes(good.len());
    validate_produce(good, &exact, NOW).expect("the limit is inclusive");
}

#[test]
fn compacted_topics_need_keys() {
    let compacted = ValidationRules { compacted: true, ..rules() };
    for codec in [CompressionType::None, CompressionType::Lz4] {
        let error = refused(batch(codec), &compacted);
        assert!(matches!(error, ValidationError::InvalidRecords { .. }));
        let message = "Compacted topic cannot accept message without key in topic partition orders-3";
        assert_eq!(error.record_errors(), [RecordProblem { batch_index: 1, message: message.to_owned() }]);
        assert_eq!(
            error.client_message(),
            Some(
                "One or more records have been rejected due to 1 record errors in total, and only showing the first three errors at most: \
                 [RecordError(batchIndex=1, message='Compacted topic cannot accept message without key in topic partition orders-3')]"
            )
        );
    }
}

#[test]
fn a_batch_of_bad_records_has_a_short_list_of_them() {
    let records = vec![(NOW, None); 30_000];
    let sent = batch_with(
        BatchProperties { compression: CompressionType::Zstd.into(), ..BatchProperties::default() },
        &records,
    );
    let error = refused(sent, &ValidationRules { compacted: true, ..rules() });
    assert_eq!(error.record_errors().len(), 10_000);
    assert!(error.client_message().is_some_and(|message| message.contains("due to 30000 record errors in total")));
}

#[test]
fn timestamps_stay_within_their_bounds() {
    let bounded = ValidationRules { before_max_ms: 10, after_max_ms: 20, ..rules() };
    for codec in [CompressionType::None, CompressionType::Snappy] {
        let properties = BatchProperties { compression: codec.into(), ..BatchProperties::default() };
        let of = |times: &[i64]| {
            let records: Vec<(i64, Option<&[u8]>)> = times.iter().map(|time| (*time, None)).collect();
            batch_with(properties.clone(), &records)
        };
        validate_produce(of(&[NOW - 10, NOW + 20, -1]), &bounded, NOW).expect("the edges and no timestamp");
        let error = refused(of(&[NOW - 11, NOW, NOW + 21]), &bounded);
        assert!(matches!(error, ValidationError::InvalidTimestamps { .. }));
        let indexes: Vec<i32> = error.record_errors().iter().map(|problem| problem.batch_index).collect();
        assert_eq!(indexes, [0, 2]);
        assert_eq!(error.client_message(), Some("One or more records have been rejected due to invalid timestamp"));
        assert_eq!(
            error.record_errors()[1].message,
            "Timestamp 1700000000021 of message with offset 2 is out of range. \
             The timestamp should be within [1699999999990, 1700000000020]"
        );
        // LogAppendTime asks for no bounds.
        let append_time = ValidationRules { timestamp_type: TimestampType::LogAppendTime, ..bounded.clone() };
        validate_produce(of(&[0, i64::MAX]), &append_time, NOW).expect("the broker's clock counts");
        for far in [i64::MIN, i64::MAX] {
            assert!(matches!(refused(of(&[far]), &bounded), ValidationError::InvalidTimestamps { .. }));
        }
    }
}

#[test]
fn append_time_is_written_into_the_header() {
    let append_time = ValidationRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    for codec in [CompressionType::None, CompressionType::Gzip] {
        let accepted = validate_produce(batch(codec), &append_time, NOW + 77).expect("accepted");
        assert_eq!(accepted.header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(accepted.header.max_timestamp, NOW + 77);
        check_crc(&accepted.to_bytes()).expect("the checksum was corrected");
        let bytes = accepted.to_bytes();
        let opened = records(&bytes, 10_000).expect("opens");
        assert!(opened.iter().all(|record| record.expect("reads").timestamp == NOW + 77));
    }
}

#[test]
fn clients_do_not_set_append_time() {
    for codec in [CompressionType::None, CompressionType::Zstd] {
        let sent = with_header(&batch(codec), |header| header.attributes |= 0x08);
        let append_time = ValidationRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
        let error = refused(sent.clone(), &append_time);
        assert!(matches!(error, ValidationError::InvalidTimestamps { .. }));
        assert_eq!(error.record_errors().len(), 3);
        // On a CreateTime topic Kafka takes the records' time, which is then the batch's maximum, and clears the bit.
        let accepted = validate_produce(sent, &rules(), NOW).expect("accepted");
        assert_eq!(accepted.header.timestamp_type(), TimestampType::CreateTime);
        check_crc(&accepted.to_bytes()).expect("the checksum was corrected");
    }
}

#[test]
fn a_wrong_maximum_timestamp_is_corrected() {
    let sent = with_header(&batch(CompressionType::None), |header| header.max_timestamp = 1);
    let accepted = validate_produce(sent, &rules(), NOW).expect("accepted");
    assert_eq!(accepted.to_bytes(), batch(CompressionType::None));
}

#[test]
fn another_codec_is_applied() {
    let codecs = [
        CompressionType::None,
        CompressionType::Gzip,
        CompressionType::Snappy,
        CompressionType::Lz4,
        CompressionType::Zstd,
    ];
    for source in codecs {
        for target in codecs {
            let recompress = ValidationRules { compression: Some(target.into()), ..rules() };
            let properties = BatchProperties {
                compression: source.into(),
                producer_id: 9,
                producer_epoch: 2,
                base_sequence: 40,
                is_transactional: true,
                ..BatchProperties::default()
            };
            let sent = batch_with(properties.clone(), &[(NOW, Some(b"a")), (NOW + 1, None)]);
            let accepted = validate_produce(sent, &recompress, NOW).expect("accepted").to_bytes();
            let wanted = batch_with(
                BatchProperties { compression: target.into(), ..properties },
                &[(NOW, Some(b"a")), (NOW + 1, None)],
            );
            assert_eq!(accepted, wanted, "{source:?} to {target:?}");
        }
    }
}

#[test]
fn size_is_checked_again_after_recompression() {
    let sent = batch(CompressionType::Gzip);
    let inflating =
        ValidationRules { compression: Some(Compression::NONE), ..rules().with_max_message_bytes(sent.len()) };
    let error = refused(sent, &inflating);
    assert!(matches!(error, ValidationError::MessageTooLarge(_)));
    assert!(error.to_string().contains("Message batch size is"), "{error}");
}

#[test]
fn a_bomb_is_too_large() {
    let mut builder =
        BatchBuilder::new(BatchProperties { compression: CompressionType::Zstd.into(), ..BatchProperties::default() });
    builder.append(NOW, Some(b"k"), Some(&vec![0; 8 << 20]), &[]).expect("fits");
    let compacted = ValidationRules { compacted: true, decompressed_limit: 1 << 20, ..rules() };
    assert!(matches!(refused(builder.build(), &compacted), ValidationError::MessageTooLarge(_)));
}

#[test]
fn a_count_that_the_records_do_not_bear_out_is_refused() {
    let good = batch(CompressionType::None);
    for count in [2, 4, i32::MAX] {
        let sent = with_header(&good, |header| {
            header.record_count = count;
            header.last_offset_delta = count - 1;
        });
        assert!(matches!(refused(sent, &rules()), ValidationError::InvalidRecord(_)), "{count}");
    }
}

/// What Apache Kafka 4.3.0 answered to batches that break one rule or several: `name|topic|hex|code|error message|index:message …`.
/// The first line is the time at which they were made.
#[test]
fn apache_kafka_answers_the_same() {
    // The broker's contract: these compressed batches are not opened, unless the rules are strict.
    let unopened =
        ["garbage gz", "cut gz", "garbage 2", "garbage 3", "garbage 4", "gz count3", "gz count1", "deltas gz"];
    let mut lines = include_str!("golden_answers.txt").lines();
    let now: i64 = lines.next().expect("a time").parse().expect("a time");
    for line in lines {
        let [name, topic, hex, code, message, problems] =
            line.split('|').collect::<Vec<_>>().try_into().expect("six columns");
        let records: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
        let mut rules = golden_rules(topic);
        assert_eq!(answer(&records, &rules, now), expected(code, message, problems), "{name}, strict");
        rules.strict = false;
        let lenient = answer(&records, &rules, now);
        if unopened.contains(&name) {
            assert_eq!(lenient.0, "0", "{name}");
        } else {
            assert_eq!(lenient, expected(code, message, problems), "{name}");
        }
    }
}

fn golden_rules(topic: &str) -> ValidationRules {
    let mut rules = ValidationRules { strict: true, ..ValidationRules::new(TopicPartition::new(topic, 0)) };
    match topic {
        "plain" => {}
        "compacted" => rules.compacted = true,
        "lat" => rules.timestamp_type = TimestampType::LogAppendTime,
        "bounded" => (rules.before_max_ms, rules.after_max_ms) = (1000, 1000),
        "small" => rules.max_message_bytes = 150,
        "zstd" => rules.compression = Some(CompressionType::Zstd.into()),
        "uncomp" => rules.compression = Some(Compression::NONE),
        other => panic!("unknown topic {other}"),
    }
    rules
}

type Answer = (String, String, Vec<String>);

fn expected(code: &str, message: &str, problems: &str) -> Answer {
    let problems = problems.split('~').filter(|problem| !problem.is_empty()).map(without_range).collect();
    (code.to_owned(), without_range(message), problems)
}

fn answer(records: &[u8], rules: &ValidationRules, now: i64) -> Answer {
    let Err(error) = validate_produce(Bytes::copy_from_slice(records), rules, now) else {
        return ("0".to_owned(), String::new(), Vec::new());
    };
    let code = match &error {
        ValidationError::CorruptMessage(_) | ValidationError::CorruptFraming(_) => 2,
        ValidationError::MessageTooLarge(_) => 10,
        ValidationError::InvalidTimestamps { .. } => 32,
        ValidationError::UnsupportedCompression(_) => 76,
        ValidationError::InvalidRecord(_) | ValidationError::InvalidRecords { .. } => 87,
        ValidationError::Unexpected(_) => -1,
    };
    let problems = error
        .record_errors()
        .iter()
        .map(|problem| without_range(&format!("{}:{}", problem.batch_index, problem.message)))
        .collect();
    (code.to_string(), error.client_message().unwrap_or_default().to_owned(), problems)
}

/// Without the range of allowed times, which moves with the broker's clock.
fn without_range(message: &str) -> String {
    message.split(" The timestamp should be within").next().unwrap_or_default().to_owned()
}
