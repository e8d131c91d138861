//! A coordinator's log in memory.

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::CoordinatorLog;
use crate::coordinator::CoordinatorError;
use crate::env::BoxFuture;
use crate::record::{BatchHeader, patch_offset_and_epoch};

struct State {
    batches: Vec<(BatchHeader, Bytes)>,
    end: i64,
    failure: Option<CoordinatorError>,
    is_held: bool,
    max_batch_bytes: usize,
}

/// High watermark, and whether this broker still leads.
type Commit = (i64, bool);

pub struct MemoryLog {
    state: Mutex<State>,
    commit: watch::Sender<Commit>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        let state = State { batches: Vec::new(), end: 0, failure: None, is_held: false, max_batch_bytes: 1_048_588 };
        Self { state: Mutex::new(state), commit: watch::channel((0, true)).0 }
    }
}

impl MemoryLog {
    pub fn fail_next_append(&self, error: CoordinatorError) {
        self.state.lock().failure = Some(error);
    }

    pub fn hold_commits(&self) {
        self.state.lock().is_held = true;
    }

    pub fn commit_all(&self) {
        let mut state = self.state.lock();
        state.is_held = false;
        self.commit.send_replace((state.end, true));
    }

    pub fn lose_leadership(&self) {
        self.commit.send_modify(|commit| commit.1 = false);
    }

    pub fn set_max_batch_bytes(&self, limit: usize) {
        self.state.lock().max_batch_bytes = limit;
    }

    pub fn batches(&self) -> usize {
        self.state.lock().batches.len()
    }

    /// Every batch loses its last bytes.
    pub fn damage(&self) {
        for (_, batch) in &mut self.state.lock().batches {
            batch.truncate(70);
        }
    }
}

impl CoordinatorLog for MemoryLog {
    fn append(&self, batch: Bytes) -> Result<i64, CoordinatorError> {
        let mut state = self.state.lock();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        let mut batch = batch.to_vec();
        patch_offset_and_epoch(&mut batch, state.end, 0);
        let header = BatchHeader::parse(&batch).expect("a whole batch");
        assert!(batch.len() <= state.max_batch_bytes);
        state.batches.push((header, Bytes::from(batch)));
        state.end = header.next_offset();
        if !state.is_held {
            self.commit.send_replace((state.end, true));
        }
        Ok(state.end)
    }

    fn read(&self, offset: i64, _max_bytes: usize) -> Result<Bytes, CoordinatorError> {
        let state = self.state.lock();
        let found = state.batches.iter().find(|(header, _)| header.last_offset() >= offset);
        Ok(found.map(|(_, batch)| batch.clone()).unwrap_or_default())
    }

    fn start_offset(&self) -> i64 {
        0
    }

    fn end_offset(&self) -> i64 {
        self.state.lock().end
    }

    fn is_committed(&self, offset: i64) -> bool {
        offset <= self.commit.borrow().0
    }

    fn wait_committed(&self, offset: i64) -> BoxFuture<'static, bool> {
        let mut commit = self.commit.subscribe();
        Box::pin(async move {
            let outcome = commit.wait_for(|(high_watermark, leads)| *high_watermark >= offset || !leads).await;
            outcome.is_ok_and(|commit| commit.0 >= offset)
        })
    }

    fn max_batch_bytes(&self) -> usize {
        self.state.lock().max_batch_bytes
    }
}
