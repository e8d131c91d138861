//! What the coordinator needs to know of a request besides its body.

use std::sync::Arc;

/// Who asks. Owned: it becomes part of the group's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRequestContext {
    /// Version of the request; some answers depend on it.
    pub api_version: i16,
    /// The client's name for itself; empty when it gives none.
    pub client_id: Arc<str>,
    /// The client's address as Java prints it: `/127.0.0.1`.
    pub client_host: Arc<str>,
}
