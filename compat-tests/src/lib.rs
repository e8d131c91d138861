//! The compatibility suite: real clients against a running broker.
