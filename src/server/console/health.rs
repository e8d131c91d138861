//! Health: alive, ready, and why not.

use serde_json::json;

use super::Shared;

/// Where the broker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerPhase {
    /// Logs are recovered, metadata read; clients wait.
    Starting,
    /// Clients are served.
    Running,
    /// The broker stops.
    Stopping,
}

impl BrokerPhase {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        }
    }
}

/// Whether all is well, and the answer as JSON.
pub(super) fn answer(shared: &Shared, only_alive: bool) -> (bool, String) {
    let phase = *shared.phase.lock();
    let directories = match shared.services.get() {
        Some(services) => offline_directories(services),
        None => Vec::new(),
    };
    let is_well = only_alive || phase == BrokerPhase::Running;
    let body = json!({
        "status": if is_well { "UP" } else { "DOWN" },
        "phase": phase.name(),
        "offlineLogDirs": directories,
    });
    (is_well, format!("{body}\n"))
}

/// Log directories that failed; the others serve on.
pub(super) fn offline_directories(services: &crate::api::Services) -> Vec<String> {
    let directories = services.replicas.logs().directories();
    directories
        .filter(|directory| directory.is_offline())
        .map(|directory| directory.path().display().to_string())
        .collect()
}
