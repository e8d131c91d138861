//! The name that was probably meant.

use super::known::broker_keys;
use super::table;

/// What to tell someone who gave the broker a configuration that neither Ottla nor Kafka has.
pub(super) fn hint(name: &str) -> Option<String> {
    if let Some(topic) = table::topic_config(name) {
        let synonym = topic.synonyms.first().map(|synonym| synonym.name)?;
        return Some(format!("it is a topic configuration; the broker's default for all topics is {synonym}"));
    }
    nearest(name).map(|name| format!("did you mean {name}?"))
}

/// The broker configuration whose name differs least, if it differs little.
fn nearest(name: &str) -> Option<&'static str> {
    let most = (name.len() / 4).clamp(1, 6);
    broker_keys()
        .iter()
        .map(|key| key.definition.name)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, left_char) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, right_char) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(left_char != right_char);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let is_swap = row > 0 && column > 0 && left[row - 1] == *right_char && right[column - 1] == *left_char;
            if is_swap {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_recognised() {
        let cases = [
            ("listners", "listeners"),
            ("num.partition", "num.partitions"),
            ("log.retention.mss", "log.retention.ms"),
            ("advertised.listener", "advertised.listeners"),
            ("auto.create.topic.enable", "auto.create.topics.enable"),
            ("num.netwrok.threads", "num.network.threads"),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name), Some(expected), "{name}");
        }
        assert_eq!(nearest("something.else.entirely"), None);
        assert_eq!(
            hint("retention.ms").expect("a hint"),
            "it is a topic configuration; the broker's default for all topics is log.retention.ms"
        );
    }

    #[test]
    fn distances_are_counted() {
        for (left, right, expected) in
            [("", "", 0), ("a", "", 1), ("abc", "abc", 0), ("abcd", "acbd", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected);
        }
    }
}
