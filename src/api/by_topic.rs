//! The part of an answer that is by topic, put together from what was refused here and what the coordinator said. Finding a topic
//! costs the same however many there are: a request of 16 MiB may name 400,000.

use indexmap::IndexMap;
use kafka_protocol::messages::TopicName;

/// Partitions by topic, in the order in which the topics came.
pub(super) struct ByTopic<P>(IndexMap<TopicName, Vec<P>>);

impl<P> ByTopic<P> {
    /// No topic.
    pub(super) fn new() -> Self {
        Self(IndexMap::new())
    }

    /// Whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds partitions to the topic of that name.
    pub(super) fn add(&mut self, name: TopicName, partitions: impl IntoIterator<Item = P>) {
        self.0.entry(name).or_default().extend(partitions);
    }

    /// The topics as an answer has them.
    pub(super) fn into_topics<T>(self, topic: impl Fn(TopicName, Vec<P>) -> T) -> Vec<T> {
        self.0.into_iter().map(|(name, partitions)| topic(name, partitions)).collect()
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    #[test]
    fn partitions_of_a_topic_stand_together_in_the_order_of_the_topics() {
        let name = |name: &'static str| TopicName(StrBytes::from_static_str(name));
        let mut answer = ByTopic::new();
        answer.add(name("b"), [1]);
        answer.add(name("a"), []);
        answer.add(name("b"), [3, 2]);
        let topics = answer.into_topics(|name, partitions| (name.to_string(), partitions));
        assert_eq!(topics, [("b".to_owned(), vec![1, 3, 2]), ("a".to_owned(), vec![])]);
    }
}
