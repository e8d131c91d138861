//! What is declared at the start: topics with their configurations, and records to begin with.
//!
//! Contract: texts come in, values go out; nothing is created here. Everything that is wrong is found before the broker opens its
//! data, and names the place where it was written. A topic may be declared in several places if all say the same.

mod seed_file;
mod topics;

pub use seed_file::{SEED_FILE_BYTES_MAX, SeedRecord};
pub use topics::DeclaredTopic;

use seed_file::Line;

use super::{BrokerConfig, ConfigError, LogConfig};
use crate::types::{CLUSTER_METADATA_TOPIC_NAME, is_internal_topic};

/// Everything that is declared.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    /// The topics, each once, in the order in which they were named first.
    pub topics: Vec<DeclaredTopic>,
    /// The records, in the order of the files; each one's topic is among [`Self::topics`].
    pub seeds: Vec<SeedRecord>,
}

impl Declarations {
    /// Adds the topics of a list: entries as of `--topic`, apart by semicolons or line breaks.
    pub(super) fn add_topic_list(&mut self, list: &str, place: &str, config: &BrokerConfig) -> Result<(), ConfigError> {
        for entry in list.split([';', '\n']).map(str::trim).filter(|entry| !entry.is_empty()) {
            self.add_topic(topics::parse_topic(entry, place)?, config)?;
        }
        Ok(())
    }

    /// Adds the topic of a `--topic`.
    pub(super) fn add_topic_option(&mut self, text: &str, config: &BrokerConfig) -> Result<(), ConfigError> {
        self.add_topic(topics::parse_topic(text, "--topic")?, config)
    }

    /// Adds one topic.
    ///
    /// # Errors
    /// A configuration that cannot be, a second declaration that says something else.
    pub fn add_topic(&mut self, topic: DeclaredTopic, config: &BrokerConfig) -> Result<(), ConfigError> {
        LogConfig::from_overrides(config, &topic.configs).map_err(|error| error.at(topic.place.as_str()))?;
        let Some(known) = self.topics.iter_mut().find(|known| known.name == topic.name) else {
            self.topics.push(topic);
            return Ok(());
        };
        if known.is_implied {
            *known = topic;
        } else if !topic.is_implied && (known.partitions != topic.partitions || known.configs != topic.configs) {
            return Err(ConfigError::Invalid(format!(
                "{}: topic {} is declared differently by {}: keep one of them, or make them equal",
                topic.place, topic.name, known.place
            )));
        }
        Ok(())
    }

    /// Adds the lines of a seed file. A topic that has records and no declaration is declared with the broker's defaults.
    ///
    /// # Errors
    /// The first line that cannot be understood or used.
    pub fn add_seed_file(&mut self, file: &str, text: &str, config: &BrokerConfig) -> Result<(), ConfigError> {
        for line in seed_file::parse(file, text) {
            match line? {
                Line::Topic(topic) => self.add_topic(topic, config)?,
                Line::Record(record) => {
                    if is_internal_topic(&record.topic) || record.topic == CLUSTER_METADATA_TOPIC_NAME {
                        let reason = format!("topic {} is the broker's own and takes no records here", record.topic);
                        return Err(ConfigError::Invalid(reason).at(record.place()));
                    }
                    if !self.topics.iter().any(|topic| topic.name == record.topic) {
                        self.add_topic(DeclaredTopic::implied(&record.topic, record.place())?, config)?;
                    }
                    self.seeds.push(record);
                }
            }
        }
        Ok(())
    }

    /// Checks what can only be said when everything is known.
    ///
    /// # Errors
    /// A record of a partition that its topic does not have.
    pub fn check(&self, config: &BrokerConfig) -> Result<(), ConfigError> {
        for record in &self.seeds {
            let Some(partition) = record.partition else { continue };
            let topic = self.topics.iter().find(|topic| topic.name == record.topic);
            let partitions = topic.and_then(|topic| topic.partitions).unwrap_or_else(|| config.num_partitions());
            if partition < 0 || partition >= partitions {
                let reason = format!(
                    "topic {} has no partition {partition}: it is declared with {partitions}, from 0 on",
                    record.topic
                );
                return Err(ConfigError::Invalid(reason).at(record.place()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
