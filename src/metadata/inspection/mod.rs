//! Looking at a data directory before anything in it is changed: what Apache Kafka left there and this release cannot
//! carry is refused by name, and metadata that is damaged is not taken for a new cluster.
//!
//! What is refused and why:
//! - *Metadata that is damaged where it was known to be on the disk*, or missing while there are partitions. A torn end of
//!   what nobody was told of is cut by recovery instead.
//! - *Other nodes*: several voters, other brokers, replicas elsewhere. Their data is not here.
//! - *Feature levels* beyond those of Apache Kafka 4.3: nobody knows what they let a log hold.
//! - *ACLs, SCRAM credentials, delegation tokens, client quotas*: kept by every snapshot ([`CarriedImage`]), but a broker
//!   that does not enforce them is not the broker that was configured.
//! - *Groups of other kinds than classic ones*: a classic member could join under their name, and Kafka does not load a
//!   group that is two things.
//! - *Transactions in a state that Apache Kafka 4.3 does not know*: their coordinator could not load.
//!
//! What is carried without being understood: `__share_group_state` (nothing here writes to it; Kafka finds it as it was),
//! configurations of any name, controllers' registrations, the quorum's version and voters. Transactions go on where Kafka
//! left them: open ones are ended by their producer or their time-out, prepared ones get the markers that they lack.
//!
//! [`CarriedImage`]: super::CarriedImage

mod cluster;
mod file_log;
mod internal_topics;
mod torn_end;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bootstrap;
use super::delta::MetadataDelta;
use super::error::MetadataError;
use super::image::{MetadataImage, Provenance};
use super::kraft::KRaftState;
use super::load::load;
use super::quorum_state;
use crate::env::Disk;
use crate::storage::{ClaimedDirectory, DirectoryRefusal, partitions_of, was_closed_cleanly};
use crate::types::CLUSTER_METADATA_TOPIC_NAME;
use file_log::FileMetadataLog;

/// A feature that every broker of Apache Kafka says it supports, and ours does not.
const KAFKAS_OWN_FEATURE: &str = "kraft.version";

/// What was found, besides no reason to refuse it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Apache Kafka was the last to run here.
    pub was_kafkas: bool,
}

/// Looks at the directories; reads only. `first`: the first of `log.dirs`, where the metadata log is.
pub fn inspect(
    disk: &dyn Disk,
    first: &Path,
    directories: &[ClaimedDirectory],
    node_id: i32,
) -> Result<Inspected, DirectoryRefusal> {
    if directories.is_empty() {
        return Ok(Inspected::default());
    }
    let metadata_directory = first.join(format!("{CLUSTER_METADATA_TOPIC_NAME}-0"));
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| DirectoryRefusal { path, message: format!("cannot be read: {error}") }
    };
    let clean = was_closed_cleanly(disk, first).map_err(unreadable(first))?;
    let log = FileMetadataLog::open(disk, &metadata_directory, clean).map_err(damaged)?;
    let loaded = load(disk, &metadata_directory, &log).map_err(damaged)?;
    let (mut image, kraft) = (loaded.image, loaded.kraft);
    if image.features.finalized().is_empty() {
        refuse_lost_metadata(disk, directories, &metadata_directory, clean)?;
        image = formatted(disk, first)?;
    }
    check_quorum(disk, &metadata_directory, &kraft, node_id)?;
    let refused = |message: String| DirectoryRefusal { path: first.to_owned(), message };
    cluster::check(&image, node_id).map_err(refused)?;
    let was_kafkas = image
        .cluster
        .broker(node_id)
        .is_some_and(|broker| broker.features.iter().any(|feature| feature.name == KAFKAS_OWN_FEATURE));
    if was_kafkas {
        // Ottla writes none of it, so it is looked for once, when Kafka was here.
        cluster::check_directories(&image, node_id, directories).map_err(refused)?;
        internal_topics::check(disk, directories)?;
    }
    Ok(Inspected { was_kafkas })
}

fn damaged(error: MetadataError) -> DirectoryRefusal {
    let path = match &error {
        MetadataError::Corrupt { path, .. } | MetadataError::Disk { path, .. } => path.clone(),
        _ => PathBuf::new(),
    };
    let reason = match error {
        MetadataError::Corrupt { position, reason, .. } => format!("the metadata is corrupt at {position}: {reason}"),
        MetadataError::Disk { what, source, .. } => format!("the metadata cannot be read ({what}: {source})"),
        other => other.to_string(),
    };
    let message = format!("{reason}. Nothing was changed; restore the file from a copy");
    DirectoryRefusal { path, message }
}

/// A log without metadata is a new cluster's, unless there is what only an old one has.
fn refuse_lost_metadata(
    disk: &dyn Disk,
    directories: &[ClaimedDirectory],
    metadata_directory: &Path,
    clean: bool,
) -> Result<(), DirectoryRefusal> {
    let lost = |what: String| DirectoryRefusal {
        path: metadata_directory.to_owned(),
        message: format!(
            "there is no metadata, but {what}. The metadata log must be in the first of log.dirs: set log.dirs as it was \
             (a metadata.log.dir elsewhere is not supported) or restore {CLUSTER_METADATA_TOPIC_NAME}-0 from a copy"
        ),
    };
    for directory in directories {
        let partitions = partitions_of(disk, &directory.path).map_err(|error| DirectoryRefusal {
            path: directory.path.clone(),
            message: format!("cannot be listed: {error}"),
        })?;
        let mut others = partitions.iter().filter(|(name, _)| &*name.topic != CLUSTER_METADATA_TOPIC_NAME);
        if let Some((name, _)) = others.next() {
            return Err(lost(format!("{} holds the partition {name}", directory.path.display())));
        }
    }
    // Nobody ends in order before the first metadata is written.
    if clean { Err(lost("the directory was in use and closed in order".to_owned())) } else { Ok(()) }
}

/// What a directory that was formatted and never started will begin with.
fn formatted(disk: &dyn Disk, log_directory: &Path) -> Result<MetadataImage, DirectoryRefusal> {
    let records = match bootstrap::read(disk, log_directory) {
        Ok(records) => records.unwrap_or_default(),
        // Written anew by the start: there is nothing in the cluster yet.
        Err(MetadataError::Corrupt { .. }) => Vec::new(),
        Err(error) => return Err(damaged(error)),
    };
    let mut delta = MetadataDelta::new(Arc::default());
    for record in &records {
        delta.replay(record).map_err(|reason| DirectoryRefusal {
            path: log_directory.join(bootstrap::BOOTSTRAP_CHECKPOINT),
            message: format!("holds what no new cluster can begin with: {reason}"),
        })?;
    }
    Ok(delta.apply(Provenance::default()))
}

/// One voter: this node.
fn check_quorum(disk: &dyn Disk, directory: &Path, kraft: &KRaftState, node_id: i32) -> Result<(), DirectoryRefusal> {
    let refused = |message: String| Err(DirectoryRefusal { path: directory.to_owned(), message });
    if !(0..=1).contains(&kraft.version()) {
        return refused(format!(
            "kraft.version is {}; levels up to 1 are known. Open it with the release that wrote it",
            kraft.version()
        ));
    }
    let alone = "Ottla is a quorum of its own: remove the other voters with Apache Kafka \
                 (kafka-metadata-quorum.sh remove-controller) or choose another data directory";
    let fixed = quorum_state::read(disk, directory).ok().flatten().and_then(|state| state.voters).unwrap_or_default();
    let others: Vec<String> = fixed.iter().filter(|id| **id != node_id).map(ToString::to_string).collect();
    if !others.is_empty() {
        return refused(format!("the metadata quorum has the voters {} too. {alone}", others.join(", ")));
    }
    match kraft.voters() {
        Ok(None) => Ok(()),
        Ok(Some((1, voter))) if voter.id == node_id => Ok(()),
        Ok(Some((voters, voter))) => {
            refused(format!("the metadata quorum has {voters} voter(s), the first of them node {}. {alone}", voter.id))
        }
        Err(reason) => refused(reason),
    }
}

#[cfg(test)]
mod inspection_tests;
