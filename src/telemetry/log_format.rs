//! Log lines as Kafka's log4j layout prints them, `[2026-11-21 10:00:00,123] INFO message (kafka.server.KafkaApis)`, or one JSON
//! object a line.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::loggers::logger_of;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Kafka's `[%d] %p %m (%c)`, in UTC.
    #[default]
    Kafka,
    /// An object with `timestamp`, `level`, `logger`, `message` and `fields`.
    Json,
}

/// What an event says.
#[derive(Debug, Default)]
pub(super) struct LogLine {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl From<String> for LogLine {
    fn from(message: String) -> Self {
        Self { message, fields: Vec::new() }
    }
}

impl LogLine {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut line = Self::default();
        event.record(&mut line);
        line
    }

    /// The whole line with its end.
    pub(super) fn format(&self, format: LogFormat, millis: u64, level: Level, target: &str) -> String {
        let mut text = String::with_capacity(self.message.len() + 96);
        // Writing to a String cannot fail.
        let _ = match format {
            LogFormat::Kafka => self.write_kafka(&mut text, millis, level, target),
            LogFormat::Json => self.write_json(&mut text, millis, level, target),
        };
        text
    }

    fn write_kafka(&self, text: &mut String, millis: u64, level: Level, target: &str) -> fmt::Result {
        text.push('[');
        write_timestamp(text, millis, ' ', ',')?;
        write!(text, "] {level} ")?;
        write_escaped(text, &self.message)?;
        for (name, value) in &self.fields {
            let space = if text.ends_with(' ') { "" } else { " " };
            write!(text, "{space}{name}=")?;
            write_escaped(text, value)?;
        }
        writeln!(text, " ({})", logger_of(target))
    }

    fn write_json(&self, text: &mut String, millis: u64, level: Level, target: &str) -> fmt::Result {
        text.push_str("{\"timestamp\":\"");
        write_timestamp(text, millis, 'T', '.')?;
        write!(text, "Z\",\"level\":\"{level}\",\"logger\":")?;
        write_json_string(text, &logger_of(target))?;
        text.push_str(",\"message\":");
        write_json_string(text, &self.message)?;
        for (position, (name, value)) in self.fields.iter().enumerate() {
            text.push_str(if position == 0 { ",\"fields\":{" } else { "," });
            write_json_string(text, name)?;
            text.push(':');
            write_json_string(text, value)?;
        }
        text.push_str(if self.fields.is_empty() { "}\n" } else { "}}\n" });
        Ok(())
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }
}

/// A line stays one line, whatever a client has put into a name.
fn write_escaped(text: &mut String, part: &str) -> fmt::Result {
    if !part.contains(char::is_control) {
        text.push_str(part);
        return Ok(());
    }
    for character in part.chars() {
        match character.is_control() && character != '\t' {
            true => write!(text, "{}", character.escape_default())?,
            false => text.push(character),
        }
    }
    Ok(())
}

fn write_json_string(text: &mut String, part: &str) -> fmt::Result {
    text.push('"');
    for character in part.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            character if character.is_control() => write!(text, "\\u{:04x}", u32::from(character))?,
            character => text.push(character),
        }
    }
    text.push('"');
    Ok(())
}

fn write_timestamp(writer: &mut impl Write, millis: u64, between: char, point: char) -> fmt::Result {
    let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    write!(
        writer,
        "{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}{point}{:03}",
        of_day % 1_000
    )
}

/// Year, month and day of a day counted from the Unix epoch, in the proleptic Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day is the last of its year.
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_kafkas() {
        let format = |millis: u64| {
            let mut text = String::new();
            write_timestamp(&mut text, millis, ' ', ',').unwrap();
            text
        };
        assert_eq!(format(0), "1970-01-01 00:00:00,000");
        assert_eq!(format(951_782_400_123), "2000-02-29 00:00:00,123");
        assert_eq!(format(1_772_323_199_999), "2026-02-28 23:59:59,999");
        assert_eq!(format(1_772_323_200_000), "2026-03-01 00:00:00,000");
    }

    #[test]
    fn lines_have_kafkas_shape() {
        let line = LogLine { message: "[X id=1] done".to_owned(), fields: Vec::new() };
        assert_eq!(
            line.format(LogFormat::Kafka, 1_772_323_200_000, Level::INFO, "kafka.server.KafkaRaftServer"),
            "[2026-03-01 00:00:00,000] INFO [X id=1] done (kafka.server.KafkaRaftServer)\n"
        );
        let line = LogLine { message: "a".to_owned(), fields: vec![("group", "g\n[2026] FATAL".to_owned())] };
        assert_eq!(
            line.format(LogFormat::Kafka, 0, Level::WARN, "ottla::api::metadata"),
            "[1970-01-01 00:00:00,000] WARN a group=g\\n[2026] FATAL (kafka.server.KafkaApis)\n"
        );
    }

    #[test]
    fn lines_can_be_json() {
        let fields = vec![("path", "C:\\x".to_owned()), ("name", "a\"b\u{7}é".to_owned())];
        let line = LogLine { message: "one\ntwo".to_owned(), fields };
        let text = line.format(LogFormat::Json, 1, Level::ERROR, "ottla::api");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["timestamp"], "1970-01-01T00:00:00.001Z");
        assert_eq!((&value["level"], &value["logger"]), (&"ERROR".into(), &"kafka.server.KafkaApis".into()));
        assert_eq!((&value["message"], &value["fields"]["name"]), (&"one\ntwo".into(), &"a\"b\u{7}é".into()));
        assert!(text.ends_with('\n') && text.trim_end().lines().count() == 1);
        let plain = LogLine { message: "x".to_owned(), fields: Vec::new() };
        assert!(plain.format(LogFormat::Json, 1, Level::INFO, "t").ends_with("\"message\":\"x\"}\n"));
    }
}
