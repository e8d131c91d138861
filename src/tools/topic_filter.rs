//! Topics by a regular expression, as Kafka's tools take it (`TopicFilter.IncludeList`).

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use crate::tools::commands::CommandError;
use crate::types::is_internal_topic;

/// Memory for the automaton of a pattern, and for making it, bytes.
const MAX_AUTOMATON_BYTES: usize = 1 << 20;

/// A list of topics: names or patterns with commas between them. A name must match as a whole. What needs backtracking
/// (references back, looking around) is refused.
#[derive(Debug)]
pub struct TopicFilter {
    automaton: dense::DFA<Vec<u32>>,
}

impl TopicFilter {
    /// Reads a list.
    ///
    /// # Errors
    /// `[ is an invalid regex.`
    pub fn new(list: &str) -> Result<Self, CommandError> {
        let pattern = list.trim().replace(',', "|").replace(' ', "");
        // Property files may bring quotes.
        let pattern = pattern.trim_matches(['"', '\'']);
        let configuration = dense::Config::new()
            // The longest match, to see whether it is the whole name.
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(MAX_AUTOMATON_BYTES))
            .determinize_size_limit(Some(MAX_AUTOMATON_BYTES));
        dense::Builder::new()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_AUTOMATON_BYTES)))
            .configure(configuration)
            .build(pattern)
            .map(|automaton| Self { automaton })
            .map_err(|_| CommandError::Message(format!("{pattern} is an invalid regex.")))
    }

    /// Whether the topic is in the list, and not an internal one where these are left out.
    pub fn allows(&self, topic: &str, excludes_internal: bool) -> bool {
        let found = self.automaton.try_search_fwd(&Input::new(topic).anchored(Anchored::Yes));
        matches!(found, Ok(Some(end)) if end.offset() == topic.len())
            && !(excludes_internal && is_internal_topic(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_patterns() {
        let allows = |list: &str, topic| TopicFilter::new(list).expect("a pattern").allows(topic, true);
        assert!(allows("a,b", "b") && allows("a, b.*", "bcd") && allows("'orders'", "orders") && allows("a|ab", "ab"));
        assert!(!allows("orders", "orders-2") && !allows("__.*", "__consumer_offsets") && !allows("", "a"));
        assert!(TopicFilter::new("__.*").expect("a pattern").allows("__consumer_offsets", false));
        let error = TopicFilter::new("[").expect_err("no pattern");
        assert_eq!(error.to_string(), "[ is an invalid regex.");
    }
}
