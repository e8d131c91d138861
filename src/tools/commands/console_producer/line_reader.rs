//! Lines to records (`LineMessageReader`).

use std::collections::BTreeMap;

use crate::client::Headers;
use crate::tools::PATTERN_BYTES_MAX;
use crate::types::java_pattern::JavaSeparator;

/// A record to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineRecord {
    /// The key, or null.
    pub key: Option<Vec<u8>>,
    /// The value, or null.
    pub value: Option<Vec<u8>>,
    /// In their order.
    pub headers: Headers,
}

/// What `--reader-property` says of lines.
#[derive(Debug)]
pub struct LineReader {
    parse_key: bool,
    key_separator: String,
    parse_headers: bool,
    headers_delimiter: String,
    headers_separator: JavaSeparator,
    headers_key_separator: String,
    ignore_error: bool,
    null_marker: Option<String>,
    line_number: u64,
}

impl LineReader {
    /// Errors: two separators that are the same, in Kafka's words.
    pub fn new(properties: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |name: &str, default: &str| properties.get(name).map_or(default, String::as_str).to_owned();
        let flag = |name: &str| properties.get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let key_separator = text("key.separator", "\t");
        let headers_delimiter = text("headers.delimiter", "\t");
        let headers_separator = text("headers.separator", ",");
        let headers_key_separator = text("headers.key.separator", ":");
        let null_marker = properties.get("null.marker").cloned();
        let names = [
            ("headers.delimiter", &headers_delimiter, "headers.separator", &headers_separator),
            ("headers.delimiter", &headers_delimiter, "headers.key.separator", &headers_key_separator),
            ("headers.separator", &headers_separator, "headers.key.separator", &headers_key_separator),
        ];
        if let Some((one, _, other, _)) = names.iter().find(|(_, one, _, other)| one == other) {
            return Err(format!("{one} and {other} may not be equal"));
        }
        let separators = [
            ("key.separator", &key_separator),
            ("headers.separator", &headers_separator),
            ("headers.delimiter", &headers_delimiter),
            ("headers.key.separator", &headers_key_separator),
        ];
        if let Some((name, _)) = separators.iter().find(|(_, text)| null_marker.as_ref() == Some(text)) {
            return Err(format!("null.marker and {name} may not be equal"));
        }
        let headers_separator =
            JavaSeparator::new(&headers_separator, PATTERN_BYTES_MAX).map_err(|error| error.to_string())?;
        Ok(Self {
            parse_key: flag("parse.key"),
            key_separator,
            parse_headers: flag("parse.headers"),
            headers_delimiter,
            headers_separator,
            headers_key_separator,
            ignore_error: flag("ignore.error"),
            null_marker,
            line_number: 0,
        })
    }

    /// The record of the next line. Errors: a separator that is not there, in Kafka's words.
    pub fn read(&mut self, line: &str) -> Result<LineRecord, String> {
        self.line_number += 1;
        let mut rest = line;
        let headers = self.cut(self.parse_headers, line, &mut rest, &self.headers_delimiter, "headers delimiter")?;
        let key = self.cut(self.parse_key, line, &mut rest, &self.key_separator, "key separator")?;
        let bytes = |text: &str| (!self.is_null(text)).then(|| text.as_bytes().to_vec());
        let headers = match headers {
            Some(headers) if !self.is_null(headers) => self.split_headers(headers)?,
            _ => Vec::new(),
        };
        Ok(LineRecord { key: key.and_then(bytes), value: bytes(rest), headers })
    }

    /// Takes what stands before `separator` from the rest of the line.
    fn cut<'a>(
        &self,
        enabled: bool,
        line: &str,
        rest: &mut &'a str,
        separator: &str,
        name: &str,
    ) -> Result<Option<&'a str>, String> {
        if !enabled {
            return Ok(None);
        }
        match rest.split_once(separator) {
            Some((before, behind)) => {
                *rest = behind;
                Ok(Some(before))
            }
            None if self.ignore_error => Ok(None),
            None => Err(format!("No {name} found on line number {}: '{line}'", self.line_number)),
        }
    }

    fn is_null(&self, text: &str) -> bool {
        self.null_marker.as_deref() == Some(text)
    }

    fn split_headers(&self, headers: &str) -> Result<Headers, String> {
        let header = |pair: &str| {
            let Some((key, value)) = pair.split_once(&*self.headers_key_separator) else {
                if self.ignore_error {
                    return Ok((pair.as_bytes().to_vec(), None));
                }
                let line = self.line_number;
                return Err(format!("No header key separator found in pair '{pair}' on line number {line}"));
            };
            if self.is_null(key) {
                return Err(format!(
                    "Header keys should not be equal to the null marker '{key}' as they can't be null"
                ));
            }
            Ok((key.as_bytes().to_vec(), (!self.is_null(value)).then(|| value.as_bytes().to_vec())))
        };
        self.headers_separator.split(headers).into_iter().map(header).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(properties: &[(&str, &str)]) -> Result<LineReader, String> {
        LineReader::new(&properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn text(bytes: &Option<Vec<u8>>) -> String {
        bytes.as_ref().map_or("<null>".to_owned(), |bytes| String::from_utf8(bytes.clone()).expect("text"))
    }

    /// Headers, key and value of a line as one text.
    fn read(reader: &mut LineReader, line: &str) -> Result<String, String> {
        let record = reader.read(line)?;
        let headers: Vec<String> =
            record.headers.iter().map(|(key, value)| format!("{}={}", text(&Some(key.clone())), text(value))).collect();
        Ok(format!("{} {} {}", headers.join(";"), text(&record.key), text(&record.value)))
    }

    #[test]
    fn a_line_is_a_value_by_itself() {
        let mut reader = reader(&[]).expect("a reader");
        assert_eq!(read(&mut reader, "key\tvalue"), Ok(" <null> key\tvalue".to_owned()));
        assert_eq!(read(&mut reader, ""), Ok(" <null> ".to_owned()));
    }

    #[test]
    fn keys_and_headers_are_cut_off() {
        let mut plain = reader(&[("parse.key", "true"), ("parse.headers", " TRUE ")]).expect("a reader");
        assert_eq!(read(&mut plain, "a:1,b:2\tk\tv\tw"), Ok("a=1;b=2 k v\tw".to_owned()));
        assert_eq!(read(&mut plain, "a:1,\tk\t"), Ok("a=1 k ".to_owned()), "what is empty at the end is no header");
        let error = read(&mut plain, "nothing").expect_err("refused");
        assert_eq!(error, "No headers delimiter found on line number 3: 'nothing'");
        let error = read(&mut plain, "a:1\tk").expect_err("refused");
        assert_eq!(error, "No key separator found on line number 4: 'a:1\tk'");
        let error = read(&mut plain, "a\tk\tv").expect_err("refused");
        assert_eq!(error, "No header key separator found in pair 'a' on line number 5");
        let mut others = reader(&[
            ("parse.key", "true"),
            ("parse.headers", "true"),
            ("key.separator", "=>"),
            ("headers.delimiter", "#"),
            ("headers.separator", "[;/]"),
            ("headers.key.separator", "-"),
        ])
        .expect("a reader");
        assert_eq!(read(&mut others, "a-1;b-2/c-3#k=>v"), Ok("a=1;b=2;c=3 k v".to_owned()));
    }

    #[test]
    fn errors_are_ignored_when_told_so() {
        let properties = [("parse.key", "true"), ("parse.headers", "true"), ("ignore.error", "true")];
        let mut reader = reader(&properties).expect("a reader");
        assert_eq!(read(&mut reader, "v"), Ok(" <null> v".to_owned()));
        assert_eq!(read(&mut reader, "h\tv"), Ok("h=<null> <null> v".to_owned()));
    }

    #[test]
    fn the_marker_is_null() {
        let properties = [("parse.key", "true"), ("parse.headers", "true"), ("null.marker", "NULL")];
        let mut reader = reader(&properties).expect("a reader");
        assert_eq!(read(&mut reader, "a:NULL\tNULL\tNULL"), Ok("a=<null> <null> <null>".to_owned()));
        assert_eq!(read(&mut reader, "NULL\tk\tv"), Ok(" k v".to_owned()));
        let error = read(&mut reader, "NULL:1\tk\tv").expect_err("refused");
        assert_eq!(error, "Header keys should not be equal to the null marker 'NULL' as they can't be null");
    }

    #[test]
    fn separators_differ() {
        for (properties, message) in [
            (&[("headers.delimiter", ",")][..], "headers.delimiter and headers.separator may not be equal"),
            (&[("headers.delimiter", ":")], "headers.delimiter and headers.key.separator may not be equal"),
            (&[("headers.separator", ":")], "headers.separator and headers.key.separator may not be equal"),
            (&[("null.marker", "\t")], "null.marker and key.separator may not be equal"),
            (&[("null.marker", ":")], "null.marker and headers.key.separator may not be equal"),
        ] {
            assert_eq!(reader(properties).err().as_deref(), Some(message));
        }
    }
}
