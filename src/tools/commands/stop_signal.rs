//! SIGINT and SIGTERM, upon which a command that goes on for ever ends in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::env::Env;

/// The exit codes of a process that a signal ended, as Java gives them.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;

/// Whether somebody wants the command to end.
#[derive(Clone)]
pub struct StopSignal {
    flag: Arc<AtomicBool>,
    code: watch::Receiver<Option<i32>>,
}

impl StopSignal {
    /// Listens from now on; the signals do not end the process any more.
    pub fn listen(env: &Env) -> Self {
        let (sender, code) = watch::channel(None);
        let flag = Arc::new(AtomicBool::new(false));
        let raised = flag.clone();
        env.spawn.spawn(
            "signals",
            Box::pin(async move {
                let code = first_signal().await;
                raised.store(true, Ordering::Relaxed);
                // Who waited may be gone.
                let _ = sender.send(Some(code));
                // Whoever receives may still ask.
                sender.closed().await;
            }),
        );
        Self { flag, code }
    }

    /// Set when the signal came.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// The exit code, once a signal came.
    pub fn code(&self) -> Option<i32> {
        *self.code.borrow()
    }

    /// Waits for a signal; its exit code.
    pub async fn wait(&self) -> i32 {
        let mut code = self.code.clone();
        match code.wait_for(Option::is_some).await {
            Ok(code) => code.unwrap_or(INTERRUPTED),
            Err(_) => std::future::pending().await,
        }
    }
}

async fn first_signal() -> i32 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => INTERRUPTED,
        _ = terminate.recv() => TERMINATED,
    }
}
