//! Room `tools` (floor 3): what `ottla` does beside being a broker, for people without Java.
//!
//! What it does: prints the files of a data directory as `kafka-dump-log.sh` does ([`dump_log`]), checks all of
//! them ([`verify`]), and is the commands of Apache Kafka that scripts call ([`commands`]), with their command lines
//! ([`options`]).
//!
//! What holds: a tool on files reads and changes nothing, not even a file's existence (`kafka-storage format` apart). Files are read
//! in pieces: memory is bounded by the largest batch, whatever a file's size or claims. A command prints what Kafka's prints, to the
//! same stream, and ends with its exit code.

pub mod commands;
pub mod dump_log;
pub mod health;
pub mod options;
pub mod topic_filter;
pub mod verify;

/// Memory for the automaton of a pattern that a command is given, and for making it, bytes.
const PATTERN_BYTES_MAX: usize = 10 << 20;
