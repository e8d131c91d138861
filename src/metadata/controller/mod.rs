//! The controller: one command at a time decides from the image, its records are made durable and replayed, the new
//! image is published, and only then the command answers (`QuorumController`).

mod cluster_control;
mod command_queue;
mod configuration_control;
mod configuration_schema;
mod control;
mod feature_control;
mod partition_change;
mod placement;
mod producer_ids_control;
mod replication_control;
mod state;
mod topic_creation;

pub use cluster_control::BrokerRegistrationData;
pub use configuration_control::check_own_node_id;
pub use feature_control::{
    METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_MINIMUM, TRANSACTION_VERSION, refused_feature,
    supported_features, update_features_failure,
};
pub(super) use partition_change::PartitionChange;
pub use producer_ids_control::ProducerIdsBlock;
pub use replication_control::{delete_topics_failure, elect_leaders_failure};
pub use topic_creation::{create_partitions_failure, create_topics_failure};

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, ElectLeadersRequest, ElectLeadersResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tracing::info;

use super::api_error::ApiError;
use super::error::MetadataError;
use super::image::MetadataImage;
use super::log::MetadataLog;
use super::publisher::MetadataPublisher;
use super::records::{self, MetadataRecord};
use super::snapshot::SnapshotRetention;
use crate::config::BrokerConfig;
use crate::env::{BoxFuture, Env};
use crate::types::is_internal_topic;
use command_queue::CommandQueue;
use control::{ControlContext, ControlResult};
use state::{Durability, State};

/// The most records of one batch, and so of one command of a client (`MAX_RECORDS_PER_USER_OP`).
const MAX_RECORDS_PER_BATCH: usize = 10_000;

/// How often a snapshot by time is looked for.
const SNAPSHOT_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// How the controller is opened.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// This node.
    pub node_id: i32,
    /// The directory of the metadata log: `__cluster_metadata-0` in the first log directory (`metadata.log.dir`).
    pub directory: PathBuf,
    /// When snapshots come and go.
    pub snapshots: SnapshotOptions,
}

impl ControllerOptions {
    /// Kafka's defaults.
    pub fn new(node_id: i32, directory: PathBuf) -> Self {
        Self { node_id, directory, snapshots: SnapshotOptions::default() }
    }
}

/// When snapshots come and go; the comments name Kafka's configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// A snapshot is written once the log has grown by this many bytes since the last one, and by as many as that one
    /// had (`metadata.log.max.record.bytes.between.snapshots`).
    pub bytes: u64,
    /// A snapshot is written once something in the log has been in none for this many milliseconds; 0 never
    /// (`metadata.log.max.snapshot.interval.ms`).
    pub interval_millis: i64,
    /// How long they stay.
    pub retention: SnapshotRetention,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { bytes: 20 * 1024 * 1024, interval_millis: 60 * 60 * 1000, retention: SnapshotRetention::default() }
    }
}

/// The metadata of the cluster: reads come from the image, commands run one at a time.
pub struct Controller {
    env: Env,
    node_id: i32,
    config: Arc<BrokerConfig>,
    image: ArcSwap<MetadataImage>,
    state: Mutex<State>,
    queue: Arc<CommandQueue>,
    /// Changes that were committed, and how long they took together.
    commits: AtomicU64,
    commit_micros: AtomicU64,
}

impl Controller {
    /// Reads the newest valid snapshot and the log after it, and writes the first records of a new cluster. The broker
    /// then calls [`Self::register_broker`] and [`Self::unfence_broker`] before it subscribes anyone, so that they see
    /// the leader epochs of this life only.
    pub fn open(
        env: Env,
        options: ControllerOptions,
        log: Box<dyn MetadataLog>,
        config: Arc<BrokerConfig>,
    ) -> Result<Arc<Self>, MetadataError> {
        let (state, image) = State::load(&env, &options, log)?;
        let queue = CommandQueue::new(env.spawn.clone());
        let controller = Arc::new(Self {
            env,
            node_id: options.node_id,
            config,
            image: ArcSwap::new(Arc::new(image)),
            state: Mutex::new(state),
            queue,
            commits: AtomicU64::new(0),
            commit_micros: AtomicU64::new(0),
        });
        controller.start()?;
        Ok(controller)
    }

    /// Announces the new leader of the metadata log, and a new cluster's first records.
    fn start(&self) -> Result<(), MetadataError> {
        let mut state = self.state.lock();
        let now = self.env.clock.wall_millis();
        state.begin_epoch(now, self.node_id)?;
        if self.image.load().features.finalized().is_empty() {
            let formatted = state.bootstrap_records(feature_control::feature_records(), now)?;
            let records = feature_control::bootstrap_records(formatted, &self.config);
            self.commit(&mut state, &records, Durability::WithNext)?;
        }
        Ok(())
    }

    pub(super) fn snapshot_if_due(&self) {
        let mut state = self.state.lock();
        state.snapshot_if_due(&self.image.load(), self.env.clock.wall_millis());
    }

    /// Looks now and then whether a snapshot is due that no further change would bring.
    pub fn start_snapshots(self: &Arc<Self>) {
        let controller = Arc::downgrade(self);
        let env = self.env.clone();
        let task = async move {
            loop {
                env.clock.sleep_until(env.clock.monotonic() + SNAPSHOT_CHECK_INTERVAL).await;
                let Some(controller) = controller.upgrade() else { return };
                // Behind the commands that wait: it takes the same lock and the same disk.
                let checked = controller.submit(None, |controller| {
                    controller.snapshot_if_due();
                    Ok(())
                });
                drop(controller);
                let _ = checked.await;
            }
        };
        self.env.spawn.spawn("metadata-snapshots", Box::pin(task));
    }

    /// The metadata now. Keep it for a whole request.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.load_full()
    }

    /// How long a change took on average to be written, since the start; `None` before the first.
    pub fn average_commit_time(&self) -> Option<Duration> {
        let commits = self.commits.load(Ordering::Relaxed);
        self.commit_micros.load(Ordering::Relaxed).checked_div(commits).map(Duration::from_micros)
    }

    /// Adds someone who hears of every new image, first of the present one as a delta from nothing.
    pub fn subscribe(&self, publisher: Arc<dyn MetadataPublisher>) {
        let mut state = self.state.lock();
        state.subscribe(publisher, &self.image.load_full());
    }

    fn context<'a>(&'a self, image: &'a MetadataImage) -> ControlContext<'a> {
        ControlContext { image, random: &*self.env.random, config: &self.config, node_id: self.node_id }
    }

    /// Runs `decide` alone, and what it decided.
    fn run<R>(&self, decide: impl FnOnce(&ControlContext<'_>, i64) -> ControlResult<R>) -> Result<R, MetadataError> {
        let mut state = self.state.lock();
        let image = self.image.load_full();
        let ControlResult { response, records } = decide(&self.context(&image), state.end_offset());
        if records.len() > MAX_RECORDS_PER_BATCH {
            return Err(MetadataError::TooLarge);
        }
        if !records.is_empty() {
            self.commit(&mut state, &records, Durability::Flushed)?;
        }
        Ok(response)
    }

    /// Appends, replays, publishes. The image is visible to requests only after every publisher has it, so that nobody
    /// is sent to a leader that does not serve yet.
    fn commit(
        &self,
        state: &mut State,
        records: &[MetadataRecord],
        durability: Durability,
    ) -> Result<(), MetadataError> {
        let image = self.image.load_full();
        let begun = self.env.clock.monotonic();
        let next = state.commit(&image, records, self.env.clock.wall_millis(), durability)?;
        self.image.store(next.clone());
        let took = self.env.clock.monotonic().saturating_sub(begun);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        state.snapshot_if_due(&next, self.env.clock.wall_millis());
        Ok(())
    }

    /// Runs a command off the caller's thread. Commands run in the order in which they were submitted.
    ///
    /// `timeout`: how long it may wait for its turn; the error is then [`MetadataError::TimedOut`].
    pub fn submit<R: Send + 'static>(
        self: &Arc<Self>,
        timeout: Option<Duration>,
        command: impl FnOnce(&Self) -> Result<R, MetadataError> + Send + 'static,
    ) -> BoxFuture<'static, Result<R, MetadataError>> {
        let controller = self.clone();
        let clock = self.env.clock.clone();
        let deadline = timeout.map(|timeout| clock.monotonic() + timeout);
        self.queue.submit(move || {
            if deadline.is_some_and(|deadline| clock.monotonic() >= deadline) {
                return Err(MetadataError::TimedOut);
            }
            command(&controller)
        })
    }

    /// Registers this process as a broker, fenced; its epoch, which rises with every registration. The registration is
    /// durable when the broker is unfenced; until then it is seen by nobody.
    pub fn register_broker(
        &self,
        registration: &BrokerRegistrationData,
    ) -> Result<Result<i64, ApiError>, MetadataError> {
        self.run_in_parts(Durability::WithNext, |context, next_offset| {
            cluster_control::register_broker(context, registration, next_offset)
        })
    }

    /// Lets a registered broker lead its partitions and be seen by clients.
    pub fn unfence_broker(&self, broker_id: i32, broker_epoch: i64) -> Result<Result<(), ApiError>, MetadataError> {
        self.run_in_parts(Durability::Flushed, |context, _| {
            cluster_control::unfence_broker(context, broker_id, broker_epoch)
        })
    }

    /// As [`Self::run`], for commands of the broker itself: however many records there are, they become as many batches
    /// as needed.
    fn run_in_parts<R>(
        &self,
        durability: Durability,
        decide: impl FnOnce(&ControlContext<'_>, i64) -> ControlResult<R>,
    ) -> Result<R, MetadataError> {
        let mut state = self.state.lock();
        let image = self.image.load_full();
        let ControlResult { response, records } = decide(&self.context(&image), state.end_offset());
        let mut parts = records.chunks(MAX_RECORDS_PER_BATCH).peekable();
        while let Some(part) = parts.next() {
            let durability = if parts.peek().is_some() { Durability::WithNext } else { durability };
            self.commit(&mut state, part, durability)?;
        }
        Ok(response)
    }

    /// CreateTopics.
    pub fn create_topics(&self, request: &CreateTopicsRequest) -> Result<CreateTopicsResponse, MetadataError> {
        let response = self.run(|context, _| topic_creation::create_topics(context, request))?;
        if !request.validate_only {
            log_created(&response);
        }
        Ok(response)
    }

    /// Creates the topics that do not exist, as `DefaultAutoTopicCreationManager` would: internal ones with their own
    /// configurations, their replication factor lowered to the live brokers; others with the broker's defaults. Topics
    /// that exist are not in the answer.
    pub fn auto_create_topics(&self, names: &[&str]) -> Result<CreateTopicsResponse, MetadataError> {
        self.run(|context, _| {
            let missing = names.iter().filter(|name| context.image.topics.topic(name).is_none());
            let topics = missing.map(|name| automatic_topic(context, name)).collect();
            topic_creation::create_topics(context, &CreateTopicsRequest::default().with_topics(topics))
        })
        .inspect(log_created)
    }

    /// Whether [`Self::auto_create_topics`] can create a topic of this name as it should be: internal topics that this
    /// release does not write would get the wrong configuration.
    pub fn can_auto_create(&self, name: &str) -> bool {
        !is_internal_topic(name) || configuration_schema::internal_topic(&self.config, name).is_some()
    }

    /// DeleteTopics, in a version of it: it decides on the error when deletion is disabled.
    pub fn delete_topics(
        &self,
        request: &DeleteTopicsRequest,
        api_version: i16,
    ) -> Result<DeleteTopicsResponse, MetadataError> {
        let response = self.run(|context, _| replication_control::delete_topics(context, request, api_version))?;
        for topic in response.responses.iter().filter(|topic| topic.error_code == 0) {
            let name = topic.name.as_ref().map_or("", |name| name.as_str());
            info!("Deleted topic {name} with id {}", topic.topic_id);
        }
        Ok(response)
    }

    /// CreatePartitions.
    pub fn create_partitions(
        &self,
        request: &CreatePartitionsRequest,
    ) -> Result<CreatePartitionsResponse, MetadataError> {
        self.run(|context, _| topic_creation::create_partitions(context, request))
    }

    /// ElectLeaders.
    pub fn elect_leaders(&self, request: &ElectLeadersRequest) -> Result<ElectLeadersResponse, MetadataError> {
        self.run(|context, _| replication_control::elect_leaders(context, request))
    }

    /// ListPartitionReassignments; reads the image only.
    pub fn list_partition_reassignments(
        &self,
        request: &ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        replication_control::list_partition_reassignments(&self.image.load(), request)
    }

    /// IncrementalAlterConfigs of everything but loggers.
    pub fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest,
    ) -> Result<IncrementalAlterConfigsResponse, MetadataError> {
        self.run(|context, _| configuration_control::incremental_alter_configs(context, request))
    }

    /// AlterConfigs.
    pub fn alter_configs(&self, request: &AlterConfigsRequest) -> Result<AlterConfigsResponse, MetadataError> {
        self.run(|context, _| configuration_control::alter_configs(context, request))
    }

    /// UpdateFeatures, in a version of it: the first ones tell of each feature.
    pub fn update_features(
        &self,
        request: &UpdateFeaturesRequest,
        api_version: i16,
    ) -> Result<UpdateFeaturesResponse, MetadataError> {
        let response = self.run(|context, _| feature_control::update_features(context, request, api_version))?;
        if response.error_code == 0 && !request.validate_only {
            for update in &request.feature_updates {
                info!("The level of {} is {}", update.feature.as_str(), update.max_version_level);
            }
        }
        Ok(response)
    }

    /// The next block of producer ids for a broker (AllocateProducerIds).
    pub fn allocate_producer_ids(
        &self,
        broker_id: i32,
        broker_epoch: i64,
    ) -> Result<Result<ProducerIdsBlock, ApiError>, MetadataError> {
        self.run(|context, _| producer_ids_control::allocate(context, broker_id, broker_epoch))
    }

    /// Ends in order: this broker fenced, a snapshot when one is worth it, and a cleanly closed log. Commands that come
    /// later fail, and nobody hears of the fencing.
    ///
    /// Apache Kafka would wait for the end of an unfenced broker's session before it lets another process register. The
    /// partitions keep their leader in the log: whoever registers next, Kafka or we, raises their epochs then
    /// (`ReplicationControlManager.handleBrokerShutdown`).
    pub fn shutdown(&self) -> Result<(), MetadataError> {
        let mut state = self.state.lock();
        state.forget_publishers();
        let live = self.image.load().cluster.broker(self.node_id).filter(|broker| !broker.fenced).cloned();
        if let Some(broker) = live {
            let fencing = records::fence_broker(broker.id, broker.epoch, true);
            match self.commit(&mut state, &[fencing], Durability::Flushed) {
                Ok(()) | Err(MetadataError::Offline) => {}
                Err(error) => return Err(error),
            }
        }
        state.close(&self.image.load(), self.env.clock.wall_millis())
    }
}

fn log_created(response: &CreateTopicsResponse) {
    for topic in response.topics.iter().filter(|topic| topic.error_code == 0) {
        let (name, partitions) = (topic.name.as_str(), topic.num_partitions);
        info!("Created topic {name} with {partitions} partition(s) and id {}", topic.topic_id);
    }
}

/// A topic as automatic creation wants it.
fn automatic_topic(context: &ControlContext<'_>, name: &str) -> CreatableTopic {
    let topic = CreatableTopic::default().with_name(StrBytes::from_string(name.to_owned()).into());
    let Some(internal) = configuration_schema::internal_topic(context.config, name) else {
        return topic.with_num_partitions(-1).with_replication_factor(-1);
    };
    // A default that one broker cannot meet must not stand in the way (design 3.11).
    let live = i16::try_from(context.image.cluster.unfenced_brokers().count()).unwrap_or(i16::MAX).max(1);
    let config = |(name, value): (&'static str, String)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_string(value)))
    };
    topic
        .with_num_partitions(internal.partitions)
        .with_replication_factor(internal.replication_factor.min(live))
        .with_configs(internal.configs.into_iter().map(config).collect())
}
