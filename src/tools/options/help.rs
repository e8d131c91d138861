//! The help text: two columns in eighty characters (joptsimple's `BuiltinHelpFormatter`).

use super::line_break::line_units;
use super::spec::{ArgumentRule, OptionSpec};

const OVERALL_WIDTH: usize = 80;
const COLUMN_SEPARATOR_WIDTH: usize = 2;
const INDENT: &str = "  ";

/// The help of these options, sorted by their first names.
pub(super) fn format(specs: &[OptionSpec]) -> String {
    let mut sorted: Vec<&OptionSpec> = specs.iter().collect();
    sorted.sort_by(|left, right| left.names.first().cmp(&right.names.first()));
    let mut rows =
        vec![("Option".to_owned(), "Description".to_owned()), ("------".to_owned(), "-----------".to_owned())];
    rows.extend(sorted.into_iter().map(|spec| (option_text(spec), description_text(spec))));
    render(&fit(&rows))
}

fn option_text(spec: &OptionSpec) -> String {
    let leader = |name: &String| if name.chars().count() > 1 { format!("--{name}") } else { format!("-{name}") };
    let mut text = spec.names.iter().map(leader).collect::<Vec<_>>().join(", ");
    let inner = match spec.described_as.as_str() {
        "" => spec.type_name.to_owned(),
        described_as => format!("{}: {described_as}", spec.type_name),
    };
    match spec.rule {
        ArgumentRule::None => {}
        ArgumentRule::Required => text.push_str(&format!(" <{inner}>")),
        ArgumentRule::Optional => text.push_str(&format!(" [{inner}]")),
    }
    text
}

fn description_text(spec: &OptionSpec) -> String {
    match spec.defaults.as_slice() {
        [] => spec.description.clone(),
        [default] => format!("{} (default: {default})", spec.description).trim().to_owned(),
        defaults => format!("{} (default: [{}])", spec.description, defaults.join(", ")).trim().to_owned(),
    }
}

fn widths(rows: &[(String, String)]) -> (usize, usize) {
    let widest = |column: fn(&(String, String)) -> &str| rows.iter().map(|row| length(column(row))).max().unwrap_or(0);
    let option = widest(|row| &row.0).min((OVERALL_WIDTH - COLUMN_SEPARATOR_WIDTH) / 2);
    let description = widest(|row| &row.1).min(OVERALL_WIDTH - option - COLUMN_SEPARATOR_WIDTH);
    (option, description)
}

fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

fn fit(rows: &[(String, String)]) -> Vec<(String, String)> {
    let (option_width, description_width) = widths(rows);
    let mut fitted = Vec::new();
    for (option, description) in rows {
        let options = pieces(option, option_width);
        let descriptions = pieces(description, description_width);
        for index in 0..options.len().max(descriptions.len()) {
            let at = |pieces: &[String]| pieces.get(index).cloned().unwrap_or_default();
            fitted.push((at(&options), at(&descriptions)));
        }
    }
    fitted
}

/// The lines of a cell, those that follow a break indented.
fn pieces(text: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    for line in text.trim().split('\n') {
        let mut piece = String::new();
        for unit in line_units(line) {
            if length(&piece) + length(unit) > width {
                pieces.push(piece.trim_end().to_owned());
                piece = INDENT.to_owned();
            }
            piece.push_str(unit);
        }
        if !piece.is_empty() {
            pieces.push(piece);
        }
    }
    pieces
}

fn render(rows: &[(String, String)]) -> String {
    let (option_width, description_width) = widths(rows);
    let mut text = String::new();
    for (option, description) in rows {
        pad(&mut text, option, option_width + COLUMN_SEPARATOR_WIDTH);
        pad(&mut text, description, description_width);
        text.push('\n');
    }
    text
}

fn pad(text: &mut String, cell: &str, width: usize) {
    text.push_str(cell);
    text.extend(std::iter::repeat_n(' ', width.saturating_sub(length(cell))));
}
