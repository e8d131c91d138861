//! Log lines on their way to an output that may stand still: whoever logs never waits for whoever reads.
//!
//! Contract: lines are written in their order by a thread of their own. What is not written yet is [`LOG_QUEUE_BYTES_MAX`] at most;
//! a line that finds no room is dropped and counted, and one line at the place of the gap says how many are missing. [`LogQueue::flush`]
//! waits until all is written, but no longer than it is told: a reader that has stopped must not keep the process from ending.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Bytes of lines that wait for the output, beside those that are being written.
pub(super) const LOG_QUEUE_BYTES_MAX: usize = 1 << 20;
/// A buffer that has grown beyond this is given back once it is written, bytes.
const BUFFER_BYTES_KEPT: usize = 64 << 10;
/// The stack of the thread that writes, bytes.
const STACK_BYTES: usize = 128 << 10;

/// Makes the line that tells of a number of dropped ones.
type NoteOfDropped = fn(u64) -> String;

/// Lines that wait to be written.
pub(super) struct LogQueue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something was added.
    added: Condvar,
    /// Everything was written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that had no room since the writer came by.
    dropped: u64,
    is_writing: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0 && !self.is_writing
    }
}

impl LogQueue {
    /// Starts the thread that writes to `output`, for as long as the process lives.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub(super) fn start(output: impl Write + Send + 'static, note: NoteOfDropped) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), added: Condvar::new(), written: Condvar::new() });
        let thread = std::thread::Builder::new().name("ottla-log".to_owned()).stack_size(STACK_BYTES);
        let theirs = Arc::clone(&shared);
        thread.spawn(move || theirs.write_to(output, note))?;
        Ok(Self(shared))
    }

    /// Adds a whole line with its end; without waiting.
    pub(super) fn push(&self, line: &str) {
        let mut state = self.0.state.lock();
        // Behind a gap nothing is taken until the gap is told of.
        if state.dropped > 0 || state.waiting.len() + line.len() > LOG_QUEUE_BYTES_MAX {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(line.as_bytes());
        drop(state);
        self.0.added.notify_one();
    }

    /// Waits until all that was added is written, at most for `limit`; whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let mut state = self.0.state.lock();
        self.0.written.wait_while_for(&mut state, |state| !state.is_idle(), limit);
        state.is_idle()
    }
}

impl Shared {
    fn write_to(&self, mut output: impl Write, note: NoteOfDropped) {
        let mut lines = Vec::new();
        loop {
            let dropped = {
                let mut state = self.state.lock();
                state.is_writing = false;
                if state.is_idle() {
                    self.written.notify_all();
                }
                self.added.wait_while(&mut state, |state| state.is_idle());
                std::mem::swap(&mut state.waiting, &mut lines);
                state.is_writing = true;
                std::mem::take(&mut state.dropped)
            };
            if dropped > 0 {
                lines.extend_from_slice(note(dropped).as_bytes());
            }
            // A closed stream is no reason not to serve.
            let _ = output.write_all(&lines).and_then(|()| output.flush());
            lines.clear();
            if lines.capacity() > BUFFER_BYTES_KEPT {
                lines = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// An output that takes one piece each time it is allowed to.
    struct Reader {
        allowed: Receiver<()>,
        begun: SyncSender<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.try_send(());
            // From the end of the test on anything goes.
            let _ = self.allowed.recv();
            self.taken.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct World {
        queue: LogQueue,
        allow: SyncSender<()>,
        begun: Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    const LONG: Duration = Duration::from_secs(60);

    impl World {
        fn new() -> Self {
            let (allow, allowed) = sync_channel(10);
            let (begin, begun) = sync_channel(1);
            let taken = Arc::new(Mutex::default());
            let reader = Reader { allowed, begun: begin, taken: Arc::clone(&taken) };
            let queue = LogQueue::start(reader, |count| format!("{count} dropped\n")).expect("a thread");
            Self { queue, allow, begun, taken }
        }

        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.taken.lock().clone()).expect("text").lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn lines_come_in_their_order_and_a_flush_waits_for_the_last() {
        let world = World::new();
        for number in 0..100 {
            world.queue.push(&format!("{number}\n"));
        }
        drop(world.allow);
        assert!(world.queue.flush(LONG));
        let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let lines = String::from_utf8(world.taken.lock().clone()).expect("text");
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
        assert!(world.queue.flush(Duration::ZERO), "nothing is left");
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_says_how_many() {
        let world = World::new();
        world.queue.push("first\n");
        world.begun.recv().expect("the first is being written");
        let line = format!("{}\n", "x".repeat(1023));
        // Nobody reads: a push that waited would never return.
        let fit = LOG_QUEUE_BYTES_MAX / line.len();
        for _ in 0..fit + 7 {
            world.queue.push(&line);
        }
        // Shorter ones behind the gap would stand before the line that tells of it.
        world.queue.push("y\n");
        assert!(!world.queue.flush(Duration::ZERO), "the process may end nevertheless");
        world.allow.send(()).expect("the first goes on");
        world.begun.recv().expect("the rest is being written");
        world.queue.push("after\n");
        for _ in 0..2 {
            world.allow.send(()).expect("the rest, and the last");
        }
        assert!(world.queue.flush(LONG));
        let lines = world.lines();
        assert_eq!(lines.len(), 1 + fit + 2);
        assert_eq!(lines.first().map(String::as_str), Some("first"));
        assert_eq!(lines[lines.len() - 2..], ["8 dropped".to_owned(), "after".to_owned()]);
    }

    #[test]
    fn a_closed_output_stops_nobody() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = LogQueue::start(Closed, |count| format!("{count}\n")).expect("a thread");
        for _ in 0..3 {
            queue.push("x\n");
            assert!(queue.flush(LONG));
        }
    }
}
