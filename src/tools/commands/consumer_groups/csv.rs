//! Plans of offsets as lines of values: what `--export` prints and `--from-file` reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::types::TopicPartition;

/// Texts longer than this are quoted without being looked at, as Jackson does.
const UNQUOTED_CHARACTERS_MAX: usize = 24;
/// Characters below this are quoted: the separator, the quote and what stands before them.
const FIRST_SAFE_CHARACTER: char = '-';

/// Offsets by group and partition.
pub type Plan = BTreeMap<String, BTreeMap<TopicPartition, i64>>;

/// Lines of `topic,partition,offset`, or of `group,topic,partition,offset`.
pub fn export(plan: &Plan, with_group: bool) -> String {
    let mut out = String::new();
    for (group, offsets) in plan {
        for (partition, offset) in offsets {
            if with_group {
                put_text(&mut out, group);
                out.push(',');
            }
            put_text(&mut out, &partition.topic);
            let _ = writeln!(out, ",{},{offset}", partition.partition);
        }
    }
    out
}

fn put_text(out: &mut String, text: &str) {
    let length = text.encode_utf16().count();
    if length <= UNQUOTED_CHARACTERS_MAX && text.chars().all(|character| character >= FIRST_SAFE_CHARACTER) {
        out.push_str(text);
    } else {
        let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
    }
}

/// Reads a plan; `only_group` is the one group that was named, to which lines without a group belong.
///
/// # Errors
/// The line that is not of this form.
pub fn import(text: &str, only_group: Option<&str>) -> Result<Plan, String> {
    let mut lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    let without_group = lines.first().is_some_and(|line| fields(line).is_some_and(|fields| offset(&fields).is_some()));
    let mut plan = Plan::new();
    for (number, line) in lines.iter().enumerate() {
        let wrong = |form: &str| format!("line {} of the file is not of the form {form}: {line}", number + 1);
        let fields = fields(line).unwrap_or_default();
        let (group, (partition, offset)) = match only_group {
            Some(group) if without_group => {
                (group.to_owned(), offset(&fields).ok_or_else(|| wrong("topic,partition,offset"))?)
            }
            _ => {
                let entry = fields.split_first().and_then(|(group, rest)| Some((group.clone(), offset(rest)?)));
                entry.ok_or_else(|| wrong("group,topic,partition,offset"))?
            }
        };
        plan.entry(group).or_default().insert(partition, offset);
    }
    Ok(plan)
}

fn offset(fields: &[String]) -> Option<(TopicPartition, i64)> {
    let [topic, partition, offset] = fields else { return None };
    Some((TopicPartition::new(topic.as_str(), partition.trim().parse().ok()?), offset.trim().parse().ok()?))
}

/// The values of a line; `None` when a quote is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let field;
        (field, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.trim().is_empty() => return Some(fields),
            None => return None,
        }
    }
}

fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, behind) = rest.split_once('"')?;
        field.push_str(before);
        match behind.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(entries: &[(&str, &str, i32, i64)]) -> Plan {
        let mut plan = Plan::new();
        for (group, topic, partition, offset) in entries {
            plan.entry((*group).to_owned()).or_default().insert(TopicPartition::new(*topic, *partition), *offset);
        }
        plan
    }

    #[test]
    fn what_is_exported_is_imported() {
        let single = plan(&[("g", "t", 0, 5), ("g", "t", 1, 0), ("g", "u.x", 0, 7)]);
        let text = export(&single, false);
        assert_eq!(text, "t,0,5\nt,1,0\nu.x,0,7\n");
        assert_eq!(import(&text, Some("g")), Ok(single.clone()));
        let both = plan(&[("a,\"b\"", "t", 0, 5), ("h", "a-topic-that-has-more-characters", 0, 6)]);
        let text = export(&both, true);
        assert_eq!(text, "\"a,\"\"b\"\"\",t,0,5\nh,\"a-topic-that-has-more-characters\",0,6\n");
        assert_eq!(import(&text, None), Ok(both.clone()));
        assert_eq!(import(&text, Some("h")), Ok(both), "a file for several groups serves one, too");
    }

    #[test]
    fn files_of_others_are_read() {
        assert_eq!(import("t,0,5\r\nt, 1 ,6\r\n\n", Some("g")), Ok(plan(&[("g", "t", 0, 5), ("g", "t", 1, 6)])));
        assert_eq!(import("", Some("g")), Ok(Plan::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = import("t,0,5\nt,x,6\n", Some("g")).unwrap_err();
        assert_eq!(error, "line 2 of the file is not of the form topic,partition,offset: t,x,6");
        let error = import("t,0,5\n", None).unwrap_err();
        assert_eq!(error, "line 1 of the file is not of the form group,topic,partition,offset: t,0,5");
        assert!(import("\"t,0,5\n", Some("g")).is_err());
    }
}
