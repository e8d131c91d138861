//! Closed loops of small requests that are not produce or fetch.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context, Result};

use super::connection::Connection;
use super::histogram::Histogram;
use super::poll::Poll;

/// One request in flight on each connection, until then; every answer is waited for.
///
/// `frame` makes the request of a connection with a correlation id, `check` looks at its answer.
pub fn closed_loop(
    connections: &mut [Connection],
    until: Instant,
    mut frame: impl FnMut(usize, i32, &mut Vec<u8>),
    mut check: impl FnMut(usize, &[u8]) -> Result<()>,
) -> Result<Histogram> {
    let (mut histogram, mut buffer) = (Histogram::default(), Vec::new());
    let mut poll = Poll::new()?;
    let mut asked = vec![VecDeque::new(); connections.len()];
    let mut ask = |number: usize, connection: &mut Connection, asked: &mut VecDeque<Instant>| -> Result<()> {
        let now = Instant::now();
        if now < until {
            let id = connection.correlate();
            frame(number, id, &mut buffer);
            asked.push_back(now);
            connection.send(&buffer)?;
        }
        Ok(())
    };
    for (number, connection) in connections.iter_mut().enumerate() {
        poll.add(number, connection)?;
        ask(number, connection, &mut asked[number])?;
    }
    let mut ready = Vec::new();
    while asked.iter().any(|asked| !asked.is_empty()) {
        if connections.len() == 1 {
            ready.push(0);
        } else {
            ready.extend(poll.wait(None)?);
        }
        for number in ready.drain(..) {
            let connection = &mut connections[number];
            connection.fill()?;
            while let Some(answer) = connection.buffered()? {
                let since = asked[number].pop_front().context("an answer to nothing")?;
                histogram.record(since.elapsed());
                check(number, connection.bytes(answer))?;
                ask(number, connection, &mut asked[number])?;
            }
        }
    }
    Ok(histogram)
}

/// Sets the correlation id of an encoded frame.
pub fn correlate(frame: &mut [u8], correlation_id: i32) {
    frame[8..12].copy_from_slice(&correlation_id.to_be_bytes());
}

/// A two-byte word of an answer: an error code.
pub fn error_at(answer: &[u8], at: usize) -> Result<i16> {
    let word = answer.get(at..).and_then(|rest| rest.first_chunk()).context("a short answer")?;
    Ok(i16::from_be_bytes(*word))
}
