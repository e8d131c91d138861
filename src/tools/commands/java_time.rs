//! Points and spans of time as `--to-datetime` and `--by-duration` take them.

/// Milliseconds since 1970 of `YYYY-MM-DDThh:mm:ss.sss` with an optional `Z`, `+hh:mm` or `+hh` (`Utils.getDateTime`, which is strict
/// about values and not about the number of their digits, and does not look behind the zone). Errors in Java's words.
pub fn parse_date_time(text: &str) -> Result<i64, String> {
    let Some((_, time)) = text.split_once('T') else {
        return Err("Error parsing timestamp. It does not contain a 'T' according to ISO8601 format".to_owned());
    };
    if time.is_empty() {
        return Err("Error parsing timestamp. It does not contain a 'T' according to ISO8601 format".to_owned());
    }
    let zoned = time.contains(['+', '-', 'Z']);
    let text = if zoned { text.to_owned() } else { format!("{text}Z") };
    parse_zoned(&text).ok_or_else(|| format!("Unparseable date: \"{text}\""))
}

fn parse_zoned(text: &str) -> Option<i64> {
    let mut rest = text;
    let year = number(&mut rest, "-")?;
    let month = number(&mut rest, "-")?;
    let day = number(&mut rest, "T")?;
    let hour = number(&mut rest, ":")?;
    let minute = number(&mut rest, ":")?;
    let second = number(&mut rest, ".")?;
    let millis = number(&mut rest, "")?;
    let offset_minutes = zone(rest)?;
    let valid = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && millis < 1000;
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
    valid.then(|| seconds * 1000 + millis)
}

/// The digits at the start of `rest`, and what must stand behind them.
fn number(rest: &mut &str, separator: &str) -> Option<i64> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let value = rest[..digits].parse().ok().filter(|value| *value < 1_000_000)?;
    *rest = rest[digits..].strip_prefix(separator)?;
    Some(value)
}

/// Minutes east of Greenwich.
fn zone(text: &str) -> Option<i64> {
    if text.starts_with('Z') {
        return Some(0);
    }
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok()).flatten()
    };
    let hours = two(1..3).filter(|hours| *hours < 24)?;
    let minutes = match text.get(3..4) {
        Some(":") => two(4..6).filter(|minutes| *minutes < 60).unwrap_or(0),
        _ => 0,
    };
    Some(sign * (hours * 60 + minutes))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar. The year is counted from March, so that the day of a leap year comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Nanoseconds of `PnDTnHnMn.nS` (`java.time.Duration.parse`). Errors in Java's words.
pub fn parse_duration(text: &str) -> Result<i128, String> {
    duration(text).ok_or_else(|| "Text cannot be parsed to a Duration".to_owned())
}

fn duration(text: &str) -> Option<i128> {
    let upper = text.to_ascii_uppercase();
    let (negated, rest) = match upper.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, upper.strip_prefix('+').unwrap_or(&upper)),
    };
    let rest = rest.strip_prefix('P')?;
    let (date, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (rest, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let mut seconds = 0_i128;
    if !date.is_empty() {
        seconds += i128::from(date.strip_suffix('D')?.parse::<i64>().ok()?) * 86_400;
    }
    let mut nanos = 0;
    let mut rest = time;
    for (unit, factor) in [('H', 3600), ('M', 60)] {
        if let Some((value, behind)) = rest.split_once(unit) {
            seconds += i128::from(value.parse::<i64>().ok()?) * factor;
            rest = behind;
        }
    }
    if !rest.is_empty() {
        let value = rest.strip_suffix('S')?;
        let (whole, fraction) = value.split_once(['.', ',']).unwrap_or((value, ""));
        if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        seconds += i128::from(whole.parse::<i64>().ok()?);
        nanos = format!("{fraction:0<9}").parse().ok()?;
        nanos = if whole.starts_with('-') { -nanos } else { nanos };
    }
    let total = seconds * NANOS_PER_SECOND + nanos;
    Some(if negated { -total } else { total })
}

/// The point of time that lies a span before `now_millis`, in milliseconds since 1970.
pub fn before(now_millis: i64, nanos: i128) -> i64 {
    let then = (i128::from(now_millis) * 1_000_000 - nanos).div_euclid(1_000_000);
    i64::try_from(then).unwrap_or(if then < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_time() {
        for (text, millis) in [
            ("1970-01-01T00:00:00.000", 0),
            ("1970-01-01T00:00:00.000Z", 0),
            ("2026-11-22T01:02:03.456", 1_795_309_323_456),
            ("2026-11-22T01:02:03.456+01:00", 1_795_305_723_456),
            ("2026-11-22T01:02:03.456-0230", 1_795_316_523_456),
            ("2024-02-29T12:00:00.5", 1_709_208_000_005),
            ("1969-12-31T23:59:59.999", -1),
            ("2000-03-01T00:00:00.000+14", 951_818_400_000),
        ] {
            assert_eq!(parse_date_time(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_point_of_time() {
        let no_time = "Error parsing timestamp. It does not contain a 'T' according to ISO8601 format";
        assert_eq!(parse_date_time("2026-11-22").unwrap_err(), no_time);
        for text in [
            "2026-11-22T01:02:03",
            "2026-13-22T01:02:03.000",
            "2026-02-29T01:02:03.000",
            "2026-11-22T24:02:03.000",
            "xT01:02:03.000",
            "2026-11-22T01:02:03.000+1",
        ] {
            let error = parse_date_time(text).unwrap_err();
            assert!(error.starts_with("Unparseable date: \"") && error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn days_are_counted_right() {
        let mut expected = days_since_1970(1896, 1, 1);
        for year in 1896..2110 {
            for month in 1..=12 {
                for day in 1..=days_of_month(year, month) {
                    assert_eq!(days_since_1970(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn spans_of_time() {
        let seconds = |text: &str| parse_duration(text).map(|nanos| nanos as f64 / 1e9);
        assert_eq!(seconds("PT0S"), Ok(0.0));
        assert_eq!(seconds("p1dT2h3M4.5s"), Ok(93_784.5));
        assert_eq!(seconds("-PT1M"), Ok(-60.0));
        assert_eq!(seconds("PT-1.5S"), Ok(-1.5));
        assert_eq!(seconds("PT+6H"), Ok(21_600.0));
        for text in ["", "P", "PT", "P1DT", "1D", "PT1D", "P1H", "PT1S2M", "PT1.1M", "PT1.1234567890S", "P1W"] {
            assert_eq!(parse_duration(text).unwrap_err(), "Text cannot be parsed to a Duration", "{text}");
        }
    }

    #[test]
    fn milliseconds_are_rounded_down() {
        assert_eq!(before(1000, 1), 999);
        assert_eq!(before(1000, -1), 1000);
        assert_eq!(before(0, parse_duration("P1D").unwrap()), -86_400_000);
        assert_eq!(before(0, i128::MAX), i64::MIN);
    }
}
