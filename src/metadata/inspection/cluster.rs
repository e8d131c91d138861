//! What the image of another's metadata must not hold.

use super::super::controller::refused_feature;
use super::super::image::{ConfigResourceType, MetadataImage};
use crate::storage::{ClaimedDirectory, encode_uuid};

/// Names shown in a message, of many.
const NAMES_SHOWN: usize = 3;

/// The first ids are reserved: unassigned, lost and migrating replicas have no directory (`DirectoryId`).
const RESERVED_DIRECTORY_IDS: u128 = 100;

/// The error says what cannot be carried and what to do.
pub(super) fn check(image: &MetadataImage, node_id: i32) -> Result<(), String> {
    for (name, level) in image.features.finalized() {
        if let Some(reason) = refused_feature(name, *level) {
            return Err(format!("{reason}. Lower it with Apache Kafka (kafka-features.sh) before Ottla opens it"));
        }
    }
    check_carried(image)?;
    let others = image.cluster.brokers().keys().filter(|id| **id != node_id).map(ToString::to_string);
    if let Some(others) = listed(others) {
        return Err(format!(
            "the cluster has other brokers: {others}. Ottla runs alone: move their partitions here and unregister them \
             with Apache Kafka (kafka-reassign-partitions.sh, kafka-cluster.sh unregister)"
        ));
    }
    for topic in image.topics.by_name().values() {
        for (number, partition) in topic.partitions() {
            if partition.replicas.as_slice() != [node_id] {
                return Err(format!(
                    "the replicas of {}-{number} are {:?}, and this broker is {node_id}. Ottla runs alone: finish the \
                     reassignment or move the partition here with Apache Kafka (kafka-reassign-partitions.sh)",
                    topic.name, partition.replicas
                ));
            }
        }
    }
    let tiered = image.configs.resources().iter().filter(|(resource, values)| {
        resource.kind == ConfigResourceType::Topic
            && values.get("remote.storage.enable").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    });
    if let Some(topics) = listed(tiered.map(|(resource, _)| resource.name.to_string())) {
        return Err(format!(
            "topics have remote.storage.enable=true: {topics}. Part of their records is not in this directory; turn \
             tiered storage off with Apache Kafka first"
        ));
    }
    Ok(())
}

fn check_carried(image: &MetadataImage) -> Result<(), String> {
    let Some(((kind, _), _)) = image.carried.records().first_key_value() else { return Ok(()) };
    let same = image.carried.records().keys().filter(|(other, _)| other == kind);
    let (kind, names) = (kind.plural(), listed(same.map(|(_, name)| name.clone())).unwrap_or_default());
    Err(format!(
        "the metadata holds {kind}: {names}. Ottla does not enforce {kind} yet; remove them with Apache Kafka \
         (kafka-acls.sh, kafka-configs.sh, kafka-delegation-tokens.sh) if the cluster is meant to run without them"
    ))
}

/// Every partition must be in a directory that was given: it would begin anew and empty in another one.
pub(super) fn check_directories(
    image: &MetadataImage,
    node_id: i32,
    directories: &[ClaimedDirectory],
) -> Result<(), String> {
    for topic in image.topics.by_name().values() {
        for (number, partition) in topic.partitions() {
            let Some(id) = partition.directory(node_id) else { continue };
            let is_given = directories.iter().any(|directory| directory.id == Some(id));
            if id.as_u128() >= RESERVED_DIRECTORY_IDS && !is_given {
                return Err(format!(
                    "{}-{number} is in the log directory with the id {}, which is not among log.dirs. Set log.dirs as it \
                     was",
                    topic.name,
                    encode_uuid(id)
                ));
            }
        }
    }
    Ok(())
}

/// Some names of many; `None` when there are none.
pub(super) fn listed(names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let shown = names.get(..NAMES_SHOWN.min(names.len()))?.join(", ");
    match (names.is_empty(), more) {
        (true, _) => None,
        (_, 0) => Some(shown),
        _ => Some(format!("{shown} and {more} more")),
    }
}
