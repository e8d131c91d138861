//! Topics by a regular expression, as Kafka's tools take it (`TopicFilter.IncludeList`).

use crate::tools::PATTERN_BYTES_MAX;
use crate::tools::commands::CommandError;
use crate::types::is_internal_topic;
use crate::types::java_pattern::JavaPattern;

/// A list of topics: names or patterns with commas between them. A name must match as a whole. What needs backtracking
/// (references back, looking around) is refused.
#[derive(Debug)]
pub struct TopicFilter {
    pattern: JavaPattern,
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
        JavaPattern::new(pattern, PATTERN_BYTES_MAX)
            .map(|pattern| Self { pattern })
            .map_err(|_| CommandError::Message(format!("{pattern} is an invalid regex.")))
    }

    /// Whether the topic is in the list, and not an internal one where these are left out.
    pub fn allows(&self, topic: &str, excludes_internal: bool) -> bool {
        self.pattern.matches(topic) && !(excludes_internal && is_internal_topic(topic))
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
