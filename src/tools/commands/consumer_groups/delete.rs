//! `--delete` and `--delete-offsets`.

use std::collections::{BTreeMap, BTreeSet};

use super::reset::parse_partitions;
use super::table::{row, width};
use super::{execution_exception, groups_of, print_error};
use crate::client::{ClientError, ClusterClient, delete_group, delete_group_offsets, kafka_error};
use crate::tools::commands::java_error::java_error;
use crate::tools::commands::{CommandError, Console};
use crate::tools::options::{OptionParser, Options};
use crate::types::TopicPartition;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_GROUP_ID: i16 = 24;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const GROUP_AUTHORIZATION_FAILED: i16 = 30;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;

fn quoted<'a>(groups: impl Iterator<Item = &'a String>) -> String {
    groups.map(|group| format!("'{group}'")).collect::<Vec<_>>().join(", ")
}

/// Deletes groups.
///
/// # Errors
/// The client's; a group that cannot be deleted is told and is none.
pub async fn delete_groups(
    cluster: &mut ClusterClient,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let groups: BTreeSet<String> = groups_of(cluster, options).await?.into_iter().collect();
    let mut deleted = BTreeSet::new();
    let mut failed = BTreeMap::new();
    for group in groups {
        match delete_group(cluster, &group).await {
            Ok(()) => {
                deleted.insert(group);
            }
            Err(error) => {
                failed.insert(group, error);
            }
        }
    }
    if failed.is_empty() {
        let groups = quoted(deleted.iter());
        writeln!(console.out, "Deletion of requested consumer groups ({groups}) was successful.")?;
        return Ok(());
    }
    print_error("Deletion of some consumer groups failed:", console)?;
    for (group, error) in &failed {
        writeln!(console.out, "* Group '{group}' could not be deleted due to: {}", java_error(error))?;
    }
    if !deleted.is_empty() {
        let groups = quoted(deleted.iter());
        writeln!(console.out, "\nThese consumer groups were deleted successfully: {groups}")?;
    }
    Ok(())
}

/// Deletes offsets of a group.
///
/// # Errors
/// Topics that are not written right, the client's; what cannot be deleted is told and is none.
pub async fn delete_offsets(
    cluster: &mut ClusterClient,
    parser: &OptionParser,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let group = options.value("group")?.unwrap_or_default().to_owned();
    let mut partitions = BTreeSet::new();
    let mut errors: BTreeMap<TopicPartition, Option<ClientError>> = BTreeMap::new();
    let (with_partitions, without): (Vec<&str>, Vec<&str>) =
        options.values("topic").into_iter().partition(|topic| topic.contains(':'));
    for topic in with_partitions {
        partitions.extend(parse_partitions(topic).map_err(|message| parser.usage(message))?);
    }
    let names: Vec<&str> = without.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    if !names.is_empty() {
        let metadata = cluster.metadata(Some(&names), false).await.map_err(execution_exception)?;
        for topic in &metadata.topics {
            match ClientError::answer(topic.error_code, None) {
                Ok(()) => partitions
                    .extend(topic.partitions.iter().map(|known| TopicPartition::new(topic.name.as_str(), known.index))),
                Err(error) => {
                    errors.insert(TopicPartition::new(topic.name.as_str(), -1), Some(error));
                }
            }
        }
    }
    let top = match delete_group_offsets(cluster, &group, &partitions).await {
        Err(error) => {
            let code = error.code().unwrap_or(-1);
            let again = || ClientError::Answer { code, message: Some(error.to_string()) };
            errors.extend(partitions.iter().map(|partition| (partition.clone(), Some(again()))));
            code
        }
        Ok(codes) => {
            let first = codes.values().copied().find(|code| *code != 0).unwrap_or(0);
            let error = |code: i16| ClientError::answer(code, None).err();
            errors.extend(codes.into_iter().map(|(partition, code)| (partition, error(code))));
            first
        }
    };
    print_top(&group, top, console)?;
    print_partitions(&errors, console)
}

fn print_top(group: &str, code: i16, console: &mut Console<'_>) -> Result<(), CommandError> {
    match code {
        0 => Ok(writeln!(console.out, "Request succeeded for deleting offsets from group {group}.")?),
        INVALID_GROUP_ID | GROUP_ID_NOT_FOUND | GROUP_AUTHORIZATION_FAILED | NON_EMPTY_GROUP => {
            print_error(kafka_error(code).message, console)
        }
        GROUP_SUBSCRIBED_TO_TOPIC | TOPIC_AUTHORIZATION_FAILED | UNKNOWN_TOPIC_OR_PARTITION => {
            print_error("Encountered some partition-level error, see the follow-up details.", console)
        }
        code => print_error(&format!("Encountered some unknown error: {}", kafka_error(code).name), console),
    }
}

fn print_partitions(
    errors: &BTreeMap<TopicPartition, Option<ClientError>>,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let topic_width = width(15, errors.keys().map(|partition| &*partition.topic));
    let line = |topic: &str, partition: &str, status: &str| {
        row(&[(topic, topic_width), (partition, 10), (&super::table::pad(status, 15), 0)])
    };
    write!(console.out, "\n{}", line("TOPIC", "PARTITION", "STATUS"))?;
    let mut sorted: Vec<(&TopicPartition, &Option<ClientError>)> = errors.iter().collect();
    sorted.sort_by_key(|(partition, _)| format!("{}{}", partition.topic, partition.partition));
    for (partition, error) in sorted {
        let number = if partition.partition >= 0 { partition.partition.to_string() } else { "-".to_owned() };
        let status = match error {
            Some(error) => format!("Error: {}", java_error(error)),
            None => "Successful".to_owned(),
        };
        write!(console.out, "\n{}", line(&partition.topic, &number, &status))?;
    }
    Ok(writeln!(console.out)?)
}
