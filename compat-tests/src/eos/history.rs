//! The history of a run: one event a line of JSON, in the order in which the recorder saw them.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Outcome of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen and never will.
    Fail,
    /// Nobody knows.
    Info,
}

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    /// A record outside transactions.
    Send,
    /// A transaction: sends, polls, offsets.
    Txn,
    /// Records that a consumer got.
    Poll,
    /// Where a consumer reads from now on; its position is forgotten.
    Assign,
    /// Committed offsets of a group, read.
    Offsets,
    /// Watermarks of partitions, read.
    Watermarks,
    /// An answer to the raw client. Failed: it is not one of the answers that are right.
    Answer,
    /// A fresh consumer has read a partition from its beginning to its high watermark.
    FinalPoll,
    /// The end of a run. Failed: something did not come to rest.
    Settle,
    /// What the nemesis did.
    Nemesis,
}

/// A part of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mop", rename_all = "kebab-case")]
pub enum Mop {
    /// A record was written; its offset when it is known.
    Send {
        /// `topic-partition`.
        key: String,
        /// Never written twice in a run.
        value: u64,
        /// From the acknowledgement.
        offset: Option<i64>,
    },
    /// Records were read, in this order.
    Poll {
        /// Whether at isolation level read_committed.
        committed: bool,
        /// Key, offset, value.
        records: Vec<(String, i64, u64)>,
    },
    /// The transaction commits this offset for a group.
    Commit {
        /// Group id.
        group: String,
        /// Partition.
        key: String,
        /// The next offset to read.
        offset: i64,
    },
    /// A group has this committed offset, or none.
    Committed {
        /// Group id.
        group: String,
        /// Partition.
        key: String,
        /// The next offset to read.
        offset: Option<i64>,
    },
    /// A consumer reads these keys from now on; from their beginning, or from anywhere.
    Assign {
        /// Partitions.
        keys: Vec<String>,
        /// Whether each is read from its first record.
        beginning: bool,
    },
    /// Watermarks, each asked for after the one before.
    Watermarks {
        /// Partition.
        key: String,
        /// Log start offset.
        start: i64,
        /// Last stable offset.
        stable: i64,
        /// High watermark.
        high: i64,
        /// Log end offset.
        end: i64,
    },
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, from 0.
    pub i: u64,
    /// Nanoseconds since the run began.
    pub t_ns: u64,
    /// The client, a new name for each of its lives.
    #[serde(rename = "proc")]
    pub process: String,
    /// Operation: the invocation and the completion have the same number.
    pub op: u64,
    /// Invocation or outcome.
    #[serde(rename = "type")]
    pub outcome: Outcome,
    /// What it is.
    #[serde(rename = "f")]
    pub function: Function,
    /// Its parts; of an invocation those that are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mops: Vec<Mop>,
    /// Error, or what happened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

struct Inner {
    events: Vec<Event>,
    ops: u64,
    values: u64,
}

/// Takes events from all clients of a run.
#[derive(Clone)]
pub struct Recorder {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

impl Default for Recorder {
    fn default() -> Self {
        let inner = Inner { events: Vec::new(), ops: 0, values: 0 };
        Self { began: Instant::now(), inner: Arc::new(Mutex::new(inner)) }
    }
}

impl Recorder {
    /// A value that nobody has written.
    pub fn value(&self) -> u64 {
        let mut inner = self.inner.lock().expect("not poisoned");
        inner.values += 1;
        inner.values
    }

    /// An operation begins; returns its number.
    pub fn invoke(&self, process: &str, function: Function, mops: Vec<Mop>) -> u64 {
        let op = {
            let mut inner = self.inner.lock().expect("not poisoned");
            inner.ops += 1;
            inner.ops
        };
        self.add(process, op, Outcome::Invoke, function, mops, String::new());
        op
    }

    /// An operation is over.
    pub fn complete(
        &self,
        process: &str,
        op: u64,
        function: Function,
        outcome: Outcome,
        mops: Vec<Mop>,
        text: impl Into<String>,
    ) {
        self.add(process, op, outcome, function, mops, text.into());
    }

    /// An operation of which only the end is written down.
    pub fn note(
        &self,
        process: &str,
        function: Function,
        outcome: Outcome,
        mops: Vec<Mop>,
        text: impl Into<String>,
    ) -> u64 {
        let op = {
            let mut inner = self.inner.lock().expect("not poisoned");
            inner.ops += 1;
            inner.ops
        };
        self.add(process, op, outcome, function, mops, text.into());
        op
    }

    fn add(&self, process: &str, op: u64, outcome: Outcome, function: Function, mops: Vec<Mop>, text: String) {
        let mut inner = self.inner.lock().expect("not poisoned");
        let i = inner.events.len() as u64;
        let t_ns = self.began.elapsed().as_nanos() as u64;
        inner.events.push(Event { i, t_ns, process: process.to_owned(), op, outcome, function, mops, text });
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        self.inner.lock().expect("not poisoned").events.clone()
    }
}

/// Writes a history, one event a line.
pub fn write(path: &Path, events: &[Event]) -> Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for event in events {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

/// Reads a history.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    std::io::BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}
