//! Lines as Java's `BufferedReader` reads them.

use std::io::{self, BufRead};

/// Lines that end with `\n`, `\r` or both; bytes that are no UTF-8 become U+FFFD.
pub struct Lines<R> {
    input: R,
    /// The last line ended with `\r`: a `\n` that follows belongs to it.
    skips_line_feed: bool,
    is_over: bool,
}

impl<R: BufRead> Lines<R> {
    /// Begins with the first byte.
    pub fn new(input: R) -> Self {
        Self { input, skips_line_feed: false, is_over: false }
    }

    fn read(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                self.is_over = true;
                return Ok((!line.is_empty()).then(|| text(&line)));
            }
            if std::mem::take(&mut self.skips_line_feed) && buffer[0] == b'\n' {
                self.input.consume(1);
                continue;
            }
            let Some(end) = buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                line.extend_from_slice(buffer);
                let size = buffer.len();
                self.input.consume(size);
                continue;
            };
            line.extend_from_slice(&buffer[..end]);
            self.skips_line_feed = buffer[end] == b'\r';
            self.input.consume(end + 1);
            return Ok(Some(text(&line)));
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], buffer_size: usize) -> Vec<String> {
        let input = io::BufReader::with_capacity(buffer_size, text);
        Lines::new(input).collect::<Result<_, _>>().expect("lines")
    }

    #[test]
    fn every_end_of_a_line_ends_it() {
        for buffer_size in [1, 2, 3, 64] {
            assert_eq!(lines(b"a\nb\r\nc\rd\n\ne", buffer_size), ["a", "b", "c", "d", "", "e"]);
            assert_eq!(lines(b"a\r", buffer_size), ["a"]);
            assert_eq!(lines(b"\r\n\r\n", buffer_size), ["", ""]);
            assert_eq!(lines(b"", buffer_size), [] as [&str; 0]);
            assert_eq!(lines(b"a\xffb", buffer_size), ["a\u{fffd}b"]);
        }
    }
}
