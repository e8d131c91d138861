//! Where a line may break: the rules of Java's `BreakIterator.getLineInstance`, for the texts that help has.

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Break,
    Space,
    Dash,
    /// Sticks to the word behind it.
    Before,
    /// Sticks to the word before it.
    After,
    /// Before and after: the quotation mark.
    Both,
    Digit,
    Other,
}

fn kind(character: char) -> Kind {
    match character {
        '\t' | '\n' | '\u{c}' | '\u{3}' => Kind::Break,
        ' ' | '\r' => Kind::Space,
        '-' | '\u{2010}'..='\u{2015}' => Kind::Dash,
        '$' | '(' | '[' | '{' => Kind::Before,
        ')' | ']' | '}' | '!' | '%' | '.' | ',' | ':' | ';' | '?' => Kind::After,
        '"' => Kind::Both,
        '0'..='9' => Kind::Digit,
        _ => Kind::Other,
    }
}

/// A text in pieces, each of which stays on one line.
pub(super) fn line_units(text: &str) -> Vec<&str> {
    let characters: Vec<(usize, Kind)> = text.char_indices().map(|(index, c)| (index, kind(c))).collect();
    let mut units = Vec::new();
    let mut position = 0;
    while position < characters.len() {
        let end = unit_end(&characters, position).max(position + 1);
        let byte = |index: usize| characters.get(index).map_or(text.len(), |(byte, _)| *byte);
        units.push(&text[byte(position)..byte(end)]);
        position = end;
    }
    units
}

/// A word (what sticks before it, letters or a number, dashes or what sticks behind it), its spaces, a break.
fn unit_end(characters: &[(usize, Kind)], start: usize) -> usize {
    let at = |index: usize| characters.get(index).map(|(_, kind)| *kind);
    let run = |mut index: usize, kinds: &[Kind]| {
        while at(index).is_some_and(|kind| kinds.contains(&kind)) {
            index += 1;
        }
        index
    };
    let mut end = run(start, &[Kind::Before, Kind::Both]);
    let digits = run(end, &[Kind::Before, Kind::Both, Kind::Dash]);
    if at(digits) == Some(Kind::Digit) {
        end = run(digits, &[Kind::Digit]);
        while at(end) == Some(Kind::After) && at(end + 1) == Some(Kind::Digit) {
            end = run(end + 1, &[Kind::Digit]);
        }
    } else {
        end = run(end, &[Kind::Other]);
        // Digits behind letters are part of the word.
        end = if end > start { run(end, &[Kind::Other, Kind::Digit]) } else { end };
    }
    end = match at(end) {
        Some(Kind::Dash) => run(end, &[Kind::Dash]),
        _ => run(end, &[Kind::After, Kind::Both]),
    };
    end = run(end, &[Kind::Space]);
    match at(end) {
        Some(Kind::Break) => end + 1,
        _ => end,
    }
}
