//! What clients may use: the number of connections now; bytes, request time and controller mutations later.
//!
//! Contract: a quota counts and says yes or no, when there is room, or for how long to wait; whoever asks does the refusing.
//! Nothing in here knows a socket or a request.

mod connection_quotas;

pub use connection_quotas::{ConnectionLimits, ConnectionPermit, ConnectionQuotas};
