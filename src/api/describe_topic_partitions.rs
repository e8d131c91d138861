//! DescribeTopicPartitions (key 75): topics in order of name, so many partitions at a time
//! (`DescribeTopicPartitionsRequestHandler`, KIP-966).

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::authorized_operations;
use super::cluster_view::{ClusterView, broker_ids};
use super::handler::{Answer, RequestContext};
use super::services::Services;
use crate::metadata::{TopicImage, validate_topic_name};
use crate::types::is_internal_topic;

/// Answers from the image.
pub fn handle(
    services: &Arc<Services>,
    context: &RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> Answer<DescribeTopicPartitionsResponse> {
    let view = ClusterView::new(services, context);
    let cursor_topic = request.cursor.as_ref().map_or("", |cursor| cursor.topic_name.as_str());
    let asks_for_all = request.topics.is_empty();
    let names: BTreeSet<&str> = if asks_for_all {
        view.image.topics.by_name().keys().map(|name| &**name).filter(|name| *name >= cursor_topic).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.as_str()).filter(|name| *name >= cursor_topic).collect()
    };
    if let Some(cursor) = &request.cursor
        && (cursor.partition_index < 0 || (!asks_for_all && !names.contains(cursor_topic)))
    {
        return Answer::Now(failure(&request));
    }
    let limit = request.response_partition_limit.min(services.config.max_request_partition_size_limit()).max(1);
    let mut page = Page { view: &view, left: usize::try_from(limit).unwrap_or(1), topics: Vec::new(), next: None };
    for name in names {
        let first = request.cursor.as_ref().filter(|cursor| cursor.topic_name.as_str() == name);
        let first = first.map_or(0, |cursor| cursor.partition_index);
        if !page.add(name, usize::try_from(first).unwrap_or(0), asks_for_all) {
            break;
        }
    }
    Answer::Now(DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(page.next))
}

/// The answer when the whole request is refused (`DescribeTopicPartitionsRequest.getErrorResponse`).
fn failure(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topic = |topic: &TopicRequest| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic.name.clone()))
            .with_error_code(ResponseError::InvalidRequest.code())
    };
    DescribeTopicPartitionsResponse::default().with_topics(request.topics.iter().map(topic).collect())
}

struct Page<'a> {
    view: &'a ClusterView<'a>,
    /// How many more partitions fit.
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page<'_> {
    /// Adds a topic from its partition `first` on; false when the page is full.
    fn add(&mut self, name: &str, first: usize, asks_for_all: bool) -> bool {
        if self.left == 0 {
            self.stop_at(name, 0);
            return false;
        }
        let Some(topic) = self.view.image.topics.topic(name) else {
            if !asks_for_all {
                self.topics.push(missing(name));
            }
            return true;
        };
        let end = topic.partitions.len().min(first.saturating_add(self.left));
        let partitions = partitions(self.view, topic, first, end);
        self.left -= partitions.len();
        self.topics.push(described(name).with_topic_id(topic.id).with_partitions(partitions));
        if end < topic.partitions.len() {
            self.stop_at(name, end);
            return false;
        }
        true
    }

    fn stop_at(&mut self, name: &str, partition: usize) {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        self.next = Some(Cursor::default().with_topic_name(topic_name(name)).with_partition_index(partition));
    }
}

fn topic_name(name: &str) -> TopicName {
    StrBytes::from_string(name.to_owned()).into()
}

fn described(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_is_internal(is_internal_topic(name))
        .with_topic_authorized_operations(authorized_operations::TOPIC)
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match validate_topic_name(name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(_) => ResponseError::InvalidTopicException,
    };
    described(name).with_error_code(error.code())
}

fn partitions(
    view: &ClusterView<'_>,
    topic: &TopicImage,
    first: usize,
    end: usize,
) -> Vec<DescribeTopicPartitionsResponsePartition> {
    let wanted = topic.partitions().skip(first).take(end.saturating_sub(first));
    wanted
        .map(|(partition, registration)| {
            DescribeTopicPartitionsResponsePartition::default()
                .with_partition_index(partition)
                .with_leader_id(view.leader(&topic.name, partition, registration).unwrap_or(BrokerId(-1)))
                .with_leader_epoch(registration.leader_epoch)
                .with_replica_nodes(broker_ids(&registration.replicas))
                .with_isr_nodes(broker_ids(&registration.isr))
                .with_eligible_leader_replicas(Some(broker_ids(&registration.elr)))
                .with_last_known_elr(Some(broker_ids(&registration.last_known_elr)))
                .with_offline_replicas(view.offline_replicas(&topic.name, partition, registration))
        })
        .collect()
}
