//! Java's regular expressions, in time linear in the text.
//!
//! What needs backtracking (references back, looking around, possessive quantifiers) is refused, and so is what would take more
//! memory than the caller allows. As in Java `.` and a class stand for one character of Unicode, `\d` and its like and the flag
//! for case are about ASCII; a pattern with that flag has classes of ASCII only.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

/// A pattern that a whole text must match (`Matcher.matches`).
#[derive(Debug)]
pub struct JavaPattern(dense::DFA<Vec<u32>>);

/// A pattern between pieces of a text (`Pattern.split`).
#[derive(Debug)]
pub struct JavaSeparator(dense::DFA<Vec<u32>>);

/// A pattern that cannot be used, in the words of the parser.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl JavaPattern {
    /// Errors: what is not a regular expression, what needs backtracking, and what would take more than `bytes_max` for the
    /// automaton or for making it.
    pub fn new(pattern: &str, bytes_max: usize) -> Result<Self, PatternError> {
        // The longest match, to see whether it is the whole text.
        Ok(Self(automaton(pattern, MatchKind::All, bytes_max)?))
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        let found = self.0.try_search_fwd(&Input::new(text).anchored(Anchored::Yes));
        matches!(found, Ok(Some(end)) if end.offset() == text.len())
    }
}

impl JavaSeparator {
    /// Errors: as [`JavaPattern::new`].
    pub fn new(pattern: &str, bytes_max: usize) -> Result<Self, PatternError> {
        Ok(Self(automaton(pattern, MatchKind::LeftmostFirst, bytes_max)?))
    }

    /// The pieces between matches, without empty ones at the end; what matches no character separates nothing.
    pub fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut pieces = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let input = Input::new(text).range(at..).anchored(Anchored::Yes);
            match self.0.try_search_fwd(&input) {
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

fn automaton(pattern: &str, kind: MatchKind, bytes_max: usize) -> Result<dense::DFA<Vec<u32>>, PatternError> {
    let configuration = dense::Config::new()
        .match_kind(kind)
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(bytes_max))
        .determinize_size_limit(Some(bytes_max));
    dense::Builder::new()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(bytes_max)))
        .configure(configuration)
        .build(&translated(pattern))
        .map_err(|error| PatternError(innermost(&error)))
}

fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

/// Java's pattern for a parser that takes bytes for characters unless it is told `(?u:`, and that knows no `\Q…\E`.
fn translated(pattern: &str) -> String {
    // Folding beyond ASCII would need tables, and is not what Java does.
    let has_wide_classes = !ignores_case(pattern);
    let mut translated = String::with_capacity(pattern.len() * 2);
    let mut depth = 0_usize;
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next() {
                Some('Q') => {
                    let (quoted, after) = rest.as_str().split_once("\\E").unwrap_or((rest.as_str(), ""));
                    translated.extend(quoted.chars().flat_map(literal));
                    rest = after.chars();
                }
                Some(letter) if depth == 0 || has_wide_classes => translated.push_str(&escape(letter, depth > 0)),
                escaped => translated.extend(['\\'].into_iter().chain(escaped)),
            },
            '[' => {
                translated.push_str(if depth == 0 && has_wide_classes { "(?u:[" } else { "[" });
                depth += 1;
            }
            ']' if depth > 0 => {
                depth -= 1;
                translated.push_str(if depth == 0 && has_wide_classes { "])" } else { "]" });
            }
            '.' if depth == 0 => translated.push_str("(?u:.)"),
            _ => translated.push(character),
        }
    }
    translated
}

/// Whether a group has the flag for case.
fn ignores_case(pattern: &str) -> bool {
    let flags =
        |group: &str| group.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-').any(|flag| flag == 'i');
    pattern.split("(?").skip(1).any(flags)
}

/// A character for itself.
fn literal(character: char) -> impl Iterator<Item = char> {
    character.is_ascii_punctuation().then_some('\\').into_iter().chain([character])
}

/// What a letter behind a backslash means: classes of ASCII, and the characters that are not in them.
fn escape(letter: char, in_class: bool) -> String {
    let class = match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        's' => r"[\t\n\x0B\f\r ]",
        'S' => r"[^\t\n\x0B\f\r ]",
        other => return format!("\\{other}"),
    };
    if in_class { class.to_owned() } else { format!("(?u-i:{class})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    fn matches(pattern: &str, text: &str) -> bool {
        JavaPattern::new(pattern, BYTES_MAX).expect("a pattern").matches(text)
    }

    fn split<'a>(pattern: &str, text: &'a str) -> Vec<&'a str> {
        JavaSeparator::new(pattern, BYTES_MAX).expect("a pattern").split(text)
    }

    #[test]
    fn the_whole_text_must_match() {
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
    fn a_class_is_of_characters_not_of_bytes() {
        // Each line asked of java.util.regex.Pattern.
        for (pattern, text, expected) in [
            ("gr.ße", "größe", true),
            ("gr..ße", "größe", false),
            ("gr[^o]ße", "größe", true),
            ("gr[öü]ße", "größe", true),
            ("gr[a-z]ße", "größe", false),
            (r"gr\Dße", "größe", true),
            (r"gr\wße", "größe", false),
            (r"gr[\W]ße", "größe", true),
            (r"gr[^\d\s]ße", "größe", true),
            (r"[\d.]+", "1.2", true),
            (r"[\d.]+", "1x2", false),
            (r"\d", "٣", false),
            (r"[^\d]", "٣", true),
            ("[a-z&&[^x]]", "x", false),
            ("[a-z&&[^x]]", "y", true),
            ("(?i)[a-c]+.", "ABC1", true),
            (r"(?i)A\Wb[\d]", "aöB1", true),
            (r"(?s-i:.)", "ö", true),
            (r"a\.b", "axb", false),
            (r"\Qa.b[\E.", "a.b[x", true),
            (r"\Qa.b", "axb", false),
            (r"[\]]", "]", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_cannot_be_matched_in_one_pass_is_refused() {
        for pattern in ["(", "[a", r"(a)\1", "(?=a)a", "a{99999999}", "(a|b)*a(a|b){40}", "a\\"] {
            assert!(JavaPattern::new(pattern, BYTES_MAX).is_err(), "{pattern}");
        }
        let takes_room = "(a|b)*a(a|b){10}";
        assert!(JavaPattern::new(takes_room, BYTES_MAX).is_ok());
        assert!(JavaPattern::new(takes_room, 10_000).is_err(), "the caller's limit counts");
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
