//! `kafka-storage version-mapping` and `feature-dependencies`: which levels of which features belong to a release of Kafka.
//!
//! The tables are those of Apache Kafka 4.3.0 (`MetadataVersion`, `Feature`), of features too that this broker does not have: what it
//! has, `kafka-features describe` tells.

use super::{CommandError, Console};
use crate::metadata::METADATA_VERSION;
use crate::tools::options::Namespace;

/// The level of the first of [`METADATA_VERSIONS`].
const FIRST_LEVEL: i16 = 7;

/// Releases and their steps, from `metadata.version` 7 on.
const METADATA_VERSIONS: [(&str, &str); 25] = [
    ("3.3", "IV3"),
    ("3.4", "IV0"),
    ("3.5", "IV0"),
    ("3.5", "IV1"),
    ("3.5", "IV2"),
    ("3.6", "IV0"),
    ("3.6", "IV1"),
    ("3.6", "IV2"),
    ("3.7", "IV0"),
    ("3.7", "IV1"),
    ("3.7", "IV2"),
    ("3.7", "IV3"),
    ("3.7", "IV4"),
    ("3.8", "IV0"),
    ("3.9", "IV0"),
    ("4.0", "IV0"),
    ("4.0", "IV1"),
    ("4.0", "IV2"),
    ("4.0", "IV3"),
    ("4.1", "IV0"),
    ("4.1", "IV1"),
    ("4.2", "IV0"),
    ("4.2", "IV1"),
    ("4.3", "IV0"),
    ("4.4", "IV0"),
];

/// The newest version that a cluster may have without `unstable.feature.versions.enable`.
pub(super) const LATEST_PRODUCTION: &str = "4.3-IV0";

struct Feature {
    name: &'static str,
    /// For each level from 0 on: the version of the metadata from which on new clusters have it, and the one that it needs.
    levels: &'static [(i16, Option<i16>)],
}

const FEATURES: [Feature; 6] = [
    Feature { name: "kraft.version", levels: &[(7, None), (21, None)] },
    Feature { name: "transaction.version", levels: &[(7, None), (24, None), (24, None)] },
    Feature { name: "group.version", levels: &[(7, None), (22, None)] },
    Feature { name: "eligible.leader.replicas.version", levels: &[(7, None), (26, Some(23))] },
    Feature { name: "share.version", levels: &[(7, None), (28, None)] },
    Feature { name: "streams.version", levels: &[(7, None), (29, None)] },
];

/// Levels and names of the versions, in their order.
fn versions() -> impl DoubleEndedIterator<Item = (i16, String)> {
    (FIRST_LEVEL..)
        .zip(METADATA_VERSIONS.map(|(release, step)| format!("{release}-{step}")))
        .collect::<Vec<_>>()
        .into_iter()
}

fn version_name(level: i16) -> Option<String> {
    versions().find(|(found, _)| *found == level).map(|(_, name)| name)
}

/// The level that a version (`4.0-IV1`) or a release (`4.0`, `4.0.1`) names.
fn level_of(version: &str) -> Option<i16> {
    // As Java splits: what is empty at the end does not count.
    let parts: Vec<&str> = version.trim_end_matches('.').split('.').collect();
    let key = if parts.len() > 2 { parts[..2].join(".") } else { version.to_owned() };
    let latest = level_named(LATEST_PRODUCTION)?;
    let of_release = |(level, name): &(i16, String)| {
        *level <= latest && name.split_once('-').is_some_and(|(release, _)| release == key)
    };
    level_named(&key).or_else(|| versions().rev().find(of_release).map(|(level, _)| level))
}

fn level_named(name: &str) -> Option<i16> {
    versions().find(|(_, found)| found == name).map(|(level, _)| level)
}

/// Prints the features of a release.
///
/// # Errors
/// A release that there is not, an output that is closed.
pub(super) fn version_mapping(namespace: &Namespace, console: &mut Console<'_>) -> Result<(), CommandError> {
    let release = namespace.value("release-version").unwrap_or(LATEST_PRODUCTION);
    let Some(metadata) = level_of(release) else {
        let known: Vec<String> = versions().map(|(_, name)| name).collect();
        return Err(CommandError::Message(format!(
            "Unknown {METADATA_VERSION} '{release}'. Supported {METADATA_VERSION} are: {}",
            known.join(", ")
        )));
    };
    writeln!(console.out, "{METADATA_VERSION}={metadata} ({release})")?;
    for Feature { name, levels } in &FEATURES {
        let level = levels.iter().take_while(|(since, _)| *since <= metadata).count().saturating_sub(1);
        writeln!(console.out, "{name}={level}")?;
    }
    Ok(())
}

/// Prints what the levels of features need.
///
/// # Errors
/// A feature or a level that there is not, an output that is closed.
pub(super) fn feature_dependencies(namespace: &Namespace, console: &mut Console<'_>) -> Result<(), CommandError> {
    let refuse = |text: String| Err(CommandError::Message(text));
    for text in namespace.values("feature") {
        let Some((name, version)) = text.split_once('=').map(|(name, version)| (name.trim(), version.trim())) else {
            return refuse(format!(
                "Invalid feature format: {text}. Expected format: 'feature=version' (e.g. 'group.version=1')"
            ));
        };
        let Ok(level) = version.parse::<i16>() else {
            return refuse(format!("Invalid version format: {version} for feature {name}"));
        };
        if name == METADATA_VERSION {
            match version_name(level) {
                Some(version) => writeln!(console.out, "{name}={level} ({version}) has no dependencies.")?,
                None => return refuse(format!("Unknown {METADATA_VERSION} {level}")),
            }
            continue;
        }
        let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
            return refuse(format!("Unknown feature: {name}"));
        };
        match usize::try_from(level).ok().and_then(|level| feature.levels.get(level)) {
            None => return refuse(format!("Feature level {level} is not supported for feature {name}")),
            Some((_, None)) => writeln!(console.out, "{name}={level} has no dependencies.")?,
            Some((_, Some(needed))) => {
                let version = version_name(*needed).unwrap_or_default();
                writeln!(console.out, "{name}={level} requires:\n    {METADATA_VERSION}={needed} ({version})")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_levels() {
        // Each line asked of StorageTool 4.3.0.
        for (version, level) in [
            ("3.3", Some(7)),
            ("3.3.1", Some(7)),
            ("3.5", Some(11)),
            ("3.5-IV0", Some(9)),
            ("3.7.1", Some(19)),
            ("4.0", Some(25)),
            ("4.0-IV1", Some(23)),
            ("4.3.0", Some(30)),
            ("4.4-IV0", Some(31)),
            ("4.4", None),
            ("3.2", None),
            ("nope", None),
        ] {
            assert_eq!(level_of(version), level, "{version}");
        }
    }
}
