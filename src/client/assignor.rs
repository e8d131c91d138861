//! How the leader of a group deals out partitions: `RangeAssignor` and `RoundRobinAssignor`, without racks.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::TopicPartition;

/// A member of a group, as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the coordinator gave it.
    pub member_id: String,
    /// The name of a static member.
    pub group_instance_id: Option<String>,
    /// The topics that it wants.
    pub topics: BTreeSet<String>,
}

impl GroupMember {
    /// The order of members: static ones first, by name (`AbstractPartitionAssignor.MemberInfo`).
    fn order(&self) -> (bool, &str) {
        match &self.group_instance_id {
            Some(name) => (false, name),
            None => (true, &self.member_id),
        }
    }
}

/// How partitions are dealt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Neighbouring partitions of each topic to each member.
    Range,
    /// One partition after the other to one member after the other.
    RoundRobin,
}

impl Assignor {
    /// The assignor of a name or class of `partition.assignment.strategy`.
    pub fn by_name(name: &str) -> Option<Self> {
        match name.rsplit('.').next()? {
            "range" | "RangeAssignor" => Some(Self::Range),
            "roundrobin" | "RoundRobinAssignor" => Some(Self::RoundRobin),
            _ => None,
        }
    }

    /// The name by which members agree on it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }

    /// Deals out the partitions of topics, given by their numbers; every member is in the result.
    pub fn assign(
        self,
        partitions: &BTreeMap<String, usize>,
        members: &[GroupMember],
    ) -> BTreeMap<String, Vec<TopicPartition>> {
        let mut sorted: Vec<&GroupMember> = members.iter().collect();
        sorted.sort_by(|one, other| one.order().cmp(&other.order()));
        let mut assignment: BTreeMap<String, Vec<TopicPartition>> =
            members.iter().map(|member| (member.member_id.clone(), Vec::new())).collect();
        match self {
            Self::Range => assign_ranges(partitions, &sorted, &mut assignment),
            Self::RoundRobin => assign_round_robin(partitions, &sorted, &mut assignment),
        }
        assignment
    }
}

fn assign_ranges(
    partitions: &BTreeMap<String, usize>,
    members: &[&GroupMember],
    assignment: &mut BTreeMap<String, Vec<TopicPartition>>,
) {
    for (topic, count) in partitions {
        let wanting: Vec<&&GroupMember> = members.iter().filter(|member| member.topics.contains(topic)).collect();
        let mut next = 0;
        for (position, member) in wanting.iter().enumerate() {
            let share = count / wanting.len() + usize::from(position < count % wanting.len());
            let range = (next..next + share).map(|partition| TopicPartition::new(topic.as_str(), partition as i32));
            assignment.entry(member.member_id.clone()).or_default().extend(range);
            next += share;
        }
    }
}

fn assign_round_robin(
    partitions: &BTreeMap<String, usize>,
    members: &[&GroupMember],
    assignment: &mut BTreeMap<String, Vec<TopicPartition>>,
) {
    let mut turn = 0;
    for (topic, count) in partitions {
        if !members.iter().any(|member| member.topics.contains(topic)) {
            continue;
        }
        for partition in 0..*count {
            while !members[turn % members.len()].topics.contains(topic) {
                turn += 1;
            }
            let member = members[turn % members.len()].member_id.clone();
            let partition = TopicPartition::new(topic.as_str(), partition as i32);
            assignment.entry(member).or_default().push(partition);
            turn += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, instance: Option<&str>, topics: &[&str]) -> GroupMember {
        GroupMember {
            member_id: id.to_owned(),
            group_instance_id: instance.map(str::to_owned),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        }
    }

    fn assigned(assignor: Assignor, partitions: &[(&str, usize)], members: &[GroupMember]) -> Vec<String> {
        let partitions = partitions.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect();
        let line = |(member, partitions): (&String, &Vec<TopicPartition>)| {
            let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            format!("{member}: {}", partitions.join(" "))
        };
        assignor.assign(&partitions, members).iter().map(line).collect()
    }

    #[test]
    fn ranges_are_neighbours_and_the_first_members_get_the_rest() {
        let members = [member("b", None, &["t", "u"]), member("a", None, &["t"]), member("c", None, &["t", "x"])];
        let lines = assigned(Assignor::Range, &[("t", 5), ("u", 1), ("x", 0)], &members);
        assert_eq!(lines, ["a: t-0 t-1", "b: t-2 t-3 u-0", "c: t-4"]);
    }

    #[test]
    fn static_members_come_first_by_their_names() {
        let members = [member("a", None, &["t"]), member("z", Some("i1"), &["t"]), member("y", Some("i2"), &["t"])];
        assert_eq!(assigned(Assignor::Range, &[("t", 2)], &members), ["a: ", "y: t-1", "z: t-0"]);
    }

    #[test]
    fn round_robin_goes_on_over_topics() {
        let members = [member("a", None, &["t", "u"]), member("b", None, &["t", "u"])];
        let lines = assigned(Assignor::RoundRobin, &[("t", 3), ("u", 3)], &members);
        assert_eq!(lines, ["a: t-0 t-2 u-1", "b: t-1 u-0 u-2"]);
        let members = [member("a", None, &["u"]), member("b", None, &["t"])];
        let lines = assigned(Assignor::RoundRobin, &[("t", 2), ("u", 1), ("nobody", 4)], &members);
        assert_eq!(lines, ["a: u-0", "b: t-0 t-1"]);
    }

    #[test]
    fn names_and_classes_are_known() {
        let class = "org.apache.kafka.clients.consumer.RoundRobinAssignor";
        assert_eq!(Assignor::by_name(class), Some(Assignor::RoundRobin));
        assert_eq!(Assignor::by_name("range"), Some(Assignor::Range));
        assert_eq!(Assignor::by_name("org.apache.kafka.clients.consumer.StickyAssignor"), None);
    }
}
