//! Membership of a consumer in a classic group (`ConsumerCoordinator`): joining, heartbeats, commits, leaving.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::assignor::{Assignor, GroupMember};
use super::cluster_client::{ClusterClient, Destination};
use super::consumer_settings::ConsumerSettings;
use super::error::ClientError;
use super::groups::{OFFSET_COMMIT_BY_NAME, commit_topics};
use super::node_connection::NodeConnection;
use super::offsets::PartitionOffset;
use crate::types::TopicPartition;
use crate::wire::consumer_protocol::{
    PROTOCOL_TYPE, decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use crate::wire::{WireError, str_bytes};

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

/// A member without a generation.
const NO_GENERATION: i32 = -1;
/// How much later than the coordinator a member gives up joining.
const JOIN_GRACE: Duration = Duration::from_secs(5);
/// Version of what members say of themselves, and of what the leader says to them.
const SUBSCRIPTION_VERSION: i16 = 3;
const ASSIGNMENT_VERSION: i16 = 3;

/// A member of a group, or somebody who wants to be one.
pub(super) struct Membership {
    connection: Option<NodeConnection>,
    destination: Destination,
    group_id: GroupId,
    instance_id: Option<StrBytes>,
    member_id: StrBytes,
    generation: i32,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    heartbeat_interval: Duration,
    assignors: Vec<Assignor>,
    heartbeat_due: Duration,
    needs_join: bool,
    /// The topics and numbers of partitions that were dealt out, if this member did it.
    dealt_out: Option<BTreeMap<String, usize>>,
}

impl Membership {
    pub(super) fn new(settings: &ConsumerSettings) -> Self {
        Self {
            connection: None,
            destination: Destination::Group(settings.group_id.clone()),
            group_id: GroupId(str_bytes(&settings.group_id)),
            instance_id: settings.group_instance_id.as_deref().map(str_bytes),
            member_id: StrBytes::default(),
            generation: NO_GENERATION,
            session_timeout: settings.session_timeout,
            rebalance_timeout: settings.rebalance_timeout,
            heartbeat_interval: settings.heartbeat_interval,
            assignors: settings.assignors.clone(),
            heartbeat_due: Duration::ZERO,
            needs_join: true,
            dealt_out: None,
        }
    }

    /// Whether the next thing to do is [`Membership::join`].
    pub(super) fn needs_join(&self) -> bool {
        self.needs_join
    }

    /// Has the member join again: what it subscribes to changed.
    pub(super) fn request_join(&mut self) {
        self.needs_join = true;
    }

    /// The topics that this member dealt out, if it leads the group.
    pub(super) fn dealt_out(&self) -> Option<&BTreeMap<String, usize>> {
        self.dealt_out.as_ref()
    }

    /// When the next heartbeat is due, as the clock's monotonic time.
    pub(super) fn heartbeat_due(&self) -> Duration {
        self.heartbeat_due
    }

    async fn call<T: Request>(
        &mut self,
        cluster: &mut ClusterClient,
        max: Option<i16>,
        timeout: Duration,
        build: impl FnOnce(i16) -> T,
    ) -> Result<T::Response, ClientError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => cluster.dedicated(&self.destination).await?,
        };
        let result = connection.call(max, timeout, build).await;
        match &result {
            Err(error) if error.is_of_connection() => cluster.forget(&self.destination),
            _ => self.connection = Some(connection),
        }
        result
    }

    /// What an error of the coordinator means: `Ok` if joining (again) helps.
    fn recover(&mut self, cluster: &mut ClusterClient, error: ClientError) -> Result<(), ClientError> {
        match error.code() {
            Some(COORDINATOR_LOAD_IN_PROGRESS | REBALANCE_IN_PROGRESS) => {}
            Some(COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR) => {
                self.connection = None;
                cluster.forget(&self.destination);
            }
            Some(ILLEGAL_GENERATION) => self.generation = NO_GENERATION,
            Some(UNKNOWN_MEMBER_ID) => {
                self.generation = NO_GENERATION;
                self.member_id = StrBytes::default();
            }
            None if error.is_of_connection() => {}
            _ => return Err(error),
        }
        self.needs_join = true;
        Ok(())
    }

    /// Becomes a member of the next generation; the partitions that this member gets.
    ///
    /// # Errors
    /// What joining again does not help against.
    pub(super) async fn join(
        &mut self,
        cluster: &mut ClusterClient,
        topics: &BTreeSet<String>,
    ) -> Result<BTreeSet<TopicPartition>, ClientError> {
        let clock = cluster.clock().clone();
        loop {
            match self.try_join(cluster, topics).await {
                Ok(Some(assignment)) => {
                    self.needs_join = false;
                    self.heartbeat_due = clock.monotonic() + self.heartbeat_interval;
                    return Ok(assignment);
                }
                Ok(None) => continue,
                Err(error) => self.recover(cluster, error)?,
            }
            clock.sleep_until(clock.monotonic() + cluster.config().retry_backoff).await;
        }
    }

    /// One try; `None` when the coordinator gave this member its id first.
    async fn try_join(
        &mut self,
        cluster: &mut ClusterClient,
        topics: &BTreeSet<String>,
    ) -> Result<Option<BTreeSet<TopicPartition>>, ClientError> {
        let subscription = ConsumerProtocolSubscription::default()
            .with_topics(topics.iter().map(|topic| str_bytes(topic)).collect())
            .with_generation_id(self.generation);
        let metadata = encode_subscription(&subscription, SUBSCRIPTION_VERSION).map_err(codec)?;
        let protocols = self.assignors.iter().map(|assignor| {
            let name = StrBytes::from_static_str(assignor.name());
            JoinGroupRequestProtocol::default().with_name(name).with_metadata(metadata.clone())
        });
        let mut request = JoinGroupRequest::default()
            .with_group_id(self.group_id.clone())
            .with_session_timeout_ms(millis(self.session_timeout))
            .with_rebalance_timeout_ms(millis(self.rebalance_timeout))
            .with_member_id(self.member_id.clone())
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(protocols.collect());
        let instance_id = self.instance_id.clone();
        let build = |version: i16| {
            if version >= 5 {
                request.group_instance_id = instance_id;
            }
            request
        };
        let timeout = self.rebalance_timeout + JOIN_GRACE;
        let response = self.call(cluster, None, timeout, build).await?;
        if response.error_code == MEMBER_ID_REQUIRED {
            self.member_id = owned(&response.member_id);
            return Ok(None);
        }
        ClientError::answer(response.error_code, None)?;
        self.member_id = owned(&response.member_id);
        self.generation = response.generation_id;
        let assignments = self.deal_out(cluster, &response).await?;
        self.sync(cluster, &response, assignments).await.map(Some)
    }

    /// What the leader says to each member; nothing by the others.
    async fn deal_out(
        &mut self,
        cluster: &mut ClusterClient,
        response: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        self.dealt_out = None;
        if response.leader != response.member_id || response.skip_assignment {
            return Ok(Vec::new());
        }
        let protocol = response.protocol_name.as_deref().unwrap_or_default();
        let assignor = Assignor::by_name(protocol).ok_or_else(|| {
            ClientError::Codec(format!("the coordinator chose the assignor {protocol}, which was not offered"))
        })?;
        let mut members = Vec::new();
        for member in &response.members {
            let subscription = decode_subscription(&member.metadata).map_err(codec)?;
            members.push(GroupMember {
                member_id: member.member_id.to_string(),
                group_instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
                topics: subscription.topics.iter().map(ToString::to_string).collect(),
            });
        }
        let topics: BTreeSet<&str> = members.iter().flat_map(|member| &member.topics).map(String::as_str).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let metadata = cluster.metadata(Some(&topics), false).await?;
        let counts: BTreeMap<String, usize> =
            metadata.topics.iter().map(|topic| (topic.name.clone(), topic.partitions.len())).collect();
        let assigned = assignor.assign(&counts, &members);
        self.dealt_out = Some(counts);
        let assignment = |(member, partitions): (String, Vec<TopicPartition>)| {
            Ok(SyncGroupRequestAssignment::default()
                .with_member_id(StrBytes::from_string(member))
                .with_assignment(encoded(&partitions)?))
        };
        assigned.into_iter().map(assignment).collect()
    }

    async fn sync(
        &mut self,
        cluster: &mut ClusterClient,
        joined: &JoinGroupResponse,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> Result<BTreeSet<TopicPartition>, ClientError> {
        let mut request = SyncGroupRequest::default()
            .with_group_id(self.group_id.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_assignments(assignments);
        let (instance_id, protocol) = (self.instance_id.clone(), joined.protocol_name.clone());
        let build = |version: i16| {
            if version >= 3 {
                request.group_instance_id = instance_id;
            }
            if version >= 5 {
                request.protocol_type = Some(StrBytes::from_static_str(PROTOCOL_TYPE));
                request.protocol_name = protocol;
            }
            request
        };
        let timeout = self.rebalance_timeout + JOIN_GRACE;
        let response = self.call(cluster, None, timeout, build).await?;
        ClientError::answer(response.error_code, None)?;
        if response.assignment.is_empty() {
            return Ok(BTreeSet::new());
        }
        let assignment = decode_assignment(&response.assignment).map_err(codec)?;
        let partitions = assignment.assigned_partitions.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| TopicPartition::new(topic.topic.as_str(), *partition))
        });
        Ok(partitions.collect())
    }

    /// Tells the coordinator that the member is alive, if it is time; it may be told to join again.
    ///
    /// # Errors
    /// What joining again does not help against.
    pub(super) async fn heartbeat(&mut self, cluster: &mut ClusterClient) -> Result<(), ClientError> {
        let now = cluster.clock().monotonic();
        if now < self.heartbeat_due {
            return Ok(());
        }
        let mut request = HeartbeatRequest::default()
            .with_group_id(self.group_id.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        let instance_id = self.instance_id.clone();
        let build = |version: i16| {
            if version >= 3 {
                request.group_instance_id = instance_id;
            }
            request
        };
        let timeout = cluster.config().request_timeout.min(self.session_timeout);
        let answer = self.call(cluster, None, timeout, build).await;
        self.heartbeat_due = now + self.heartbeat_interval;
        match answer.and_then(|response| ClientError::answer(response.error_code, None)) {
            Ok(()) => Ok(()),
            Err(error) => self.recover(cluster, error),
        }
    }

    /// Commits offsets. The error of the first partition that has one; if it means that the member is none any more, it joins next.
    ///
    /// # Errors
    /// As said, and errors of the connection.
    pub(super) async fn commit(
        &mut self,
        cluster: &mut ClusterClient,
        offsets: &BTreeMap<TopicPartition, PartitionOffset>,
    ) -> Result<(), ClientError> {
        if offsets.is_empty() || self.generation == NO_GENERATION {
            return Ok(());
        }
        let mut request = OffsetCommitRequest::default()
            .with_group_id(self.group_id.clone())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.member_id.clone());
        let instance_id = self.instance_id.clone();
        let build = |version: i16| {
            request.topics = commit_topics(version, offsets);
            if version >= 7 {
                request.group_instance_id = instance_id;
            }
            request
        };
        let timeout = cluster.config().request_timeout;
        let response = self.call(cluster, OFFSET_COMMIT_BY_NAME, timeout, build).await?;
        let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        let code = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
        if matches!(code, ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID | REBALANCE_IN_PROGRESS) {
            self.recover(cluster, ClientError::Answer { code, message: None })?;
        }
        ClientError::answer(code, None)
    }

    /// Leaves the group, unless the member is a static one.
    ///
    /// # Errors
    /// Of the connection and of the coordinator.
    pub(super) async fn leave(&mut self, cluster: &mut ClusterClient) -> Result<(), ClientError> {
        if self.instance_id.is_some() || self.member_id.is_empty() {
            return Ok(());
        }
        let (group_id, member_id) = (self.group_id.clone(), self.member_id.clone());
        let build = |version: i16| {
            let request = LeaveGroupRequest::default().with_group_id(group_id);
            if version < 3 {
                return request.with_member_id(member_id);
            }
            let mut member = MemberIdentity::default().with_member_id(member_id);
            if version >= 5 {
                member.reason = Some(StrBytes::from_static_str("the consumer is being closed"));
            }
            request.with_members(vec![member])
        };
        let timeout = cluster.config().request_timeout;
        let response = self.call(cluster, None, timeout, build).await?;
        self.generation = NO_GENERATION;
        ClientError::answer(response.error_code, None)
    }
}

fn encoded(partitions: &[TopicPartition]) -> Result<Bytes, ClientError> {
    use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as Assigned;
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topic = |(name, partitions): (&str, Vec<i32>)| {
        Assigned::default().with_topic(TopicName(str_bytes(name))).with_partitions(partitions)
    };
    let assignment =
        ConsumerProtocolAssignment::default().with_assigned_partitions(topics.into_iter().map(topic).collect());
    encode_assignment(&assignment, ASSIGNMENT_VERSION).map_err(codec)
}

fn codec(error: WireError) -> ClientError {
    ClientError::Codec(error.to_string())
}

/// A copy that does not pin the frame it came in.
fn owned(text: &StrBytes) -> StrBytes {
    str_bytes(text)
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
