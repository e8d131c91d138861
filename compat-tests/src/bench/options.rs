//! What the command line of the driver says.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// What is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Bulk produce.
    W1,
    /// Small requests.
    W3,
    /// Compressed produce, batches encoded beforehand.
    W4,
    /// Catch-up read.
    W5,
    /// Groups that tail a producer at a fixed rate.
    W6,
    /// End to end at a fixed rate.
    W7,
    /// Durable produce: `flush.messages=1`.
    W8,
    /// Many partitions.
    W10,
    /// Many connections.
    W11,
    /// A large group: all join, one leaves, one joins.
    W12a,
    /// Offset commits.
    W12b,
    /// Heartbeats of many groups.
    W12c,
    /// Topics made, described, looked up by time and deleted.
    W15,
    /// W7 beside a cold reader.
    W16,
    /// The physical floor, without a broker.
    Floor,
    /// Touches memory, so that the host backs it.
    Touch,
}

/// A codec of record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// LZ4 frames of independent blocks of 64 KiB.
    Lz4,
    /// Zstandard, level 3.
    Zstd,
}

/// One run of the driver. A parameter that is not given has the workload's own default, which the report names.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench_driver", about = "Drives one workload against one broker and prints one JSON object")]
pub struct Options {
    /// The workload.
    pub workload: Workload,
    /// HOST:PORT of the broker.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// The process to account to; without it no CPU figures.
    #[arg(long)]
    pub broker_pid: Option<u32>,
    /// Records to send or to read.
    #[arg(long)]
    pub records: Option<u64>,
    /// Bytes of a record's value.
    #[arg(long)]
    pub record_bytes: Option<usize>,
    /// Codec of W4: lz4 or zstd.
    #[arg(long, value_enum)]
    pub codec: Option<Codec>,
    /// Timestamps of W4: CreateTime or LogAppendTime.
    #[arg(long)]
    pub timestamp_type: Option<String>,
    /// Messages, batches or requests a second of an open loop.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Tailing groups of W6, groups of W12c.
    #[arg(long)]
    pub groups: Option<usize>,
    /// Members of W12a.
    #[arg(long)]
    pub members: Option<usize>,
    /// Idle connections of W11.
    #[arg(long)]
    pub idle: Option<usize>,
    /// Topics of W15.
    #[arg(long)]
    pub topics: Option<usize>,
    /// Records in a batch.
    #[arg(long)]
    pub batch_records: Option<usize>,
    /// Partitions of the topic.
    #[arg(long)]
    pub partitions: Option<i32>,
    /// Connections that carry load.
    #[arg(long)]
    pub connections: Option<usize>,
    /// Requests in flight on a connection.
    #[arg(long)]
    pub in_flight: Option<usize>,
    /// -1, 0 or 1; 0 is not supported.
    #[arg(long, allow_hyphen_values = true)]
    pub acks: Option<i16>,
    /// Whether producers are idempotent.
    #[arg(long, action = clap::ArgAction::Set)]
    pub idempotent: Option<bool>,
    /// Seconds of the timed part.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Seconds before it that are not timed.
    #[arg(long)]
    pub warmup_seconds: Option<f64>,
    /// Read this topic instead of writing one first.
    #[arg(long)]
    pub topic: Option<String>,
    /// Topic configuration, NAME=VALUE, repeatable.
    #[arg(long = "config")]
    pub configs: Vec<String>,
    /// `fetch.max.bytes`.
    #[arg(long)]
    pub max_bytes: Option<i32>,
    /// `max.partition.fetch.bytes`.
    #[arg(long)]
    pub partition_max_bytes: Option<i32>,
    /// How often the topic is read.
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    /// Fetches in sessions, as the Java client does; otherwise every fetch names all partitions, as librdkafka does.
    #[arg(long)]
    pub session: bool,
    /// Whether readers verify checksums in the timed part.
    #[arg(long)]
    pub check_crcs: bool,
    /// Writes everything back and drops the page cache before reading.
    #[arg(long)]
    pub cold: bool,
    /// Do not read back what was acknowledged.
    #[arg(long)]
    pub no_read_back: bool,
    /// Directory for the files of the floor; should be on the broker's file system.
    #[arg(long, default_value = ".")]
    pub directory: PathBuf,
    /// GiB to touch.
    #[arg(long, default_value_t = 3.0)]
    pub gib: f64,
    /// A part of the floor alone.
    #[arg(long)]
    pub only: Option<String>,
    /// Scales the time and the bytes of the floor.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
}
