//! A coordinator's log in memory.

use std::collections::HashMap;
use std::num::NonZeroU64;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{CoordinatorLog, Producer};
use crate::coordinator::CoordinatorError;
use crate::env::BoxFuture;
use crate::record::{BatchHeader, end_transaction_marker, patch_offset_and_epoch};
use crate::types::{EndTransactionMarker, VerificationGuard};

struct State {
    batches: Vec<(BatchHeader, Bytes)>,
    end: i64,
    /// What the append after that many more fails with.
    failure: Option<(usize, CoordinatorError)>,
    /// Guards handed out, and not used yet, by producer id.
    guards: HashMap<i64, VerificationGuard>,
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
        let state = State {
            batches: Vec::new(),
            end: 0,
            failure: None,
            guards: HashMap::new(),
            is_held: false,
            max_batch_bytes: 1_048_588,
        };
        Self { state: Mutex::new(state), commit: watch::channel((0, true)).0 }
    }
}

impl MemoryLog {
    pub fn fail_next_append(&self, error: CoordinatorError) {
        self.fail_append_after(0, error);
    }

    /// The append after `appends` more fails.
    pub fn fail_append_after(&self, appends: usize, error: CoordinatorError) {
        self.state.lock().failure = Some((appends, error));
    }

    /// Header of the last batch.
    pub fn last_batch(&self) -> BatchHeader {
        self.state.lock().batches.last().expect("a batch").0
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
    fn append(&self, batch: Bytes, guard: VerificationGuard) -> Result<i64, CoordinatorError> {
        let mut state = self.state.lock();
        match state.failure.take() {
            Some((0, failure)) => return Err(failure),
            other => state.failure = other.map(|(appends, failure)| (appends - 1, failure)),
        }
        let mut batch = batch.to_vec();
        patch_offset_and_epoch(&mut batch, state.end, 0);
        let header = BatchHeader::parse(&batch).expect("a whole batch");
        assert!(batch.len() <= state.max_batch_bytes);
        if let Some(expected) = state.guards.get(&header.producer_id).filter(|_| !header.is_control())
            && !guard.verifies(*expected)
        {
            return Err(CoordinatorError::Refused(ResponseError::InvalidTxnState));
        }
        state.guards.remove(&header.producer_id);
        state.batches.push((header, Bytes::from(batch)));
        state.end = state.batches.last().map_or(0, |(header, _)| header.next_offset());
        if !state.is_held {
            self.commit.send_replace((state.end, true));
        }
        Ok(state.end)
    }

    fn append_end_transaction_marker(&self, marker: &EndTransactionMarker) -> Result<i64, CoordinatorError> {
        let EndTransactionMarker { producer_id, producer_epoch, coordinator_epoch, result, .. } = *marker;
        let batch = end_transaction_marker(result.is_commit(), 0, producer_id, producer_epoch, coordinator_epoch);
        self.append(batch, VerificationGuard::NONE)
    }

    fn start_transaction_verification(
        &self,
        producer: Producer,
        _supports_epoch_bump: bool,
    ) -> Result<VerificationGuard, CoordinatorError> {
        let mut state = self.state.lock();
        let is_open = (state.batches.iter().rev())
            .find(|(header, _)| header.producer_id == producer.id)
            .is_some_and(|(header, _)| !header.is_control());
        if is_open {
            return Ok(VerificationGuard::NONE);
        }
        let number = u64::try_from(state.batches.len() + 1).ok().and_then(NonZeroU64::new).expect("not zero");
        Ok(*state.guards.entry(producer.id).or_insert(VerificationGuard::new(number)))
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
