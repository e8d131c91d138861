//! The group APIs through their handlers: every version, and what differs between them.

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use kafka_protocol::error::ResponseError as E;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::handler::{Answer, RequestContext};
use super::test_services::{TestBroker, context, text, topic_name};
use super::*;

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// Calls a handler, and sends the answer through the codec and back, as a client would see it.
fn call<Request, R: Encodable + Decodable>(
    broker: &TestBroker,
    version: i16,
    handle: fn(&std::sync::Arc<Services>, &RequestContext, Request) -> Answer<R>,
    request: Request,
) -> R {
    let response = match handle(&broker.services, &context(0, version), request) {
        Answer::Now(response) => response,
        Answer::Later(future) => future.now_or_never().expect("answered at once"),
        _ => panic!("another kind of answer"),
    };
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap_or_else(|error| panic!("version {version}: {error}"));
    R::decode(&mut bytes.freeze(), version).expect("decodes")
}

/// A broker with topic `t` of two partitions, whose coordinator is there.
fn broker() -> TestBroker {
    let broker = TestBroker::new();
    broker.create_topic("t", 2, &[]);
    let found = find(&broker, 3, 0, "g");
    assert_eq!(found.error_code, 0);
    broker
}

fn find(broker: &TestBroker, version: i16, key_type: i8, key: &str) -> FindCoordinatorResponse {
    let request = FindCoordinatorRequest::default()
        .with_key(text(key))
        .with_key_type(key_type)
        .with_coordinator_keys(vec![text(key)]);
    call(broker, version, find_coordinator::handle, request)
}

fn join_request(member_id: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::new());
    JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

fn join(broker: &TestBroker, version: i16, member_id: &str) -> JoinGroupResponse {
    call(broker, version, join_group::handle, join_request(member_id))
}

/// A member of the stable group `g`, in generation 1.
fn member(broker: &TestBroker) -> String {
    let member_id = join(broker, 4, "").member_id;
    let request = join_request(&member_id);
    let Answer::Later(joining) = join_group::handle(&broker.services, &context(11, 4), request) else {
        panic!("a rebalance takes time")
    };
    broker.clock.advance(std::time::Duration::from_secs(3));
    broker.services.groups.run_due_timers();
    assert_eq!(joining.now_or_never().expect("joined").generation_id, 1);
    let request =
        SyncGroupRequest::default().with_group_id(group("g")).with_generation_id(1).with_member_id(member_id.clone());
    assert_eq!(call(broker, 4, sync_group::handle, request).error_code, 0);
    member_id.to_string()
}

fn commit(broker: &TestBroker, version: i16, topic: &str, partitions: &[i32]) -> OffsetCommitResponse {
    let partitions = partitions.iter().map(|partition| {
        OffsetCommitRequestPartition::default().with_partition_index(*partition).with_committed_offset(42)
    });
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect());
    let request = OffsetCommitRequest::default().with_group_id(group("g")).with_topics(vec![topic]);
    call(broker, version, offset_commit::handle, request)
}

fn fetch(broker: &TestBroker, version: i16, groups: &[&str]) -> OffsetFetchResponse {
    let single = OffsetFetchRequestTopic::default().with_name(topic_name("t")).with_partition_indexes(vec![0, 1]);
    let topic = OffsetFetchRequestTopics::default().with_name(topic_name("t")).with_partition_indexes(vec![0, 1]);
    let groups_wanted = groups.iter().map(|name| {
        OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(Some(vec![topic.clone()]))
    });
    let request = if version < 8 {
        OffsetFetchRequest::default().with_group_id(group(groups[0])).with_topics(Some(vec![single]))
    } else {
        OffsetFetchRequest::default().with_groups(groups_wanted.collect())
    };
    call(broker, version, offset_fetch::handle, request)
}

#[test]
fn null_topics_are_all_topics_from_version_2_on() {
    let broker = broker();
    let ask = |version| {
        let request = OffsetFetchRequest::default().with_group_id(group("g")).with_topics(None);
        offset_fetch::handle(&broker.services, &context(9, version), request)
    };
    assert!(matches!(ask(1), Answer::Close(_)));
    assert!(matches!(ask(2), Answer::Later(_)));
}

#[test]
fn the_coordinator_is_found_in_every_version_and_its_topic_made_on_demand() {
    let broker = TestBroker::new();
    for version in 0..4 {
        let found = find(&broker, version, 0, "g");
        assert_eq!((found.error_code, found.host.as_str(), found.port), (0, "127.0.0.1", 9_092), "version {version}");
    }
    let image = broker.services.controller.image();
    let topic = image.topics.topic("__consumer_offsets").expect("made on demand");
    assert_eq!(topic.partitions().count(), 50);
    for version in 4..=5 {
        let found = find(&broker, version, 0, "g");
        let coordinator = &found.coordinators[0];
        assert_eq!((coordinator.error_code, coordinator.key.as_str(), coordinator.port), (0, "g", 9_092));
    }
}

#[test]
fn the_coordinator_of_a_transactional_id_is_found_and_its_topic_is_made_as_by_kafka() {
    let broker = broker();
    for version in 0..4 {
        let found = find(&broker, version, 1, "x");
        assert_eq!((found.error_code, *found.node_id, found.port), (0, 1, 9_092), "version {version}");
    }
    for version in 4..=5 {
        let found = find(&broker, version, 1, "x");
        let coordinator = &found.coordinators[0];
        assert_eq!((coordinator.error_code, coordinator.key.as_str(), coordinator.port), (0, "x", 9_092));
    }
    let image = broker.services.controller.image();
    assert_eq!(image.topics.topic("__transaction_state").expect("made on demand").partitions().count(), 50);
    let configs = image.configs.topic("__transaction_state");
    let configs: Vec<(&str, &str)> = configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        configs,
        [
            ("cleanup.policy", "compact"),
            ("compression.type", "uncompressed"),
            ("min.insync.replicas", "2"),
            ("segment.bytes", "104857600"),
            ("unclean.leader.election.enable", "false"),
        ]
    );
    // One replica: two in sync cannot be asked for.
    let partition = broker.services.replicas.partition_by_name("__transaction_state", 0).expect("served");
    assert_eq!(partition.effective_min_in_sync_replicas(), 1);
}

#[test]
fn coordinators_of_share_groups_and_of_unknown_kinds_are_refused() {
    let broker = broker();
    assert_eq!(find(&broker, 5, 2, "x").coordinators[0].error_code, E::InvalidRequest.code());
    assert_eq!(find(&broker, 5, 9, "x").coordinators[0].error_code, E::InvalidRequest.code());
    assert!(broker.services.controller.image().topics.topic("__share_group_state").is_none());
}

#[test]
fn refusals_of_group_requests_encode_in_every_version() {
    let broker = broker();
    let unknown = E::UnknownMemberId.code();
    for version in 0..=9 {
        assert_eq!(join(&broker, version, "nobody").error_code, unknown, "JoinGroup {version}");
    }
    for version in 0..=4 {
        let request = HeartbeatRequest::default().with_group_id(group("g"));
        assert_eq!(call(&broker, version, heartbeat::handle, request).error_code, unknown);
    }
    for version in 0..=5 {
        let request = SyncGroupRequest::default().with_group_id(group("g"));
        let request = if version < 5 {
            request
        } else {
            request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")))
        };
        assert_eq!(call(&broker, version, sync_group::handle, request).error_code, unknown);
    }
    let nameless = SyncGroupRequest::default().with_group_id(group("g"));
    let response = call(&broker, 5, sync_group::handle, nameless);
    assert_eq!(response.error_code, E::InconsistentGroupProtocol.code());
}

#[test]
fn a_missing_protocol_name_is_null_from_version_7() {
    let broker = broker();
    assert_eq!(join(&broker, 6, "nobody").protocol_name, Some(text("")));
    assert_eq!(join(&broker, 7, "nobody").protocol_name, None);
}

#[test]
fn one_member_leaves_before_version_3_and_its_error_is_the_answer_s() {
    let broker = broker();
    let member_id = member(&broker);
    let identity = MemberIdentity::default().with_member_id(text("nobody"));
    for version in 0..=5 {
        let request = LeaveGroupRequest::default()
            .with_group_id(group("g"))
            .with_member_id(text("nobody"))
            .with_members(vec![identity.clone()]);
        let response = call(&broker, version, leave_group::handle, request);
        let codes: Vec<i16> = response.members.iter().map(|member| member.error_code).collect();
        let unknown = E::UnknownMemberId.code();
        if version < 3 {
            assert_eq!((response.error_code, codes), (unknown, vec![]));
        } else {
            assert_eq!((response.error_code, codes), (0, vec![unknown]));
        }
    }
    let request = LeaveGroupRequest::default().with_group_id(group("g")).with_member_id(text(&member_id));
    assert_eq!(call(&broker, 0, leave_group::handle, request).error_code, 0);
}

#[test]
fn commits_are_fetched_in_every_version() {
    let broker = broker();
    for version in 2..=9 {
        let response = commit(&broker, version, "t", &[1]);
        assert_eq!(response.topics[0].partitions[0].error_code, 0, "version {version}");
    }
    for version in 1..8 {
        let response = fetch(&broker, version, &["g"]);
        let [missing, found] = &response.topics[0].partitions[..] else { panic!("two partitions") };
        assert_eq!((missing.committed_offset, found.committed_offset), (-1, 42), "version {version}");
    }
    for version in 8..=9 {
        let response = fetch(&broker, version, &["g", "other"]);
        assert_eq!(response.groups.len(), 2);
        assert_eq!(response.groups[0].topics[0].partitions[1].committed_offset, 42);
        assert_eq!(response.groups[1].topics[0].partitions[1].committed_offset, -1);
    }
}

#[test]
fn errors_of_offset_fetch_have_their_place_by_version() {
    let broker = TestBroker::new();
    let not_coordinator = E::NotCoordinator.code();
    let oldest = fetch(&broker, 1, &["g"]);
    assert_eq!(oldest.topics[0].partitions[0].error_code, not_coordinator);
    assert_eq!(fetch(&broker, 2, &["g"]).error_code, not_coordinator);
    assert_eq!(fetch(&broker, 9, &["g"]).groups[0].error_code, not_coordinator);
}

#[test]
fn what_does_not_exist_is_not_committed() {
    let broker = broker();
    let missing = E::UnknownTopicOrPartition.code();
    let response = commit(&broker, 9, "nowhere", &[0]);
    assert_eq!(response.topics[0].partitions[0].error_code, missing);
    let response = commit(&broker, 9, "t", &[0, 7]);
    assert_eq!(response.topics.len(), 1);
    let codes: Vec<(i32, i16)> =
        response.topics[0].partitions.iter().map(|found| (found.partition_index, found.error_code)).collect();
    assert_eq!(codes, [(7, missing), (0, 0)]);
}

#[test]
fn groups_are_listed_and_described_in_every_version() {
    let broker = broker();
    let member_id = member(&broker);
    for version in 0..=5 {
        let listed = call(&broker, version, list_groups::handle, ListGroupsRequest::default());
        assert_eq!(listed.groups[0].group_id, group("g"), "version {version}");
        assert_eq!(listed.groups[0].group_state.as_str(), if version < 4 { "" } else { "Stable" });
        assert_eq!(listed.groups[0].group_type.as_str(), if version < 5 { "" } else { "classic" });
    }
    for version in 0..=6 {
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![group("g"), group("none")])
            .with_include_authorized_operations(version >= 3);
        let described = call(&broker, version, describe_groups::handle, request);
        assert_eq!(described.groups[0].members[0].member_id.as_str(), member_id, "version {version}");
        assert_eq!(described.groups[0].members[0].client_host.as_str(), "/127.0.0.1");
        assert_eq!(described.groups[0].authorized_operations, if version < 3 { i32::MIN } else { 3400 });
        let missing = &described.groups[1];
        assert_eq!(missing.group_state.as_str(), "Dead");
        assert_eq!(missing.error_code, if version < 6 { 0 } else { E::GroupIdNotFound.code() });
    }
}

#[test]
fn offsets_and_groups_are_deleted() {
    let broker = broker();
    let delete_offset = |topic: &str, partition: i32| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
        let topic = OffsetDeleteRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(vec![topic]);
        call(&broker, 0, offset_delete::handle, request)
    };
    assert_eq!(delete_offset("t", 0).error_code, E::GroupIdNotFound.code());
    commit(&broker, 9, "t", &[0, 1]);
    assert_eq!(delete_offset("t", 0).topics[0].partitions[0].error_code, 0);
    let missing = E::UnknownTopicOrPartition.code();
    assert_eq!(delete_offset("t", 7).topics[0].partitions[0].error_code, missing);
    assert_eq!(delete_offset("nowhere", 0).topics[0].partitions[0].error_code, missing);
    let response = fetch(&broker, 9, &["g"]);
    let offsets: Vec<i64> =
        response.groups[0].topics[0].partitions.iter().map(|found| found.committed_offset).collect();
    assert_eq!(offsets, [-1, 42]);
    for (version, expected) in [(0, 0), (1, E::GroupIdNotFound.code()), (2, E::GroupIdNotFound.code())] {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group("g"), group("g")]);
        let response = call(&broker, version, delete_groups::handle, request);
        assert_eq!(response.results.len(), 1, "named twice, answered once");
        assert_eq!(response.results[0].error_code, expected);
    }
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let broker = broker();
    commit(&broker, 9, "t", &[0]);
    let request = kafka_protocol::messages::DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    broker.services.controller.delete_topics(&request, 5).expect("metadata");
    broker.create_topic("t", 2, &[]);
    assert_eq!(fetch(&broker, 9, &["g"]).groups[0].topics[0].partitions[0].committed_offset, -1);
}
