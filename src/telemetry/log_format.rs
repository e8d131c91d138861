//! Log lines as Kafka's log4j layout prints them: `[2026-11-21 10:00:00,123] INFO message (ottla.server)`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Kafka's `[%d] %p %m (%c)` layout, in UTC.
pub struct KafkaFormat;

impl<S, N> FormatEvent<S, N> for KafkaFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // Log lines show real time even where a test simulates the broker's.
        #[expect(clippy::disallowed_methods, reason = "the time of a log line steers nothing")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        write_timestamp(&mut writer, since_epoch.as_millis() as u64)?;
        write!(writer, " {} ", event.metadata().level())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer, " ({})", event.metadata().target().replace("::", "."))
    }
}

fn write_timestamp(writer: &mut impl fmt::Write, millis: u64) -> fmt::Result {
    let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    write!(writer, "[{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{:03}]", of_day % 1_000)
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

    fn format(millis: u64) -> String {
        let mut text = String::new();
        write_timestamp(&mut text, millis).unwrap();
        text
    }

    #[test]
    fn timestamps_are_kafkas() {
        assert_eq!(format(0), "[1970-01-01 00:00:00,000]");
        assert_eq!(format(951_782_400_123), "[2000-02-29 00:00:00,123]");
        assert_eq!(format(1_772_323_199_999), "[2026-02-28 23:59:59,999]");
        assert_eq!(format(1_772_323_200_000), "[2026-03-01 00:00:00,000]");
    }
}
