//! Errors as Java's tools print them.

use std::collections::BTreeSet;

use crate::client::{ClientError, ClusterClient, TopicMetadata};

/// `Throwable.toString`: the exception's class and what it says. It is what an `ExecutionException` around it says.
pub fn java_error(error: &ClientError) -> String {
    let package = match error {
        ClientError::Config(_) => "org.apache.kafka.common.config",
        _ => "org.apache.kafka.common.errors",
    };
    format!("{package}.{}: {error}", error.class())
}

/// Topics with their partitions. Errors: that of the first topic that has one (`Admin.describeTopics`).
pub async fn describe_topics(
    cluster: &mut ClusterClient,
    names: &BTreeSet<String>,
) -> Result<Vec<TopicMetadata>, ClientError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let metadata = cluster.metadata(Some(&names), false).await?;
    for topic in &metadata.topics {
        ClientError::answer(topic.error_code, None)?;
    }
    Ok(metadata.topics)
}
