//! Messages as JSON, as the `*JsonConverter` classes that Kafka generates print them: fields in the order of the schema, names in camel
//! case, bytes in base64, ids in Kafka's text, nothing for tagged fields that have their default.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use uuid::Uuid;

/// Appends the name of a field; `name` is the schema's in snake case.
pub(super) fn put_name(out: &mut String, is_first: &mut bool, name: &str) {
    if !std::mem::take(is_first) {
        out.push(',');
    }
    out.push('"');
    let mut upper = false;
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            letter if upper => {
                upper = false;
                out.push(letter.to_ascii_uppercase());
            }
            letter => out.push(letter),
        }
    }
    out.push_str("\":");
}

/// Appends a text in quotes, escaped as Jackson does.
pub fn put_json_text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => out.push_str(&format!("\\u{:04X}", control as u32)),
            letter => out.push(letter),
        }
    }
    out.push('"');
}

/// Appends bytes as a text in base64.
pub fn put_json_bytes(out: &mut String, bytes: &[u8]) {
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

pub(super) fn put_uuid(out: &mut String, id: Uuid) {
    out.push('"');
    URL_SAFE_NO_PAD.encode_string(id.as_bytes(), out);
    out.push('"');
}

/// `Double.toString`: at least one digit behind the point; scientific below 0.001 and from ten million on.
pub(super) fn put_double(out: &mut String, number: f64) {
    let size = number.abs();
    if number.is_nan() {
        out.push_str("\"NaN\"");
    } else if number.is_infinite() {
        out.push_str(if number > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else if size == 0.0 || (1e-3..1e7).contains(&size) {
        out.push_str(&format!("{number:?}"));
    } else {
        let text = format!("{number:E}");
        let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        out.push_str(&format!("{digits}{point}E{exponent}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn values_look_as_jackson_prints_them() {
        assert_eq!(text(|out| put_json_text(out, "a\"\\\n\u{1}é")), "\"a\\\"\\\\\\n\\u0001é\"");
        assert_eq!(text(|out| put_json_bytes(out, &[0xff, 0xef])), "\"/+8=\"");
        assert_eq!(text(|out| put_uuid(out, Uuid::nil())), "\"AAAAAAAAAAAAAAAAAAAAAA\"");
        for (number, expected) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (1e7, "1.0E7"),
            (1.25e9, "1.25E9"),
            (1e-4, "1.0E-4"),
            (9_999_999.0, "9999999.0"),
        ] {
            assert_eq!(text(|out| put_double(out, number)), expected);
        }
    }

    #[test]
    fn names_are_in_camel_case() {
        let mut is_first = true;
        let mut out = String::new();
        put_name(&mut out, &mut is_first, "is_migrating_zk_broker");
        put_name(&mut out, &mut is_first, "k_raft_version");
        assert_eq!(out, "\"isMigratingZkBroker\":,\"kRaftVersion\":");
    }
}
