//! The facade (Kafka's `GroupCoordinatorService`).

use std::convert::Infallible;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetDeleteRequest, OffsetDeleteResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::classic::{Join, MemberMemory, join_error, sync_error};
use super::config::GroupCoordinatorConfig;
use super::context::GroupRequestContext;
use super::shard::GroupShard;
use super::step::Parked;
use crate::coordinator::CoordinatorError;
use crate::coordinator::runtime::{Answered, CoordinatorLog, Shard, Shards, Waiting, committed};
use crate::env::{BoxFuture, Env, ready};
use crate::metadata::{MetadataDelta, MetadataImage, MetadataPublisher};
use crate::replica::{LeadershipListener, Partition};
use crate::types::{GROUP_METADATA_TOPIC_NAME, TopicPartition, Uuid};
use crate::wire::owned;

/// First version of OffsetFetch with an error for the whole answer.
const OFFSET_FETCH_TOP_LEVEL_ERROR_VERSION: i16 = 2;

/// The part of the memory's budget that the metadata of all members may take beside it.
const MEMBER_MEMORY_SHARE: usize = 8;

pub(super) type GroupShardHandle = Arc<Shard<GroupShard>>;

/// Coordinates the groups of the partitions of `__consumer_offsets` that this broker leads.
pub struct GroupCoordinator {
    env: Env,
    config: Arc<GroupCoordinatorConfig>,
    shards: Shards<GroupShard>,
    member_memory: MemberMemory,
}

impl GroupCoordinator {
    /// A coordinator that leads nothing yet.
    pub fn new(env: Env, config: GroupCoordinatorConfig) -> Arc<Self> {
        let shards = Shards::new(GROUP_METADATA_TOPIC_NAME, config.offsets_topic_partitions);
        let member_memory = MemberMemory::new(env.memory.limit() / MEMBER_MEMORY_SHARE);
        Arc::new(Self { env, config: Arc::new(config), shards, member_memory })
    }

    /// Its configuration.
    pub fn config(&self) -> &GroupCoordinatorConfig {
        &self.config
    }

    /// `__consumer_offsets` exists with this many partitions, at least one; until told, the configured number is assumed.
    pub fn set_partition_count(&self, partitions: i32) {
        self.shards.set_partition_count(partitions);
    }

    /// The partition of `__consumer_offsets` that a group belongs to.
    pub fn partition_for(&self, group_id: &str) -> i32 {
        self.shards.partition_for(group_id)
    }

    /// This broker leads the partition in this epoch: loads its groups in the background. Called again for the same or an
    /// older epoch it does nothing.
    pub fn on_elected(&self, partition: i32, leader_epoch: i32, log: Arc<dyn CoordinatorLog>) {
        self.shards.on_elected(partition, leader_epoch, |name| {
            let config = self.config.clone();
            let max_batch_bytes = log.max_batch_bytes();
            let empty = move || GroupShard::new(config.clone(), max_batch_bytes);
            let outlet = Arc::new(|_: &GroupShardHandle, output: Infallible| match output {});
            Shard::start(self.env.clone(), name, leader_epoch, log, empty, outlet)
        });
    }

    /// This broker leads the partition no more, since `leader_epoch` (`None`: the partition is deleted). Waiting members
    /// are told NOT_COORDINATOR.
    pub fn on_resigned(&self, partition: i32, leader_epoch: Option<i32>) {
        self.shards.on_resigned(partition, leader_epoch);
    }

    /// Topics were deleted: forgets their offsets.
    pub fn on_topics_deleted(&self, topics: &[(Uuid, Arc<str>)]) {
        if topics.is_empty() {
            return;
        }
        for shard in self.shards.all() {
            if let Err(error) = shard.write(|state, now| state.topics_deleted(topics, now)) {
                tracing::debug!(%error, "could not delete the offsets of deleted topics");
            }
        }
    }

    /// Stops: whoever waits is told NOT_COORDINATOR, and every later request COORDINATOR_NOT_AVAILABLE.
    pub fn shutdown(&self) {
        self.shards.shutdown();
    }

    /// Runs the timers that are due now, in all shards; for tests with a clock moved by hand.
    pub fn run_due_timers(&self) {
        self.shards.run_due_timers();
    }

    /// JoinGroup. Completes when the rebalance does.
    pub fn join_group(
        &self,
        context: &GroupRequestContext,
        request: JoinGroupRequest,
    ) -> BoxFuture<'static, JoinGroupResponse> {
        // Owned: the answer may come much later, and must not keep the request's buffer until then.
        let member_id = owned(&request.member_id);
        let refuse = move |error: ResponseError| join_error(&member_id, error);
        let timeouts = self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms;
        if let Err(error) = self.check_active().and_then(|()| check_group_id(&request.group_id)) {
            return ready(refuse(error));
        }
        if !timeouts.contains(&request.session_timeout_ms) {
            return ready(refuse(ResponseError::InvalidSessionTimeout));
        }
        let protocols = match self.member_memory.copy(&request.protocols) {
            Ok(protocols) => protocols,
            Err(error) => return ready(refuse(error)),
        };
        let member_suffix = self.env.random.uuid().to_string();
        let waiting = self.shard(&request.group_id).and_then(|shard| {
            shard.park(|state, now, ticket| {
                let join =
                    Join { context, request: &request, protocols: &protocols, member_suffix: &member_suffix, ticket };
                state.join_group(join, now)
            })
        });
        parked(waiting, move |outcome| match outcome {
            Ok(Parked::Join(response)) => response,
            Ok(Parked::Sync(_)) => refuse(ResponseError::UnknownServerError),
            Err(error) => refuse(error.response_error()),
        })
    }

    /// SyncGroup. Completes when the leader's assignment is written.
    pub fn sync_group(&self, request: SyncGroupRequest) -> BoxFuture<'static, SyncGroupResponse> {
        if let Err(error) = self.check_active().and_then(|()| check_group_id(&request.group_id)) {
            return ready(sync_error(error));
        }
        let waiting = self
            .shard(&request.group_id)
            .and_then(|shard| shard.park(|state, now, ticket| state.sync_group(&request, ticket, now)));
        parked(waiting, |outcome| match outcome {
            Ok(Parked::Sync(response)) => response,
            Ok(Parked::Join(_)) => sync_error(ResponseError::UnknownServerError),
            Err(error) => sync_error(error.response_error()),
        })
    }

    /// Heartbeat. While the group is loading it is answered without an error, so that members stay.
    pub fn heartbeat(&self, request: HeartbeatRequest) -> BoxFuture<'static, HeartbeatResponse> {
        let respond = |error_code: i16| HeartbeatResponse::default().with_error_code(error_code);
        if let Err(error) = self.check_active().and_then(|()| check_group_id(&request.group_id)) {
            return ready(respond(error.code()));
        }
        let answered =
            self.shard(&request.group_id).and_then(|shard| shard.write(|state, now| state.heartbeat(&request, now)));
        later(answered, move |outcome| match outcome {
            Ok(Ok(())) | Err(CoordinatorError::LoadInProgress) => respond(0),
            Ok(Err(error)) => respond(error.code()),
            Err(error) => respond(error.code()),
        })
    }

    /// LeaveGroup, of the members in `members`.
    pub fn leave_group(&self, request: LeaveGroupRequest) -> BoxFuture<'static, LeaveGroupResponse> {
        let refuse = |error_code: i16| LeaveGroupResponse::default().with_error_code(error_code);
        if let Err(error) = self.check_active().and_then(|()| check_group_id(&request.group_id)) {
            return ready(refuse(error.code()));
        }
        let answered =
            self.shard(&request.group_id).and_then(|shard| shard.write(|state, now| state.leave_group(&request, now)));
        later(answered, move |outcome| match outcome {
            Ok(members) => LeaveGroupResponse::default().with_members(members),
            Err(error) => refuse(error.code()),
        })
    }

    /// OffsetCommit. The caller has checked that the partitions exist, and put the topics' ids in.
    pub fn commit_offsets(
        &self,
        api_version: i16,
        request: OffsetCommitRequest,
    ) -> BoxFuture<'static, OffsetCommitResponse> {
        if let Err(error) = self.check_active() {
            return ready(commit_error(&request, error));
        }
        let answered = self
            .shard(&request.group_id)
            .and_then(|shard| shard.write(|state, now| state.commit_offsets(api_version, &request, now)));
        later(answered, move |outcome| match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => commit_error(&request, error),
            Err(error) => commit_error(&request, error.response_error()),
        })
    }

    /// OffsetFetch of one group. No topics means all. Answers wait until what was read is committed; with `require_stable`
    /// partitions that an open transaction has offsets for are UNSTABLE_OFFSET_COMMIT.
    pub fn fetch_offsets(
        &self,
        api_version: i16,
        request: OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> BoxFuture<'static, OffsetFetchResponseGroup> {
        if let Err(error) = self.check_active() {
            return ready(fetch_error(&request, error, api_version));
        }
        let answered = self
            .shard(&request.group_id)
            .and_then(|shard| shard.read(|state| state.fetch_offsets(&request, require_stable)));
        later(answered, move |outcome| match outcome {
            Ok(response) => response,
            // Clients before 3.9 do not retry COORDINATOR_NOT_AVAILABLE here.
            Err(CoordinatorError::NotEnoughReplicas) => {
                fetch_error(&request, ResponseError::NotCoordinator, api_version)
            }
            Err(error) => fetch_error(&request, error.response_error(), api_version),
        })
    }

    /// OffsetDelete. The caller has checked that the partitions exist.
    pub fn delete_offsets(&self, request: OffsetDeleteRequest) -> BoxFuture<'static, OffsetDeleteResponse> {
        let refuse = |error_code: i16| OffsetDeleteResponse::default().with_error_code(error_code);
        if let Err(error) = self.check_active().and_then(|()| check_group_id(&request.group_id)) {
            return ready(refuse(error.code()));
        }
        let answered = self
            .shard(&request.group_id)
            .and_then(|shard| shard.write(|state, now| state.delete_offsets(&request, now)));
        later(answered, move |outcome| match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => refuse(error.code()),
            Err(error) => refuse(error.code()),
        })
    }

    /// DeleteGroups: one result for each name.
    pub fn delete_groups(&self, group_ids: Vec<GroupId>) -> BoxFuture<'static, Vec<DeletableGroupResult>> {
        let answers: Vec<_> = group_ids
            .into_iter()
            .map(|group_id| {
                let result = self.check_active().map_err(|_| CoordinatorError::NotAvailable);
                let answered = result.and_then(|()| {
                    let shard = self.shard(&group_id)?;
                    shard.write(|state, now| state.delete_groups(std::slice::from_ref(&group_id), now))
                });
                (group_id, answered)
            })
            .collect();
        Box::pin(async move {
            let mut results = Vec::with_capacity(answers.len());
            for (group_id, answered) in answers {
                let error_code = match committed(answered).await {
                    Ok(outcomes) => outcomes.into_iter().find_map(Result::err).map_or(0, |error| error.code()),
                    Err(error) => error.code(),
                };
                results.push(DeletableGroupResult::default().with_group_id(group_id).with_error_code(error_code));
            }
            results
        })
    }

    /// DescribeGroups: one description for each name.
    pub fn describe_groups(
        &self,
        api_version: i16,
        group_ids: Vec<GroupId>,
    ) -> BoxFuture<'static, Vec<DescribedGroup>> {
        let answers: Vec<_> = group_ids
            .into_iter()
            .map(|group_id| {
                let result = self.check_active().map_err(|_| CoordinatorError::NotAvailable);
                let answered = result
                    .and_then(|()| self.shard(&group_id)?.read(|state| state.describe_group(&group_id, api_version)));
                (group_id, answered)
            })
            .collect();
        Box::pin(async move {
            let mut described = Vec::with_capacity(answers.len());
            for (group_id, answered) in answers {
                described.push(match committed(answered).await {
                    Ok(group) => group,
                    Err(error) => DescribedGroup::default().with_group_id(group_id).with_error_code(error.code()),
                });
            }
            described
        })
    }

    /// ListGroups, of all shards; one that is loading fails the whole.
    pub fn list_groups(&self, request: ListGroupsRequest) -> BoxFuture<'static, ListGroupsResponse> {
        if let Err(error) = self.check_active() {
            return ready(ListGroupsResponse::default().with_error_code(error.code()));
        }
        let own = |texts: Vec<StrBytes>| texts.iter().map(|text| text.as_str().to_owned()).collect::<Vec<_>>();
        let (states, types) = (own(request.states_filter), own(request.types_filter));
        let answers: Vec<_> =
            self.shards.all().into_iter().map(|shard| shard.read(|state| state.list_groups(&states, &types))).collect();
        Box::pin(async move {
            let mut groups = Vec::new();
            for answered in answers {
                match committed(answered).await {
                    Ok(listed) => groups.extend(listed),
                    Err(CoordinatorError::NotCoordinator) => {}
                    Err(error) => return ListGroupsResponse::default().with_error_code(error.code()),
                }
            }
            ListGroupsResponse::default().with_groups(groups)
        })
    }

    pub(super) fn check_active(&self) -> Result<(), ResponseError> {
        if self.shards.is_active() { Ok(()) } else { Err(ResponseError::CoordinatorNotAvailable) }
    }

    pub(super) fn shard(&self, group_id: &GroupId) -> Result<GroupShardHandle, CoordinatorError> {
        self.shards.of_key(group_id.as_str())
    }

    pub(super) fn shards(&self) -> Vec<GroupShardHandle> {
        self.shards.all()
    }

    pub(super) fn shard_of_partition(&self, partition: i32) -> Result<GroupShardHandle, CoordinatorError> {
        self.shards.of_partition(partition)
    }
}

impl LeadershipListener for GroupCoordinator {
    fn on_elected(&self, partition: &Arc<Partition>, leader_epoch: i32) {
        if let Some(log) = self.shards.log_of(partition, &self.env.clock) {
            self.on_elected(partition.topic_partition().partition, leader_epoch, log);
        }
    }

    fn on_resigned(&self, topic_partition: &TopicPartition) {
        if self.shards.is_of_topic(topic_partition) {
            self.on_resigned(topic_partition.partition, None);
        }
    }
}

/// What the coordinator wants to know of the metadata: how many partitions its topic has, and which topics are gone.
/// Offsets of deleted topics are deleted off the controller's thread.
pub struct GroupMetadataPublisher(pub Arc<GroupCoordinator>);

impl MetadataPublisher for GroupMetadataPublisher {
    fn on_metadata_update(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        let coordinator = &self.0;
        coordinator.shards.follow(image);
        let deleted: Vec<(Uuid, Arc<str>)> =
            delta.deleted_topics().iter().map(|(topic_id, topic)| (*topic_id, topic.name.clone())).collect();
        if !deleted.is_empty() {
            let coordinator = coordinator.clone();
            let delete = move || coordinator.on_topics_deleted(&deleted);
            self.0.env.spawn.spawn_blocking("coordinator-topics-deleted", Box::new(delete));
        }
    }
}

/// Group management needs a name; offsets may be kept under the empty one.
pub(super) fn check_group_id(group_id: &GroupId) -> Result<(), ResponseError> {
    if group_id.is_empty() { Err(ResponseError::InvalidGroupId) } else { Ok(()) }
}

/// Every partition of the request with the same error.
pub fn commit_error(request: &OffsetCommitRequest, error: ResponseError) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error.code())
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// The whole group with an error; in version 1, which has no place for that, every partition.
pub fn fetch_error(
    request: &OffsetFetchRequestGroup,
    error: ResponseError,
    api_version: i16,
) -> OffsetFetchResponseGroup {
    let response = OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone());
    if api_version >= OFFSET_FETCH_TOP_LEVEL_ERROR_VERSION {
        return response.with_error_code(error.code());
    }
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|partition| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(*partition)
                .with_committed_offset(-1)
                .with_committed_leader_epoch(-1)
                .with_metadata(Some(StrBytes::new()))
                .with_error_code(error.code())
        });
        OffsetFetchResponseTopics::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    response.with_topics(topics.collect())
}

pub(super) fn later<T: Send + 'static, R: Send + 'static>(
    answered: Result<Answered<T>, CoordinatorError>,
    respond: impl FnOnce(Result<T, CoordinatorError>) -> R + Send + 'static,
) -> BoxFuture<'static, R> {
    Box::pin(async move { respond(committed(answered).await) })
}

fn parked<R: Send + 'static>(
    waiting: Result<Waiting<Parked>, CoordinatorError>,
    respond: impl FnOnce(Result<Parked, CoordinatorError>) -> R + Send + 'static,
) -> BoxFuture<'static, R> {
    Box::pin(async move {
        let outcome = match waiting {
            Ok(waiting) => waiting.committed().await,
            Err(error) => Err(error),
        };
        respond(outcome)
    })
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
