//! Prometheus' text format (0.0.4), made piece by piece.

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use bytes::Bytes;

use super::families::FAMILIES;
use super::snapshot::Snapshot;
use super::{PIECE_BYTES, Shared};
use crate::api::Services;
use crate::telemetry::MetricKind;

/// Prefix of the rows of `telemetry::Metrics`.
const OWN_PREFIX: &str = "ottla_";

/// One metric with all its series: a row of the table.
pub(super) struct Family {
    /// Its name.
    pub(super) name: &'static str,
    /// How it moves.
    pub(super) kind: Kind,
    /// Names of its labels, between commas, for the documentation.
    pub(super) labels: &'static str,
    /// What it counts.
    pub(super) documentation: &'static str,
    /// Number of steps in which its samples are written.
    pub(super) steps: fn(&Snapshot) -> usize,
    /// Writes the samples of a step: usually one.
    pub(super) write: fn(&Snapshot, usize, &mut Samples<'_>),
}

/// What Prometheus is told of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label's name and value.
pub(super) type Label<'a> = (&'a str, &'a dyn Display);

/// Where the samples of a family go.
pub(super) struct Samples<'a> {
    name: &'static str,
    out: &'a mut String,
}

impl Samples<'_> {
    /// One series.
    pub(super) fn put(&mut self, labels: &[Label<'_>], value: f64) {
        self.put_as("", labels, value);
    }

    /// One series of a histogram: the name goes on with `suffix`.
    pub(super) fn put_as(&mut self, suffix: &str, labels: &[Label<'_>], value: f64) {
        // Writing to a String does not fail.
        let _ = write_sample(self.out, (self.name, suffix), labels, value);
    }
}

fn write_sample(out: &mut String, (name, suffix): (&str, &str), labels: &[Label<'_>], value: f64) -> fmt::Result {
    out.push_str(name);
    out.push_str(suffix);
    for (position, (label, value)) in labels.iter().enumerate() {
        out.push(if position == 0 { '{' } else { ',' });
        out.push_str(label);
        out.push_str("=\"");
        write!(Escaped(out), "{value}")?;
        out.push('"');
    }
    if !labels.is_empty() {
        out.push('}');
    }
    writeln!(out, " {value}")
}

/// Escapes what a label's value must not contain as it is.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

fn write_head(out: &mut String, prefix: &str, name: &str, kind: &str, documentation: &str) {
    let documentation = documentation.replace('\\', "\\\\").replace('\n', "\\n");
    // Writing to a String does not fail.
    let _ = writeln!(out, "# HELP {prefix}{name} {documentation}\n# TYPE {prefix}{name} {kind}");
}

/// A scrape while it is made.
pub(super) struct Page {
    services: Arc<Services>,
    shared: Arc<Shared>,
    snapshot: Option<Snapshot>,
    family: usize,
    step: usize,
}

impl Page {
    pub(super) fn new(services: Arc<Services>, shared: Arc<Shared>) -> Self {
        Self { services, shared, snapshot: None, family: 0, step: 0 }
    }

    /// The next piece, a little more than `PIECE_BYTES` long or the last one; `None` at the end. Blocks the thread, for the
    /// first piece as long as it takes to collect.
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        let snapshot = self.snapshot.get_or_insert_with(|| Snapshot::collect(&self.services, &self.shared));
        let mut out = String::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        while out.len() < PIECE_BYTES {
            let Some(family) = FAMILIES.get(self.family) else {
                if self.family == FAMILIES.len() {
                    self.family += 1;
                    write_own(&mut out, snapshot);
                }
                break;
            };
            let steps = (family.steps)(snapshot);
            if self.step == 0 && steps > 0 {
                write_head(&mut out, "", family.name, family.kind.name(), family.documentation);
            }
            let mut samples = Samples { name: family.name, out: &mut out };
            while self.step < steps && samples.out.len() < PIECE_BYTES {
                (family.write)(snapshot, self.step, &mut samples);
                self.step += 1;
            }
            if self.step >= steps {
                (self.family, self.step) = (self.family + 1, 0);
            }
        }
        (!out.is_empty()).then(|| out.into())
    }
}

/// The rows of `telemetry::Metrics`.
fn write_own(out: &mut String, snapshot: &Snapshot) {
    for sample in &snapshot.samples {
        let kind = match sample.kind {
            MetricKind::Counter => Kind::Counter,
            MetricKind::Gauge => Kind::Gauge,
        };
        write_head(out, OWN_PREFIX, sample.name, kind.name(), sample.documentation);
        // Writing to a String does not fail.
        let _ = writeln!(out, "{OWN_PREFIX}{} {}", sample.name, sample.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut out = String::new();
        let mut samples = Samples { name: "a", out: &mut out };
        samples.put(&[], 1.0);
        samples.put(&[("group", &"a\"b\\c\nd"), ("partition", &7)], 0.25);
        samples.put_as("_bucket", &[("le", &"+Inf")], 9_007_199_254_740_991.0);
        assert_eq!(
            out,
            "a 1\na{group=\"a\\\"b\\\\c\\nd\",partition=\"7\"} 0.25\na_bucket{le=\"+Inf\"} 9007199254740991\n"
        );
        out.clear();
        write_head(&mut out, "p_", "n", "gauge", "a \\ b\nc");
        assert_eq!(out, "# HELP p_n a \\\\ b\\nc\n# TYPE p_n gauge\n");
    }
}
