//! W4: batches that were compressed beforehand, so that only the broker's share of compression is measured.

use std::io::Write;

use anyhow::{Result, ensure};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::batch::{Noise, Producer, Template, record};
use super::bulk;
use super::connection::Connection;
use super::lanes::{Load, Plan, Spread};
use super::options::{Codec, Options};
use super::report::Report;
use super::topics;

const LZ4: i16 = 3;
const ZSTD: i16 = 4;
const ZSTD_LEVEL: i32 = 3;
const TEMPLATES: u64 = 16;

/// W4.
pub fn run(options: &Options) -> Result<Report> {
    let mut options = options.clone();
    let codec = options.codec.unwrap_or(Codec::Lz4);
    let timestamp_type = options.timestamp_type.clone().unwrap_or("CreateTime".to_owned());
    options.configs.push(format!("message.timestamp.type={timestamp_type}"));
    let mut report = Report::of(&options);
    report.parameter("codec", if codec == Codec::Lz4 { "lz4" } else { "zstd" });
    report.parameter("timestamp_type", timestamp_type);
    let records = options.records.unwrap_or(500_000);
    let record_bytes = report.parameter("record_bytes", options.record_bytes.unwrap_or(1024));
    let batch_records = report.parameter("batch_records", options.batch_records.unwrap_or(100));
    let partitions = report.parameter("partitions", options.partitions.unwrap_or(6));
    let plan = Plan {
        lanes: report.parameter("connections", options.connections.unwrap_or(1)),
        in_flight: report.parameter("in_flight", options.in_flight.unwrap_or(5)),
        acks: report.parameter("acks", options.acks.unwrap_or(-1)),
        idempotent: report.parameter("idempotent", options.idempotent.unwrap_or(true)),
        spread: Spread::RoundRobin,
    };
    let mut control = Connection::open(&options.bootstrap)?;
    let topic = topics::create_serving(&mut control, &report.workload, partitions, &options.configs)?;
    report.parameter("topic", topic.name.clone());
    let templates = |producer| -> Result<Vec<Template>> {
        (1..=TEMPLATES).map(|seed| template(producer, codec, seed, batch_records, record_bytes)).collect()
    };
    let mut load = Load::open(&options.bootstrap, &topic, plan, templates)?;
    bulk::count(&options, &mut report, &mut load, records.div_ceil(batch_records as u64))?;
    let (packed, plain) = load.template_bytes();
    report.measure("compressed_bytes", (report.bytes as f64 * packed as f64 / plain as f64) as u64);
    Ok(report)
}

fn template(producer: Producer, codec: Codec, seed: u64, records: usize, record_bytes: usize) -> Result<Template> {
    let (mut noise, mut plain) = (Noise::new(seed), Vec::new());
    for number in 0..records {
        record(&mut plain, number as i64, &json(&mut noise, record_bytes));
    }
    let (attributes, packed) = match codec {
        Codec::Lz4 => (LZ4, lz4(&plain)?),
        Codec::Zstd => (ZSTD, zstd::bulk::compress(&plain, ZSTD_LEVEL)?),
    };
    ensure!(packed.len() < plain.len(), "nothing was compressed");
    Ok(Template::of_records(producer, attributes, records as i32, (records * record_bytes) as u64, &packed))
}

fn lz4(plain: &[u8]) -> Result<Vec<u8>> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(plain)?;
    Ok(encoder.finish()?)
}

/// An event of which half is the same every time and half is noise.
fn json(noise: &mut Noise, bytes: usize) -> Vec<u8> {
    const KEYS: [&str; 8] = [
        "session_identifier",
        "page_location",
        "referring_page",
        "browser_version",
        "client_address",
        "experiment",
        "user_identifier",
        "checksum",
    ];
    let mut text = b"{\"event_type\":\"page_view\",\"schema_version\":7".to_vec();
    for key in KEYS.iter().cycle() {
        if text.len() + 40 > bytes {
            break;
        }
        text.extend(format!(",\"{key}\":\"").bytes());
        text.extend(noise.bytes(20));
        text.push(b'"');
    }
    text.resize(bytes - 1, b' ');
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::records::{Compression, RecordBatchDecoder};

    use super::*;
    use crate::bench::batch::{NOBODY, Seen};

    #[test]
    fn compressed_templates_hold_what_they_say() {
        for (codec, compression) in [(Codec::Lz4, Compression::Lz4), (Codec::Zstd, Compression::Zstd)] {
            let template = template(NOBODY, codec, 1, 10, 1024).expect("a batch");
            let mut copy = template.bytes().to_vec();
            template.stamp(&mut copy, 77, 0);
            assert!(copy.len() < 10 * 1024 && Seen::all(&copy).next().expect("whole").intact());
            let unpack = |packed: &mut Bytes, found: Compression| {
                assert!(found == compression);
                let plain = match codec {
                    Codec::Lz4 => {
                        let mut plain = Vec::new();
                        std::io::Read::read_to_end(&mut lz4_flex::frame::FrameDecoder::new(&packed[..]), &mut plain)?;
                        plain
                    }
                    Codec::Zstd => zstd::bulk::decompress(packed, 1 << 20)?,
                };
                Ok(Bytes::from(plain))
            };
            let decoded = RecordBatchDecoder::decode_with_custom_compression(&mut Bytes::from(copy), Some(unpack))
                .expect("a batch");
            assert_eq!(decoded.records.len(), 10);
            assert!(
                decoded.records.iter().all(|record| record.value.as_ref().is_some_and(|value| value.len() == 1024))
            );
        }
    }
}
