//! Regular expressions as Java's tools take them, in time linear in the text.
//!
//! What needs backtracking (references back, looking around, possessive quantifiers) is refused with a message. Classes such as
//! `\d` and the flag for case are about ASCII, as in Java.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

/// Memory for the automaton of a pattern, and for making it, bytes.
const AUTOMATON_BYTES_MAX: usize = 10 << 20;

/// A compiled pattern.
pub struct JavaPattern {
    pattern: String,
    /// Finds the longest match at a place, to see whether it is the whole text.
    automaton: dense::DFA<Vec<u32>>,
    /// Finds the match that Java prefers at a place.
    leftmost: dense::DFA<Vec<u32>>,
}

impl std::fmt::Debug for JavaPattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("JavaPattern").field(&self.pattern).finish()
    }
}

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    reason: String,
}

impl PatternError {
    /// What RE2 says of the same mistake, where it is a usual one.
    pub fn in_words_of_re2(&self) -> &str {
        let words = [
            ("unclosed group", "missing closing )"),
            ("unopened group", "regexp/syntax: internal error"),
            ("unclosed character class", "missing closing ]"),
            ("repetition operator missing expression", "missing argument to repetition operator"),
            ("incomplete escape sequence", "trailing backslash at end of expression"),
            ("unrecognized escape sequence", "invalid escape sequence"),
            ("invalid character class range", "invalid character class range"),
            ("invalid repetition count range", "invalid repeat count"),
            ("look-around", "invalid or unsupported Perl syntax"),
            ("backreferences are not supported", "invalid escape sequence"),
        ];
        words.iter().find(|(ours, _)| self.reason.contains(ours)).map_or(&self.reason, |(_, theirs)| theirs)
    }
}

impl JavaPattern {
    /// Errors: what is not a regular expression, what needs backtracking, and what would take more than 10 MiB.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self {
            pattern: pattern.to_owned(),
            automaton: automaton(pattern, MatchKind::All)?,
            leftmost: automaton(pattern, MatchKind::LeftmostFirst)?,
        })
    }

    /// Whether the whole text matches (`Matcher.matches`).
    pub fn matches(&self, text: &str) -> bool {
        let found = self.automaton.try_search_fwd(&Input::new(text).anchored(Anchored::Yes));
        matches!(found, Ok(Some(end)) if end.offset() == text.len())
    }

    /// The pieces between matches, without empty ones at the end (`Pattern.split`); what matches no character separates nothing.
    pub fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut pieces = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let input = Input::new(text).range(at..).anchored(Anchored::Yes);
            match self.leftmost.try_search_fwd(&input) {
                Ok(Some(end)) if end.offset() > at && text.is_char_boundary(end.offset()) => {
                    pieces.push(&text[start..at]);
                    (start, at) = (end.offset(), end.offset());
                }
                _ => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        if pieces.is_empty() {
            return vec![text];
        }
        pieces.push(&text[start..]);
        while pieces.last().is_some_and(|piece| piece.is_empty()) {
            pieces.pop();
        }
        pieces
    }
}

fn automaton(pattern: &str, kind: MatchKind) -> Result<dense::DFA<Vec<u32>>, PatternError> {
    let configuration = dense::Config::new()
        .match_kind(kind)
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .determinize_size_limit(Some(AUTOMATON_BYTES_MAX));
    dense::Builder::new()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(AUTOMATON_BYTES_MAX)))
        .configure(configuration)
        .build(pattern)
        .map_err(|error| PatternError { reason: innermost(&error) })
}

fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'a>(pattern: &str, text: &'a str) -> Vec<&'a str> {
        JavaPattern::new(pattern).expect("a pattern").split(text)
    }

    #[test]
    fn splits_as_java_does() {
        // Each line asked of java.util.regex.Pattern.
        assert_eq!(split(",", "a,b,,c,,"), ["a", "b", "", "c"]);
        assert_eq!(split(",", ",a"), ["", "a"]);
        assert_eq!(split(",", ""), [""]);
        assert_eq!(split(",", ","), [] as [&str; 0]);
        assert_eq!(split("[;/]+", "a;/b/c"), ["a", "b", "c"]);
        assert_eq!(split(",", "größe,ß"), ["größe", "ß"]);
        assert_eq!(split("x", "größe"), ["größe"]);
    }
}
