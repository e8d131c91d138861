//! The session state machine against KIP-227's rules.

use kafka_protocol::error::ResponseError;

use super::super::session_cache::EVICTION_AGE;
use super::*;

fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic: TopicKey::Name("t".into()), partition }
}

fn request(fetch_offset: i64) -> PartitionRequest {
    PartitionRequest { fetch_offset, max_bytes: 100, current_leader_epoch: -1, last_fetched_epoch: -1 }
}

fn wanted(partitions: &[i32]) -> Vec<WantedPartition> {
    partitions.iter().map(|partition| (key(*partition), Some("t".into()), request(0))).collect()
}

fn first_answers(count: i32) -> Vec<FirstAnswer> {
    let answer = |partition| FirstAnswer {
        key: key(partition),
        name: Some("t".into()),
        request: request(0),
        high_watermark: 10,
        log_start_offset: 0,
    };
    (0..count).map(answer).collect()
}

fn answer(error_code: i16, high_watermark: i64, log_start_offset: i64) -> PartitionAnswer {
    PartitionAnswer { high_watermark, log_start_offset, ..PartitionAnswer::error(0, error_code) }
}

struct Clocked {
    cache: FetchSessionCache,
    now: Duration,
    next_id: u64,
}

impl Clocked {
    fn new(slots: usize) -> Self {
        Self { cache: FetchSessionCache::new(slots, 10), now: Duration::from_secs(1_000), next_id: 0 }
    }

    fn open(&mut self, partitions: i32) -> i32 {
        let next_id = &mut self.next_id;
        self.cache.open(false, first_answers(partitions), self.now, || {
            *next_id += 1;
            *next_id
        })
    }

    fn context(&self, session_id: i32, epoch: i32, partitions: &[i32], forgotten: &[i32]) -> FetchContext {
        let forgotten: Vec<_> = forgotten.iter().map(|partition| key(*partition)).collect();
        let metadata = FetchMetadata { session_id, epoch };
        self.cache.context(metadata, false, &wanted(partitions), &forgotten, self.now)
    }
}

fn error_of(context: FetchContext) -> Option<ResponseError> {
    match context {
        FetchContext::Error(error) => Some(error),
        _ => None,
    }
}

#[test]
fn epochs_wrap_to_one() {
    assert_eq!(next_epoch(INITIAL_EPOCH), 1);
    assert_eq!(next_epoch(i32::MAX), 1);
    assert_eq!(next_epoch(FINAL_EPOCH), FINAL_EPOCH);
}

#[test]
fn epoch_0_opens_and_minus_1_wants_no_session() {
    let mut sessions = Clocked::new(10);
    assert!(matches!(sessions.context(0, 0, &[0], &[]), FetchContext::Full));
    assert!(matches!(sessions.context(0, -1, &[0], &[]), FetchContext::Sessionless));
    let id = sessions.open(2);
    assert!(id > 0);
    assert!(matches!(sessions.context(id, -1, &[], &[]), FetchContext::Sessionless));
    assert!(sessions.cache.is_empty(), "epoch -1 closes the session");
    let id = sessions.open(2);
    assert!(matches!(sessions.context(id, 0, &[0], &[]), FetchContext::Full));
    assert!(sessions.cache.is_empty(), "epoch 0 replaces the session");
}

#[test]
fn wrong_ids_epochs_and_kinds_of_names_are_errors() {
    let mut sessions = Clocked::new(10);
    assert_eq!(error_of(sessions.context(77, 1, &[], &[])), Some(ResponseError::FetchSessionIdNotFound));
    let id = sessions.open(2);
    assert_eq!(error_of(sessions.context(id, 2, &[], &[])), Some(ResponseError::InvalidFetchSessionEpoch));
    let metadata = FetchMetadata { session_id: id, epoch: 1 };
    let by_id = sessions.cache.context(metadata, true, &[], &[], sessions.now);
    assert_eq!(error_of(by_id), Some(ResponseError::FetchSessionTopicIdError));
    assert!(matches!(sessions.context(id, 1, &[], &[]), FetchContext::Incremental { epoch: 2, .. }));
    assert_eq!(error_of(sessions.context(id, 1, &[], &[])), Some(ResponseError::InvalidFetchSessionEpoch));
    assert!(matches!(sessions.context(id, 2, &[], &[]), FetchContext::Incremental { epoch: 3, .. }));
}

#[test]
fn requests_add_change_and_forget_partitions() {
    let mut sessions = Clocked::new(10);
    let id = sessions.open(3);
    let FetchContext::Incremental { session, .. } = sessions.context(id, 1, &[1, 7], &[0, 99]) else { panic!() };
    assert_eq!(session.size(), 3);
    let mut dirty = Vec::new();
    session.watcher.take_dirty(&mut dirty);
    assert_eq!(dirty, [0, 1, 2, 3], "new ones, and all of the first answer");
    let FetchContext::Incremental { .. } = sessions.context(id, 2, &[7], &[]) else { panic!() };
    session.watcher.take_dirty(&mut dirty);
    assert_eq!(dirty, [3], "only what the request names");
    assert_eq!(session.lock().get_mut(3).unwrap().key, key(7));
    assert!(session.lock().get_mut(0).is_none());
    let FetchContext::Incremental { .. } = sessions.context(id, 3, &[8], &[]) else { panic!() };
    assert_eq!(session.lock().get_mut(0).unwrap().key, key(8), "places are used again");
    assert!(matches!(sessions.context(id, 4, &[], &[1, 2, 7, 8]), FetchContext::Sessionless));
    assert!(sessions.cache.is_empty(), "a session without partitions is closed");
}

#[test]
fn answers_hold_what_the_client_does_not_know() {
    let session = FetchSession::new(1, false, first_answers(1));
    let mut state = session.lock();
    let cached = state.get_mut(0).unwrap();
    assert!(!cached.update_response(&answer(0, 10, 0)), "as in the first answer");
    assert!(cached.update_response(&answer(0, 11, 0)));
    assert!(!cached.update_response(&answer(0, 11, 0)));
    assert!(cached.update_response(&answer(0, 11, 3)));
    assert!(cached.update_response(&answer(6, 11, 3)), "errors are always sent");
    assert!(cached.update_response(&answer(6, 11, 3)));
    assert!(cached.update_response(&answer(0, 11, 3)), "and so is the first answer after one");
    assert!(!cached.update_response(&answer(0, 11, 3)));
    let diverging = PartitionAnswer { diverging_epoch: Some((1, 2)), ..answer(0, 11, 3) };
    assert!(cached.update_response(&diverging));
}

#[test]
fn a_full_cache_declines_until_something_is_old() {
    let mut sessions = Clocked::new(2);
    let (first, second) = (sessions.open(5), sessions.open(3));
    assert_eq!(sessions.open(100), NO_SESSION);
    // Used lately, but old enough: the smallest gives way to a larger one only.
    sessions.now += EVICTION_AGE + Duration::from_millis(1);
    assert!(matches!(sessions.context(first, 1, &[], &[]), FetchContext::Incremental { .. }));
    assert!(matches!(sessions.context(second, 1, &[], &[]), FetchContext::Incremental { .. }));
    assert_eq!(sessions.open(3), NO_SESSION);
    let third = sessions.open(4);
    assert_ne!(third, NO_SESSION);
    assert_eq!(error_of(sessions.context(second, 2, &[], &[])), Some(ResponseError::FetchSessionIdNotFound));
    assert!(matches!(sessions.context(first, 2, &[], &[]), FetchContext::Incremental { .. }));
    // Not used for two minutes: gives way to anything.
    sessions.now += EVICTION_AGE + Duration::from_millis(1);
    assert!(matches!(sessions.context(third, 1, &[], &[]), FetchContext::Incremental { .. }));
    assert_ne!(sessions.open(1), NO_SESSION);
    assert_eq!(error_of(sessions.context(first, 3, &[], &[])), Some(ResponseError::FetchSessionIdNotFound));
    assert_eq!(sessions.cache.len(), 2);
}

#[test]
fn without_slots_no_session_is_opened() {
    assert_eq!(Clocked::new(0).open(1), NO_SESSION);
}

#[test]
fn sessions_have_no_more_partitions_together_than_there_is_memory_for() {
    let mut sessions = Clocked::new(100);
    let (first, second) = (sessions.open(4), sessions.open(4));
    assert!(first != NO_SESSION && second != NO_SESSION);
    assert_eq!(sessions.open(3), NO_SESSION);
    // One that grows too far is closed behind its request.
    assert!(matches!(sessions.context(first, 1, &[4, 5, 6], &[]), FetchContext::Incremental { .. }));
    assert_eq!(error_of(sessions.context(first, 2, &[], &[])), Some(ResponseError::FetchSessionIdNotFound));
    assert_ne!(sessions.open(6), NO_SESSION);
    assert_eq!(sessions.open(1), NO_SESSION);
    // Two that are not used give way to one.
    sessions.now += EVICTION_AGE + Duration::from_millis(1);
    assert_ne!(sessions.open(9), NO_SESSION);
    assert_eq!(sessions.cache.len(), 1);
    assert_eq!(sessions.open(11), NO_SESSION);
    assert_eq!(sessions.cache.len(), 1);
}
