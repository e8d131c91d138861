//! Who a client is; later what it may do (SASL, TLS, ACLs).
//!
//! Contract: without authentication everybody is `User:ANONYMOUS`, as in Kafka. A configuration that asks for more than this
//! room can give (a listener that is not PLAINTEXT, an authorizer) is refused at the start, by `config`.

mod principal;

pub use principal::Principal;
