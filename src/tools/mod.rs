//! Room `tools` (floor 3): what `ottla` does beside being a broker, for people without Java.
//!
//! What it does: prints the files of a data directory as `kafka-dump-log.sh` does ([`dump_log`]), and checks all of
//! them ([`verify`]).
//!
//! What holds: a tool reads and changes nothing, not even a file's existence. Files are read in pieces: memory is bounded by the
//! largest batch, whatever a file's size or claims.

pub mod dump_log;
pub mod health;
pub mod verify;
