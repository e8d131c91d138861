//! What all clients of a run share: topics, the recorder, the end; and the names of things.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::history::Recorder;
use super::raw::Raw;
use crate::campaign::Random;

/// The topics: name and partitions. `plain` gets records outside transactions, `txn` transactions of all kinds, `in` what
/// pipelines read, `out` what they write.
pub const TOPICS: [(&str, i32); 4] = [("plain", 2), ("txn", 3), ("in", 2), ("out", 2)];

/// A partition of one of the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Topic.
    pub topic: &'static str,
    /// Partition.
    pub partition: i32,
}

impl Place {
    /// As it stands in the history.
    pub fn key(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }

    /// For requests.
    pub fn topic_name(&self) -> TopicName {
        StrBytes::from_static_str(self.topic).into()
    }

    /// Every partition of a topic.
    pub fn all_of(topic: &str) -> Vec<Self> {
        let (topic, partitions) = *TOPICS.iter().find(|(name, _)| *name == topic).expect("one of the topics");
        (0..partitions).map(|partition| Self { topic, partition }).collect()
    }

    /// Every partition.
    pub fn all() -> Vec<Self> {
        TOPICS.iter().flat_map(|(topic, _)| Self::all_of(topic)).collect()
    }

    /// One partition of a topic.
    pub fn any_of(topic: &str, random: &mut Random) -> Self {
        let all = Self::all_of(topic);
        all[random.below(all.len() as u64) as usize]
    }
}

/// Asks for coordinators of groups and of transactions: their topics come into being with the first question.
fn find_coordinators(address: &str) -> Result<()> {
    let mut raw = Raw::new(address, "setting");
    for key_type in [0, 1] {
        let key = StrBytes::from_static_str("raw");
        let request = FindCoordinatorRequest::default().with_key_type(key_type).with_coordinator_keys(vec![key]);
        crate::clients::wait_for("a coordinator", || {
            let response = raw.call(4, &request)?;
            Ok(response.coordinators.iter().all(|coordinator| coordinator.error_code == 0))
        })?;
    }
    Ok(())
}

/// What the clients of a run share.
pub struct Setting {
    /// Of the proxy.
    pub address: String,
    /// Takes the events.
    pub recorder: Recorder,
    /// By topic.
    pub topic_ids: HashMap<&'static str, Uuid>,
    /// The last producer id and epoch of each transactional id.
    pub identities: Mutex<HashMap<String, (i64, i16)>>,
    /// Set when the clients shall come to an end.
    pub stop: AtomicBool,
}

impl Setting {
    /// Asks for the topics' ids; they must exist.
    pub fn new(address: &str, recorder: Recorder) -> Result<Self> {
        let topics = TOPICS
            .iter()
            .map(|(name, _)| MetadataRequestTopic::default().with_name(Some(StrBytes::from_static_str(name).into())));
        let request = MetadataRequest::default().with_topics(Some(topics.collect()));
        let response = Raw::new(address, "setting").call(12, &request)?;
        let mut topic_ids = HashMap::new();
        for topic in response.topics {
            ensure!(topic.error_code == 0, "metadata: {}", topic.error_code);
            let name = topic.name.context("a topic without a name")?;
            let (name, _) = TOPICS.iter().find(|(wanted, _)| *wanted == &*name.0).context("another topic")?;
            topic_ids.insert(*name, topic.topic_id);
        }
        find_coordinators(address)?;
        let address = address.to_owned();
        Ok(Self { address, recorder, topic_ids, identities: Mutex::default(), stop: AtomicBool::new(false) })
    }

    /// Whether the clients shall come to an end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Waits a little, less if the end comes.
    pub fn pause(&self, random: &mut Random, longest_millis: u64) {
        let mut left = Duration::from_millis(1 + random.below(longest_millis.max(1)));
        while !left.is_zero() && !self.stopped() {
            let step = left.min(Duration::from_millis(50));
            std::thread::sleep(step);
            left -= step;
        }
    }
}
