//! `--list`: groups by name, with types and states if asked.

use std::collections::BTreeSet;

use super::execution_exception;
use super::runtime_exception;
use super::table::{pad, width};
use crate::client::{ClusterClient, GroupType, list_consumer_groups};
use crate::tools::commands::{CommandError, Console};
use crate::tools::options::{OptionParser, Options};

/// The states that groups of consumers have (`GroupState`).
const STATES: [&str; 7] =
    ["PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty", "Assigning", "Reconciling"];

/// The types that groups have (`GroupType`).
const TYPES: [&str; 4] = ["Classic", "Consumer", "Share", "Streams"];

/// Lists groups.
///
/// # Errors
/// States and types that groups of consumers do not have; the client's.
pub async fn list(
    cluster: &mut ClusterClient,
    parser: &OptionParser,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let (with_type, with_state) = (options.has("type"), options.has("state"));
    if !with_type && !with_state {
        for group in list_consumer_groups(cluster, &[], &[]).await.map_err(runtime_exception)? {
            writeln!(console.out, "{}", group.group_id)?;
        }
        return Ok(());
    }
    let types = match options.value("type")? {
        None | Some("") => Vec::new(),
        Some(text) => types_of(text).map_err(|message| parser.usage(message))?,
    };
    let states = match options.value("state")? {
        None | Some("") => Vec::new(),
        Some(text) => states_of(text).map_err(|message| parser.usage(message))?,
    };
    let groups = list_consumer_groups(cluster, &types, &states).await.map_err(execution_exception)?;
    let group_width = width(15, groups.iter().map(|group| group.group_id.as_str())) + 10;
    let mut print = |group: &str, kind: &str, state: &str| {
        let mut line = pad(group, group_width);
        for (_, text) in [(with_type, kind), (with_state, state)].iter().filter(|(is_wanted, _)| *is_wanted) {
            line.push(' ');
            line.push_str(&pad(text, 20));
        }
        writeln!(console.out, "{line}")
    };
    print("GROUP", "TYPE", "STATE")?;
    for group in &groups {
        print(&group.group_id, known(&group.group_type, &TYPES), known(&group.state, &STATES))?;
    }
    Ok(())
}

/// A word as Kafka writes it, whatever letters the broker uses.
fn known(word: &str, words: &[&'static str]) -> &'static str {
    words.iter().find(|known| known.eq_ignore_ascii_case(word)).copied().unwrap_or("Unknown")
}

fn types_of(text: &str) -> Result<Vec<GroupType>, String> {
    let one = |name: &str| match name.trim().to_lowercase().as_str() {
        "classic" => Some(GroupType::Classic),
        "consumer" => Some(GroupType::Consumer),
        _ => None,
    };
    let types: Option<Vec<GroupType>> = text.trim_end_matches(',').split(',').map(one).collect();
    types.ok_or_else(|| format!("Invalid types list '{text}'. Valid types are: Classic, Consumer"))
}

fn states_of(text: &str) -> Result<Vec<String>, String> {
    let one = |name: &str| {
        STATES.iter().find(|state| state.eq_ignore_ascii_case(name.trim())).map(|state| (*state).to_owned())
    };
    let states: Option<BTreeSet<String>> = text.trim_end_matches(',').split(',').map(one).collect();
    let states =
        states.ok_or_else(|| format!("Invalid state list '{text}'. Valid states are: {}", STATES.join(", ")))?;
    Ok(states.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_types_are_known_in_any_letters() {
        assert_eq!(states_of("stable, EMPTY").expect("states"), ["Empty", "Stable"]);
        assert_eq!(types_of("Classic,consumer").expect("types"), [GroupType::Classic, GroupType::Consumer]);
        let error = states_of("stable,x").expect_err("refused");
        assert!(error.starts_with("Invalid state list 'stable,x'. Valid states are: PreparingRebalance"), "{error}");
        assert!(types_of("share").is_err());
    }
}
