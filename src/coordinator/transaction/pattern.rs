//! The regular expression of ListTransactions (KIP-1152).

use kafka_protocol::ResponseError;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

/// Memory for the automaton of a pattern, and for making it, bytes.
const MAX_AUTOMATON_BYTES: usize = 1 << 20;

/// A pattern that a whole transactional id must match. Classes such as `\d` and the flag for case are about ASCII, as in Java.
/// What needs backtracking (references back, looking around) is refused, and so is what would take more than 1 MiB.
pub struct Pattern(dense::DFA<Vec<u32>>);

impl Pattern {
    /// Errors: `InvalidRegularExpression`.
    pub fn new(pattern: &str) -> Result<Self, ResponseError> {
        let configuration = dense::Config::new()
            // The longest match, to see whether it is the whole text.
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(MAX_AUTOMATON_BYTES))
            .determinize_size_limit(Some(MAX_AUTOMATON_BYTES));
        let built = dense::Builder::new()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_AUTOMATON_BYTES)))
            .configure(configuration)
            .build(pattern);
        match built {
            Ok(automaton) => Ok(Self(automaton)),
            Err(error) => {
                tracing::info!(pattern, %error, "refused the pattern of a ListTransactions request");
                Err(ResponseError::InvalidRegularExpression)
            }
        }
    }

    /// Whether the whole text matches (`Matcher.matches`).
    pub fn matches(&self, text: &str) -> bool {
        let found = self.0.try_search_fwd(&Input::new(text).anchored(Anchored::Yes));
        matches!(found, Ok(Some(end)) if end.offset() == text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).expect("a pattern").matches(text)
    }

    #[test]
    fn the_whole_id_must_match() {
        assert!(matches("app-.*", "app-1"));
        assert!(!matches("app", "app-1"));
        assert!(matches("a|app-1", "app-1"), "the longest alternative counts");
        assert!(matches(r"app-\d+", "app-42"));
        assert!(!matches(r"app-\d+", "an app-42"));
        assert!(matches("(?i)APP", "app"));
        assert!(matches("größe-.", "größe-1"));
        assert!(matches("", ""));
        assert!(!matches("", "a"));
    }

    #[test]
    fn what_cannot_be_matched_in_one_pass_is_refused() {
        for pattern in ["(", "[a", r"(a)\1", "(?=a)a", "a{99999999}", "(a|b)*a(a|b){40}"] {
            assert!(matches!(Pattern::new(pattern), Err(ResponseError::InvalidRegularExpression)), "{pattern}");
        }
    }
}
