//! Every acknowledgement, kept until the checker has compared it with the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::tag::Tag;

/// One acknowledged record.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// The record.
    pub tag: Tag,
    /// The offset that was acknowledged.
    pub offset: i64,
    /// Whether its value is null.
    pub tombstone: bool,
    /// Bytes of key and value.
    pub bytes: usize,
    /// When the client learned it.
    pub at: Instant,
}

/// The acknowledgements of all producers.
#[derive(Clone, Default)]
pub struct Ledger {
    acks: Arc<Mutex<Vec<Ack>>>,
    count: Arc<AtomicU64>,
}

impl Ledger {
    /// Adds one.
    pub fn add(&self, ack: Ack) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.acks.lock().expect("not poisoned").push(ack);
    }

    /// Takes all that are there.
    pub fn take(&self) -> Vec<Ack> {
        std::mem::take(&mut self.acks.lock().expect("not poisoned"))
    }

    /// Puts back what could not be judged yet.
    pub fn put_back(&self, acks: Vec<Ack>) {
        self.acks.lock().expect("not poisoned").extend(acks);
    }

    /// How many there have been.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
