//! From a connection to the APIs.

use std::sync::Arc;

use bytes::Bytes;

use crate::api::registry::{self, ApiEntry, Lookup};
use crate::api::{Outcome, RequestContext, Services, api_versions};

/// What a connection needs of the APIs; a test's may be scripted.
pub trait Dispatch: Send + Sync {
    /// What to do with a request, from its key and version alone.
    fn lookup(&self, key: i16, version: i16) -> Lookup;
    /// Handles one request whose row `lookup` gave.
    fn call(&self, entry: &'static ApiEntry, context: &RequestContext, body: Bytes) -> Outcome;
}

/// The registry's APIs on the rooms below.
pub struct RegistryDispatch(
    /// The rooms below.
    pub Arc<Services>,
);

impl Dispatch for RegistryDispatch {
    fn lookup(&self, key: i16, version: i16) -> Lookup {
        registry::lookup(key, version)
    }

    fn call(&self, entry: &'static ApiEntry, context: &RequestContext, body: Bytes) -> Outcome {
        if entry.accepts(context.api_version) {
            return entry.call(&self.0, context, body);
        }
        match api_versions::unsupported_version(entry, context.correlation_id) {
            Ok(response) => Outcome::Now(response),
            Err(reason) => Outcome::Close(reason),
        }
    }
}
