//! Columns as `printf` of Java makes them.

/// A text, filled with spaces to a number of characters: `%-15s`.
pub fn pad(text: &str, width: usize) -> String {
    let length = text.encode_utf16().count();
    format!("{text}{}", " ".repeat(width.saturating_sub(length)))
}

/// Columns with a space between them; the last is not filled.
pub fn row(columns: &[(&str, usize)]) -> String {
    let cells: Vec<String> = columns.iter().map(|(text, width)| pad(text, *width)).collect();
    cells.join(" ")
}

/// The width of a column: what is longest in it, but at least `least`.
pub fn width<'a>(least: usize, texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.encode_utf16().count()).fold(least, usize::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_filled() {
        assert_eq!(row(&[("a", 3), ("größer", 3), ("z", 0)]), "a   größer z");
        assert_eq!(width(3, ["a", "abcd"].into_iter()), 4);
        assert_eq!(width(3, std::iter::empty()), 3);
    }
}
