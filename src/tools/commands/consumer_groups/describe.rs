//! `--describe`: offsets and lag, members, or states of groups.

use std::collections::{BTreeMap, BTreeSet};

use super::table::{pad, row, width};
use super::{execution_exception, groups_of, print_error, runtime_exception};
use crate::client::{
    ClusterClient, GroupDescription, GroupError, IsolationLevel, LATEST_TIMESTAMP, MemberDescription, PartitionOffset,
    committed_offsets, describe_consumer_group, list_offsets,
};
use crate::tools::commands::java_error::describe_topics;
use crate::tools::commands::{CommandError, Console};
use crate::tools::options::Options;
use crate::types::TopicPartition;

const MISSING: &str = "-";

/// Describes groups, by name.
///
/// # Errors
/// A group that is not there, or not one of consumers; the client's.
pub async fn describe(
    cluster: &mut ClusterClient,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let groups: BTreeSet<String> = groups_of(cluster, options).await?.into_iter().collect();
    let mut described = BTreeMap::new();
    for group in groups {
        let description = describe_consumer_group(cluster, &group).await.map_err(|error| match error {
            GroupError::Client(error) => execution_exception(error),
            error @ GroupError::NotConsumers { .. } => {
                CommandError::Message(format!("java.lang.IllegalArgumentException: {error}"))
            }
        })?;
        described.insert(group, description);
    }
    let is_verbose = options.has("verbose");
    if options.has("members") {
        for (group, description) in &described {
            print_members(group, description, is_verbose, console)?;
        }
    } else if options.has("state") {
        for (group, description) in &described {
            print_state(group, description, is_verbose, console)?;
        }
    } else {
        let mut tables = Vec::new();
        for (group, description) in described {
            let rows = offset_rows(cluster, &group, &description).await?;
            tables.push((group, description, rows));
        }
        for (group, description, rows) in &tables {
            print_offsets(group, description, rows, is_verbose, console)?;
        }
    }
    Ok(())
}

/// Tells a state that is worth telling; whether there is a table to be printed.
fn print_group_state(group: &str, state: &str, rows: usize, console: &mut Console<'_>) -> Result<bool, CommandError> {
    match state {
        "Dead" => print_error(&format!("Consumer group '{group}' does not exist."), console)?,
        "Empty" => writeln!(console.err, "\nConsumer group '{group}' has no active members.")?,
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            writeln!(console.err, "\nWarning: Consumer group '{group}' is rebalancing.")?;
        }
        "Stable" => {}
        state => {
            let text = format!("Expected a valid consumer group state, but found '{state}'.");
            return Err(CommandError::Message(text));
        }
    }
    Ok(state != "Dead" && rows > 0)
}

/// A partition of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OffsetRow {
    partition: TopicPartition,
    committed: Option<PartitionOffset>,
    end: Option<i64>,
    consumer: Option<(String, String, String)>,
}

/// The partitions of each member, of who has most first; then those that nobody has.
async fn offset_rows(
    cluster: &mut ClusterClient,
    group: &str,
    description: &GroupDescription,
) -> Result<Vec<OffsetRow>, CommandError> {
    let committed = committed_offsets(cluster, group, None, false).await.map_err(runtime_exception)?;
    let mut members: Vec<&MemberDescription> =
        description.members.iter().filter(|member| !member.assignment.is_empty()).collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let assigned: BTreeSet<&TopicPartition> = members.iter().flat_map(|member| &member.assignment).collect();
    let ends = log_ends(cluster, assigned.iter().copied().chain(committed.keys())).await?;
    let row = |partition: &TopicPartition, consumer: Option<(String, String, String)>| OffsetRow {
        partition: partition.clone(),
        committed: committed.get(partition).copied(),
        end: ends.get(partition).copied(),
        consumer,
    };
    let mut rows = Vec::new();
    for member in members {
        let who = (member.consumer_id.clone(), member.host.clone(), member.client_id.clone());
        rows.extend(member.assignment.iter().map(|partition| row(partition, Some(who.clone()))));
    }
    rows.extend(
        committed.keys().filter(|partition| !assigned.contains(partition)).map(|partition| row(partition, None)),
    );
    Ok(rows)
}

/// The ends of the logs that have leaders.
async fn log_ends(
    cluster: &mut ClusterClient,
    partitions: impl Iterator<Item = &TopicPartition>,
) -> Result<BTreeMap<TopicPartition, i64>, CommandError> {
    let partitions: BTreeSet<&TopicPartition> = partitions.collect();
    let topics: BTreeSet<String> = partitions.iter().map(|partition| partition.topic.to_string()).collect();
    let topics = describe_topics(cluster, &topics).await.map_err(runtime_exception)?;
    let is_leaderless = |partition: &TopicPartition| {
        let topic = topics.iter().find(|topic| topic.name == *partition.topic);
        let known = topic.and_then(|topic| topic.partitions.iter().find(|known| known.index == partition.partition));
        known.is_some_and(|known| known.leader < 0)
    };
    let wanted: BTreeMap<TopicPartition, i64> = partitions
        .into_iter()
        .filter(|partition| !is_leaderless(partition))
        .map(|partition| (partition.clone(), LATEST_TIMESTAMP))
        .collect();
    let listed = list_offsets(cluster, &wanted, IsolationLevel::ReadUncommitted).await.map_err(runtime_exception)?;
    listed.into_iter().map(|(partition, end)| Ok((partition, end.map_err(runtime_exception)?.offset))).collect()
}

fn print_offsets(
    group: &str,
    description: &GroupDescription,
    rows: &[OffsetRow],
    is_verbose: bool,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    if !print_group_state(group, &description.state, rows.len(), console)? {
        return Ok(());
    }
    let consumer = |row: &OffsetRow| match &row.consumer {
        Some((id, host, client)) => [id.clone(), host.clone(), client.clone()],
        None => [MISSING; 3].map(str::to_owned),
    };
    let number = |number: Option<i64>| number.map_or(MISSING.to_owned(), |number| number.to_string());
    let header = [
        "GROUP",
        "TOPIC",
        "PARTITION",
        "LEADER-EPOCH",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ];
    let mut table = vec![header.map(str::to_owned)];
    for offsets in rows {
        let committed = offsets.committed.as_ref();
        let offset = committed.map(|committed| committed.offset);
        let lag = offset.filter(|offset| *offset != -1).zip(offsets.end).map(|(offset, end)| end - offset);
        let [id, host, client] = consumer(offsets);
        table.push([
            group.to_owned(),
            offsets.partition.topic.to_string(),
            offsets.partition.partition.to_string(),
            number(committed.and_then(|committed| committed.leader_epoch).map(i64::from)),
            number(offset),
            number(offsets.end),
            number(lag),
            id,
            host,
            client,
        ]);
    }
    let widest = |column: usize| width(15, table.iter().map(|cells| cells[column].as_str()));
    let widths = [widest(0), widest(1), 10, 15, 15, 15, 15, widest(7), widest(8), 0];
    for cells in &table {
        let columns: Vec<(&str, usize)> = cells
            .iter()
            .map(String::as_str)
            .zip(widths)
            .enumerate()
            .filter(|(column, _)| is_verbose || *column != 3)
            .map(|(_, cell)| cell)
            .collect();
        write!(console.out, "\n{}", row(&columns))?;
    }
    Ok(writeln!(console.out)?)
}

/// Partitions by topic: `t:0,1;u:0`.
fn assignment_text(assignment: &BTreeSet<TopicPartition>) -> String {
    let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for partition in assignment {
        topics.entry(&partition.topic).or_default().push(partition.partition.to_string());
    }
    if topics.is_empty() {
        return MISSING.to_owned();
    }
    let mut texts: Vec<String> =
        topics.iter().map(|(topic, partitions)| format!("{topic}:{}", partitions.join(","))).collect();
    texts.sort();
    texts.join(";")
}

fn print_members(
    group: &str,
    description: &GroupDescription,
    is_verbose: bool,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let members = &description.members;
    // Kafka prints the names of the columns whatever the state is.
    print_group_state(group, &description.state, members.len(), console)?;
    let with_instance = members.iter().any(|member| member.group_instance_id.as_ref().is_some_and(|id| !id.is_empty()));
    let upgraded = |kind: bool| members.iter().any(|member| member.upgraded == Some(kind));
    let with_upgraded = upgraded(true) && upgraded(false);
    let epoch = |epoch: Option<i32>| epoch.map_or(MISSING.to_owned(), |epoch| epoch.to_string());
    let mut table = vec![
        [
            "GROUP",
            "CONSUMER-ID",
            "GROUP-INSTANCE-ID",
            "HOST",
            "CLIENT-ID",
            "#PARTITIONS",
            "CURRENT-EPOCH",
            "CURRENT-ASSIGNMENT",
            "TARGET-EPOCH",
            "TARGET-ASSIGNMENT",
            "UPGRADED",
        ]
        .map(str::to_owned),
    ];
    for member in members {
        table.push([
            group.to_owned(),
            member.consumer_id.clone(),
            member.group_instance_id.clone().unwrap_or_default(),
            member.host.clone(),
            member.client_id.clone(),
            member.assignment.len().to_string(),
            epoch(member.member_epoch),
            assignment_text(&member.assignment),
            epoch(description.target_assignment_epoch),
            assignment_text(&member.target_assignment),
            member.upgraded.map_or(MISSING.to_owned(), |upgraded| upgraded.to_string()),
        ]);
    }
    // Widths come from the members alone, as in Kafka.
    let widest = |least: usize, column: usize| width(least, table[1..].iter().map(|cells| cells[column].as_str()));
    let widths = [
        widest(15, 0),
        widest(15, 1),
        widest(17, 2),
        widest(15, 3),
        widest(15, 4),
        15,
        15,
        widest(20, 7),
        15,
        widest(20, 9),
    ];
    writeln!(console.out)?;
    for cells in &table {
        let mut line = String::new();
        for column in (0..6).filter(|column| with_instance || *column != 2) {
            line.push_str(&pad(&cells[column], widths[column]));
            line.push(' ');
        }
        if is_verbose {
            let more: Vec<String> = (6..10).map(|column| pad(&cells[column], widths[column])).collect();
            line.push_str(&more.join(" "));
            if with_upgraded {
                line.push(' ');
                line.push_str(&cells[10]);
            }
        }
        writeln!(console.out, "{line}")?;
    }
    Ok(())
}

fn print_state(
    group: &str,
    description: &GroupDescription,
    is_verbose: bool,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    if !print_group_state(group, &description.state, 1, console)? {
        return Ok(());
    }
    let node = &description.coordinator;
    let coordinator = format!("{}:{}  ({})", node.host, node.port, node.id);
    let assignor = if description.assignor.is_empty() { MISSING } else { &description.assignor };
    let members = description.members.len().to_string();
    let epoch = |epoch: Option<i32>| epoch.map_or(MISSING.to_owned(), |epoch| epoch.to_string());
    let (group_epoch, target_epoch) = (epoch(description.group_epoch), epoch(description.target_assignment_epoch));
    let (group_width, coordinator_width) =
        (width(15, [group].into_iter()), width(25, [coordinator.as_str()].into_iter()));
    let header = [
        "GROUP",
        "COORDINATOR (ID)",
        "ASSIGNMENT-STRATEGY",
        "STATE",
        "GROUP-EPOCH",
        "TARGET-ASSIGNMENT-EPOCH",
        "#MEMBERS",
    ];
    let values = [group, &coordinator, assignor, &description.state, &group_epoch, &target_epoch, &members];
    let widths = [group_width, coordinator_width, 20, 20, 15, 25, 0];
    for cells in [header, values] {
        let columns: Vec<(&str, usize)> = cells
            .into_iter()
            .zip(widths)
            .enumerate()
            .filter(|(column, _)| is_verbose || !matches!(column, 4 | 5))
            .map(|(_, cell)| cell)
            .collect();
        write!(console.out, "\n{}", row(&columns))?;
    }
    Ok(writeln!(console.out)?)
}
