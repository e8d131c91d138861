//! Which topics there are.

use super::super::{CommandError, Console};
use crate::client::{ClusterClient, TopicMetadata};
use crate::tools::options::Options;
use crate::tools::topic_filter::TopicFilter;

pub(super) async fn list(
    client: &mut ClusterClient,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let names = topic_names(client, options).await?;
    writeln!(console.out, "{}", names.join("\n"))?;
    Ok(())
}

/// The topics that `--topic` and `--exclude-internal` leave, sorted.
pub(super) async fn topic_names(client: &mut ClusterClient, options: &Options) -> Result<Vec<String>, CommandError> {
    let excludes_internal = options.has("exclude-internal");
    let topic = options.value("topic")?;
    let topics = all_topics(client, excludes_internal).await?;
    let filter = topic.map(TopicFilter::new).transpose()?;
    let is_wanted = |name: &String| filter.as_ref().is_none_or(|filter| filter.allows(name, excludes_internal));
    Ok(topics.into_iter().map(|topic| topic.name).filter(is_wanted).collect())
}

pub(super) async fn all_topics(
    client: &mut ClusterClient,
    excludes_internal: bool,
) -> Result<Vec<TopicMetadata>, CommandError> {
    let metadata = client.metadata(None, false).await?;
    Ok(metadata.topics.into_iter().filter(|topic| !(excludes_internal && topic.is_internal)).collect())
}

/// The topics must exist, unless `--if-exists`.
pub(super) fn check_existence(names: &[String], options: &Options) -> Result<(), CommandError> {
    match options.value("topic")? {
        Some(topic) if !topic.is_empty() && names.is_empty() && !options.has("if-exists") => {
            Err(CommandError::Message(format!("Topic '{topic}' does not exist as expected")))
        }
        _ => Ok(()),
    }
}
