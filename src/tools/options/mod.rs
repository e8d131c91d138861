//! Command lines as Kafka's tools read them: joptsimple's rules, its messages and its help, `CommandLineUtils`' checks.
//!
//! Contract: what a script wrote for Kafka's tools means the same here; what Kafka's tools refuse is refused with the same words.

mod help;
mod line_break;
mod parsed;
mod parser;
mod spec;
mod subcommands;
#[cfg(test)]
mod tests;

pub use parsed::Options;
pub use parser::{OptionParser, parse_key_values};
pub use spec::OptionSpec;
pub use subcommands::{Argument, ArgumentKind, Namespace, Subcommand, SubcommandParser};
