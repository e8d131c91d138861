//! The syntax of Java properties files (`java.util.Properties.load`), with the line of every entry.

use super::ConfigError;

/// One entry of a properties file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The line on which the entry begins, from 1.
    pub line: usize,
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved; trailing blanks are kept, as Java keeps them.
    pub value: String,
}

/// Reads a properties file: `key=value`, `key:value` or `key value`; `#` and `!` begin comments; a backslash at the end of a
/// line continues it; `\t`, `\n`, `\r`, `\f` and `\uXXXX` are escapes, any other escaped character is itself.
///
/// # Errors
/// [`ConfigError::Syntax`] for an escape that is none and an entry without a key.
pub fn parse_properties(file: &str, text: &str) -> Result<Vec<Property>, ConfigError> {
    let mut properties = Vec::new();
    for (line, entry) in logical_lines(text) {
        let syntax = |reason: &str| ConfigError::Syntax { file: file.to_owned(), line, reason: reason.to_owned() };
        let (key, value) = split_entry(&entry);
        let key = unescape(key).ok_or_else(|| syntax("\\u must be followed by four hexadecimal digits"))?;
        let value = unescape(value).ok_or_else(|| syntax("\\u must be followed by four hexadecimal digits"))?;
        if key.is_empty() {
            return Err(syntax("there is no key before the separator"));
        }
        properties.push(Property { line, key, value });
    }
    Ok(properties)
}

/// Writes a properties file that [`parse_properties`] reads back.
pub fn render_properties<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (key, value) in properties {
        escape(&mut text, key, |character| " \t\u{c}=:#!".contains(character));
        text.push('=');
        let blanks = value.len() - value.trim_start_matches([' ', '\t', '\u{c}']).len();
        // A blank, and no other character, would be taken for what stands between key and value.
        escape(&mut text, &value[..blanks], |_| true);
        escape(&mut text, &value[blanks..], |_| false);
        text.push('\n');
    }
    text
}

fn escape(text: &mut String, from: &str, is_escaped: impl Fn(char) -> bool) {
    for character in from.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\\' => text.push_str("\\\\"),
            _ => {
                if is_escaped(character) {
                    text.push('\\');
                }
                text.push(character);
            }
        }
    }
}

/// Joins continued lines and drops comments and blank lines.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let normalized = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    for (index, line) in normalized.split('\n').enumerate() {
        let line = line.trim_start_matches([' ', '\t', '\u{c}']);
        if open.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let is_continued = backslashes % 2 == 1;
        let content = if is_continued { &line[..line.len() - 1] } else { line };
        let (_, entry) = open.get_or_insert_with(|| (index + 1, String::new()));
        entry.push_str(content);
        if !is_continued {
            lines.extend(open.take());
        }
    }
    // The file may end in a backslash.
    lines.extend(open.filter(|(_, entry)| !entry.is_empty()));
    lines
}

/// The key and the value, still escaped.
fn split_entry(entry: &str) -> (&str, &str) {
    let is_blank = |character: char| matches!(character, ' ' | '\t' | '\u{c}');
    let mut is_escaped = false;
    let mut end = entry.len();
    for (position, character) in entry.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' {
            is_escaped = true;
        } else if is_blank(character) || character == '=' || character == ':' {
            end = position;
            break;
        }
    }
    let (key, rest) = entry.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    // Java's escapes are UTF-16 units, so that a character beyond the base plane takes two of them.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    let mut buffer = [0; 2];
    while let Some(character) = characters.next() {
        let resolved = match character {
            '\\' => match characters.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits: String = characters.by_ref().take(4).collect();
                    let is_hexadecimal = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    units.push(is_hexadecimal.then(|| u16::from_str_radix(&digits, 16).ok()).flatten()?);
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(resolved.encode_utf16(&mut buffer));
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(text: &str) -> Vec<(usize, String, String)> {
        let properties = parse_properties("server.properties", text).expect("a properties file");
        properties.into_iter().map(|property| (property.line, property.key, property.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = entries(text);
        assert_eq!(all.len(), 1, "{all:?}");
        let (_, key, value) = all.remove(0);
        (key, value)
    }

    #[test]
    fn separators_are_those_of_java() {
        for text in ["a.b=c d", "a.b = c d", "a.b:c d", "a.b : c d", "a.b c d", "  a.b\t=\tc d", "a.b=c d\r\n"] {
            assert_eq!(one(text), ("a.b".to_owned(), "c d".to_owned()), "{text:?}");
        }
        assert_eq!(one("key"), ("key".to_owned(), String::new()));
        assert_eq!(one("key="), ("key".to_owned(), String::new()));
        assert_eq!(one("a==b"), ("a".to_owned(), "=b".to_owned()));
        assert_eq!(one("listeners=PLAINTEXT://:9092").1, "PLAINTEXT://:9092");
        assert_eq!(one("a=b  ").1, "b  ");
    }

    #[test]
    fn comments_and_lines_are_counted() {
        let text = "# one\n\n! three\na=1\n  # five\nb=2 # not a comment\n";
        let expected = vec![(4, "a".to_owned(), "1".to_owned()), (6, "b".to_owned(), "2 # not a comment".to_owned())];
        assert_eq!(entries(text), expected);
    }

    #[test]
    fn lines_are_continued() {
        let text = "x=1\nlist=a,\\\n    b,\\\n# c\ny=2\\\\\nz=3\\";
        let values: Vec<(usize, String)> = entries(text).into_iter().map(|(line, _, value)| (line, value)).collect();
        let expected = [(1, "1"), (2, "a,b,# c"), (5, "2\\"), (6, "3")];
        assert_eq!(values, expected.map(|(line, value)| (line, value.to_owned())));
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(one(r"a\ b\:c\=d=\t\u0041\n\q\\"), ("a b:c=d".to_owned(), "\tA\nq\\".to_owned()));
        assert_eq!(one(r"smile=\uD83D\uDE00").1, "😀");
        let error = parse_properties("f", "a=1\nb=\\u12g4").expect_err("no escape");
        assert_eq!(error.to_string(), "f:2: \\u must be followed by four hexadecimal digits");
        assert_eq!(
            parse_properties("f", "=1").expect_err("no key").to_string(),
            "f:1: there is no key before the separator"
        );
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[\\\\=: \\n\\rua#!\u{e9}0-9]{0,40}") {
            let _ = parse_properties("f", &text);
        }

        #[test]
        fn what_is_written_is_read(key in "[a-z.\\\\=: #!]{1,10}", value in "[ -~\t\n\r\u{c}\u{e9}]{0,20}") {
            let text = render_properties([(key.as_str(), value.as_str())]);
            prop_assert_eq!(one(&text), (key, value));
        }
    }
}
