//! `kafka-console-consumer` at a whole broker.
#![allow(clippy::disallowed_methods, reason = "tests of real sockets wait in real time")]

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::*;
use crate::config::StartInput;
use crate::tools::commands::{Console, dispatch};

/// Longer than this takes: without the records it would wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells when a text was written to it.
#[derive(Clone)]
struct Screen {
    shown: Arc<Mutex<Vec<u8>>>,
    wanted: &'static str,
    is_there: Arc<Notify>,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shown = self.shown.lock();
        shown.extend_from_slice(bytes);
        if String::from_utf8_lossy(&shown).contains(self.wanted) {
            self.is_there.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The last records of a fetch stayed in the buffer of the output until more came.
#[tokio::test]
async fn the_console_consumer_shows_what_it_has_before_it_waits() {
    let data = tempfile::tempdir().expect("a directory");
    let input = StartInput {
        data: Some(data.path().display().to_string()),
        overrides: vec!["listeners=PLAINTEXT://127.0.0.1:0".to_owned(), "ottla.http.listeners=".to_owned()],
        ..StartInput::default()
    };
    let mut options = StartOptions::read(&input).expect("options");
    let seeds = "{\"topic\":\"t\",\"value\":\"first\"}\n{\"topic\":\"t\",\"value\":\"last\"}\n";
    options.add_seeds(&[("seeds".to_owned(), seeds.to_owned())]).expect("seeds");
    let broker = Broker::start(options).await.expect("started");

    let screen = Screen { shown: Arc::default(), wanted: "first\nlast\n", is_there: Arc::default() };
    let is_there = Arc::clone(&screen.is_there);
    let address = broker.address().to_string();
    let arguments = ["--bootstrap-server", &address, "--topic", "t", "--from-beginning"].map(str::to_owned);
    let env = Env::real(tokio::runtime::Handle::current());
    let (mut out, mut err) = (BufWriter::with_capacity(1 << 16, screen), io::sink());
    let mut console = Console { out: &mut out, err: &mut err, input: Box::new(io::empty()), env: &env };
    tokio::select! {
        ended = dispatch("kafka-console-consumer", &arguments, &mut console) => panic!("it waits for more: {ended:?}"),
        shown = tokio::time::timeout(PATIENCE, is_there.notified()) => shown.expect("both records are shown"),
    }
    broker.shutdown().await.expect("stopped");
}
