//! `--reset-offsets`: where a group without members goes on (`GroupOffsetsResetter`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::csv::{self, Plan};
use super::table::{row, width};
use super::{command_line, groups_of, print_error, runtime_exception};
use crate::client::{
    ClientError, ClusterClient, EARLIEST_TIMESTAMP, GroupError, IsolationLevel, LATEST_TIMESTAMP, PartitionOffset,
    alter_group_offsets, committed_offsets, describe_consumer_group, list_offsets,
};
use crate::tools::commands::java_error::describe_topics;
use crate::tools::commands::java_time::{before, parse_date_time, parse_duration};
use crate::tools::commands::{CommandError, Console, read_text};
use crate::tools::options::{OptionParser, Options};
use crate::types::TopicPartition;

/// `GROUP_ID_NOT_FOUND`.
const GROUP_ID_NOT_FOUND: i16 = 69;

type Offsets = BTreeMap<TopicPartition, i64>;

/// Resets offsets, or shows what they would be.
///
/// # Errors
/// What is not written right, partitions that are not there, the client's.
pub async fn reset(
    cluster: &mut ClusterClient,
    parser: &OptionParser,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let groups: BTreeSet<String> = groups_of(cluster, options).await?.into_iter().collect();
    let mut plan = Plan::new();
    for group in groups {
        let is_idle = match describe_consumer_group(cluster, &group).await {
            Ok(description) if matches!(description.state.as_str(), "Empty" | "Dead") => true,
            Ok(description) => {
                let state = description.state;
                let message = format!(
                    "Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."
                );
                print_error(&message, console)?;
                false
            }
            Err(GroupError::Client(error)) if error.code() == Some(GROUP_ID_NOT_FOUND) => true,
            Err(GroupError::Client(error)) => return Err(runtime_exception(error)),
            Err(error) => {
                let text =
                    format!("java.util.concurrent.ExecutionException: java.lang.IllegalArgumentException: {error}");
                return Err(CommandError::Message(text));
            }
        };
        let offsets = match is_idle {
            true => reset_idle_group(cluster, &group, parser, options, console).await?,
            false => Offsets::new(),
        };
        plan.insert(group, offsets);
    }
    if options.has("export") {
        // Each line has its end; Kafka prints one more.
        let exported = csv::export(&plan, options.values("group").len() != 1);
        return Ok(writeln!(console.out, "{exported}")?);
    }
    print(&plan, console)
}

fn print(plan: &Plan, console: &mut Console<'_>) -> Result<(), CommandError> {
    let group_width = width(15, plan.keys().map(String::as_str));
    let topic_width = width(15, plan.values().flat_map(|offsets| offsets.keys()).map(|partition| &*partition.topic));
    let mut line = |group: &str, topic: &str, partition: &str, offset: &str| {
        let cells = [(group, group_width), (topic, topic_width), (partition, 10), (offset, 0)];
        write!(console.out, "\n{}", row(&cells))
    };
    if !plan.is_empty() {
        line("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET")?;
    }
    for (group, offsets) in plan {
        for (partition, offset) in offsets {
            line(group, &partition.topic, &partition.partition.to_string(), &offset.to_string())?;
        }
    }
    Ok(writeln!(console.out)?)
}

async fn reset_idle_group(
    cluster: &mut ClusterClient,
    group: &str,
    parser: &OptionParser,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<Offsets, CommandError> {
    let partitions = partitions_of(cluster, group, parser, options).await?;
    check_partitions(cluster, &partitions).await?;
    let offsets = prepare(cluster, group, &partitions, parser, options, console).await?;
    if options.has("execute") && !options.has("dry-run") {
        let committed =
            offsets.iter().map(|(partition, offset)| (partition.clone(), PartitionOffset::new(*offset, -1)));
        let failed = alter_group_offsets(cluster, group, &committed.collect()).await?;
        if let Some(code) = failed.values().next() {
            let partitions: Vec<String> = failed.keys().map(ToString::to_string).collect();
            let text =
                format!("Failed altering group offsets for the following partitions: [{}]", partitions.join(", "));
            ClientError::answer(*code, Some(&text))?;
        }
    }
    Ok(offsets)
}

/// The partitions that the command line names.
async fn partitions_of(
    cluster: &mut ClusterClient,
    group: &str,
    parser: &OptionParser,
    options: &Options,
) -> Result<BTreeSet<TopicPartition>, CommandError> {
    if options.has("all-topics") {
        let committed = committed_offsets(cluster, group, None, false).await.map_err(runtime_exception)?;
        return Ok(committed.into_keys().collect());
    }
    if !options.has("topic") {
        if !options.has("from-file") {
            return Err(parser.usage("One of the reset scopes should be defined: --all-topics, --topic."));
        }
        return Ok(BTreeSet::new());
    }
    let (with_partitions, without): (Vec<&str>, Vec<&str>) =
        options.values("topic").into_iter().partition(|topic| topic.contains(':'));
    let mut partitions = BTreeSet::new();
    for topic in with_partitions {
        partitions.extend(parse_partitions(topic).map_err(|message| parser.usage(message))?);
    }
    let names: BTreeSet<String> = without.into_iter().map(str::to_owned).collect();
    for topic in describe_topics(cluster, &names).await? {
        partitions.extend(topic.partitions.iter().map(|known| TopicPartition::new(topic.name.as_str(), known.index)));
    }
    Ok(partitions)
}

/// Partitions as `topic:0,1` names them. Errors in Kafka's words.
pub(super) fn parse_partitions(argument: &str) -> Result<Vec<TopicPartition>, String> {
    // As Java splits: nothing is left of empty texts at the end.
    let pieces: Vec<&str> = argument.trim_end_matches(':').split(':').collect();
    let [topic, partitions] = pieces.as_slice() else {
        return Err(format!("Invalid topic arg '{argument}', expected topic name and partitions"));
    };
    let number = |text: &str| {
        let number =
            text.parse().map_err(|_| format!("Invalid partition '{text}' specified in topic arg '{argument}''"))?;
        Ok(TopicPartition::new(*topic, number))
    };
    partitions.trim_end_matches(',').split(',').map(number).collect()
}

/// Every partition must be there and have a leader.
async fn check_partitions(
    cluster: &mut ClusterClient,
    partitions: &BTreeSet<TopicPartition>,
) -> Result<(), CommandError> {
    let names: BTreeSet<String> = partitions.iter().map(|partition| partition.topic.to_string()).collect();
    let topics = describe_topics(cluster, &names).await.map_err(runtime_exception)?;
    let leader_of = |partition: &TopicPartition| {
        let topic = topics.iter().find(|topic| topic.name == *partition.topic)?;
        topic.partitions.iter().find(|known| known.index == partition.partition).map(|known| known.leader)
    };
    let named = |is_meant: &dyn Fn(Option<i32>) -> bool| {
        let meant = partitions.iter().filter(|partition| is_meant(leader_of(partition)));
        meant.map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let missing = named(&|leader| leader.is_none());
    if !missing.is_empty() {
        return Err(CommandError::Message(format!("The partitions \"{missing}\" do not exist")));
    }
    let leaderless = named(&|leader| leader.is_some_and(|leader| leader < 0));
    if !leaderless.is_empty() {
        return Err(CommandError::Message(format!("The partitions \"{leaderless}\" have no leader")));
    }
    Ok(())
}

/// The offsets that a scenario means.
async fn prepare(
    cluster: &mut ClusterClient,
    group: &str,
    partitions: &BTreeSet<TopicPartition>,
    parser: &OptionParser,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<Offsets, CommandError> {
    let all_at =
        |timestamp: i64| partitions.iter().map(|partition| (partition.clone(), timestamp)).collect::<Offsets>();
    if let Some(offset) = options.number::<i64>("to-offset")? {
        return within_logs(cluster, all_at(offset)).await;
    }
    if options.has("to-earliest") {
        return offsets_at(cluster, &all_at(EARLIEST_TIMESTAMP)).await;
    }
    if options.has("to-latest") {
        return offsets_at(cluster, &all_at(LATEST_TIMESTAMP)).await;
    }
    if let Some(shift) = options.number::<i64>("shift-by")? {
        let committed = committed_offsets(cluster, group, None, false).await.map_err(runtime_exception)?;
        let mut shifted = Offsets::new();
        for partition in partitions {
            let current = committed.get(partition).ok_or_else(|| {
                parser.usage(format!(
                    "Cannot shift offset for partition {partition} since there is no current committed offset"
                ))
            })?;
            shifted.insert(partition.clone(), current.offset.wrapping_add(shift));
        }
        return within_logs(cluster, shifted).await;
    }
    if let Some(text) = options.value("to-datetime")? {
        let timestamp = parse_date_time(text)
            .map_err(|reason| CommandError::Message(format!("java.text.ParseException: {reason}")))?;
        return first_at(cluster, &all_at(timestamp), console).await;
    }
    if let Some(text) = options.value("by-duration")? {
        let nanos = parse_duration(text).map_err(CommandError::Message)?;
        let timestamp = before(console.env.clock.wall_millis(), nanos);
        return first_at(cluster, &all_at(timestamp), console).await;
    }
    if let Some(path) = options.value("from-file")? {
        return from_file(cluster, group, path, options, console).await;
    }
    if options.has("to-current") {
        return to_current(cluster, group, partitions).await;
    }
    Err(parser.usage(command_line::scenarios()))
}

async fn from_file(
    cluster: &mut ClusterClient,
    group: &str,
    path: &str,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<Offsets, CommandError> {
    let text = read_text(&*console.env.disk, Path::new(path))
        .map_err(|_| CommandError::Message(format!("java.io.IOException: Unable to read file {path}")))?;
    let groups = options.values("group");
    let only = if groups.len() == 1 { groups.first().copied() } else { None };
    let plan = csv::import(&text, only).map_err(CommandError::Message)?;
    match plan.get(group) {
        Some(offsets) => within_logs(cluster, offsets.clone()).await,
        None => {
            print_error(&format!("No reset plan for group {group} found."), console)?;
            Ok(Offsets::new())
        }
    }
}

/// What the group has committed; ends of logs where it has nothing.
async fn to_current(
    cluster: &mut ClusterClient,
    group: &str,
    partitions: &BTreeSet<TopicPartition>,
) -> Result<Offsets, CommandError> {
    let committed = committed_offsets(cluster, group, None, false).await.map_err(runtime_exception)?;
    let mut offsets = Offsets::new();
    let mut unknown = Offsets::new();
    for partition in partitions {
        match committed.get(partition) {
            Some(committed) => offsets.insert(partition.clone(), committed.offset),
            None => unknown.insert(partition.clone(), LATEST_TIMESTAMP),
        };
    }
    offsets.extend(offsets_at(cluster, &unknown).await?);
    Ok(offsets)
}

async fn offsets_at(cluster: &mut ClusterClient, wanted: &Offsets) -> Result<Offsets, CommandError> {
    let listed = list_offsets(cluster, wanted, IsolationLevel::ReadUncommitted).await.map_err(runtime_exception)?;
    listed.into_iter().map(|(partition, offset)| Ok((partition, offset.map_err(runtime_exception)?.offset))).collect()
}

/// The first records as late as a timestamp; ends of logs where there is none.
async fn first_at(
    cluster: &mut ClusterClient,
    wanted: &Offsets,
    console: &mut Console<'_>,
) -> Result<Offsets, CommandError> {
    let mut offsets = offsets_at(cluster, wanted).await?;
    let late: Offsets = offsets
        .iter()
        .filter(|(_, offset)| **offset == -1)
        .map(|(partition, _)| (partition.clone(), LATEST_TIMESTAMP))
        .collect();
    for partition in late.keys() {
        writeln!(
            console.out,
            "\nWarn: Partition {} from topic {} is empty. Falling back to latest known offset.",
            partition.partition, partition.topic
        )?;
    }
    offsets.extend(offsets_at(cluster, &late).await?);
    Ok(offsets)
}

/// Offsets outside of a log become its start or its end.
async fn within_logs(cluster: &mut ClusterClient, wanted: Offsets) -> Result<Offsets, CommandError> {
    let at = |timestamp: i64| wanted.keys().map(|partition| (partition.clone(), timestamp)).collect::<Offsets>();
    let starts = offsets_at(cluster, &at(EARLIEST_TIMESTAMP)).await?;
    let ends = offsets_at(cluster, &at(LATEST_TIMESTAMP)).await?;
    let mut offsets = Offsets::new();
    for (partition, offset) in wanted {
        let (start, end) = (starts.get(&partition).copied(), ends.get(&partition).copied());
        let (bound, kind) = match (start, end) {
            (_, Some(end)) if offset > end => (end, "higher than latest"),
            (Some(start), _) if offset < start => (start, "lower than earliest"),
            _ => {
                offsets.insert(partition, offset);
                continue;
            }
        };
        tracing::warn!(
            "New offset ({offset}) is {kind} offset for topic partition {partition}. Value will be set to {bound}."
        );
        offsets.insert(partition, bound);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_are_named() {
        let names = |argument| {
            parse_partitions(argument)
                .map(|partitions| partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names("t:0,2"), Ok("t-0 t-2".to_owned()));
        assert_eq!(names("t:0,").as_deref(), Ok("t-0"));
        let expected = "Invalid topic arg 't:', expected topic name and partitions";
        assert_eq!(names("t:").unwrap_err(), expected);
        assert_eq!(names("t:x").unwrap_err(), "Invalid partition 'x' specified in topic arg 't:x''");
        assert!(names("t:0:1").is_err());
    }
}
