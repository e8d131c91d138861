//! The `ottla` command.

use std::ffi::{c_int, c_long};
use std::io::Write;

use anyhow::Context;
use clap::Parser;
use ottla::cli::{Arguments, Command, Invocation};
use ottla::config::StartOptions;
use ottla::env::{Env, RealDisk, start_in_background};
use ottla::telemetry::{LogEnd, LogFormat};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(
    unsafe_code,
    reason = "a declaration of functions that are safe to call; the allocator is chosen here and not in `env`"
)]
unsafe extern "C" {
    // mimalloc's own functions, which take any number; no safe wrapper has this option.
    safe fn mi_option_get(option: c_int) -> c_long;
    safe fn mi_option_set(option: c_int, value: c_long);
}

/// `mi_option_arena_max_object_size` of mimalloc 3.
const ARENA_MAX_OBJECT_SIZE: c_int = 45;
/// Its default, in KiB, by which it is told from what has this number in other versions.
const ARENA_MAX_OBJECT_KIB_DEFAULT: c_long = 2 * 1024 * 1024;
/// What is larger, in KiB, goes back to the system when it is freed and not a second later: frames that follow each other
/// quickly would take several times their budget.
const ARENA_MAX_OBJECT_KIB: c_long = 4 * 1024;

/// Sets the allocator up; the environment's `MIMALLOC_ARENA_MAX_OBJECT_SIZE` goes before.
fn set_up_allocator() {
    if mi_option_get(ARENA_MAX_OBJECT_SIZE) == ARENA_MAX_OBJECT_KIB_DEFAULT {
        mi_option_set(ARENA_MAX_OBJECT_SIZE, ARENA_MAX_OBJECT_KIB);
    }
}

fn main() {
    set_up_allocator();
    let log_dir = std::env::var("LOG_DIR").ok();
    let result = match Invocation::read(std::env::args_os(), log_dir.as_deref()) {
        Invocation::Background { arguments, output } => start_in_background(&arguments, &output)
            .with_context(|| format!("cannot start in the background with the output in {}", output.display())),
        Invocation::KafkaCommand { name, arguments } => {
            std::process::exit(ottla::tools::commands::run(name, &arguments));
        }
        Invocation::Refused(error) => std::process::exit(ottla::tools::commands::report(error)),
        Invocation::ServerStart(arguments) => run(Arguments::parse_from(arguments), false),
        Invocation::Ottla(arguments) => run(Arguments::parse_from(arguments), true),
    };
    if let Err(error) = result {
        // One message that says what to do, without the machinery around it.
        eprintln!("ottla: {}", message(&error));
        std::process::exit(1);
    }
}

/// `reads_kafka_variables`: Kafka's own start script is given a file and reads no variables.
fn run(arguments: Arguments, reads_kafka_variables: bool) -> anyhow::Result<()> {
    if arguments.list_configs {
        let text = ottla::config::render_markdown();
        return std::io::stdout().write_all(text.as_bytes()).context("cannot print the configurations");
    }
    if arguments.list_metrics {
        let text = ottla::server::console::render_markdown();
        return std::io::stdout().write_all(text.as_bytes()).context("cannot print the metrics");
    }
    if let Some(command) = arguments.command {
        return run_tool(command);
    }
    let is_to_be_printed = arguments.print_properties;
    let environment =
        environment().into_iter().filter(|(name, _)| reads_kafka_variables || !name.starts_with("KAFKA_")).collect();
    let options = arguments.start_options(&RealDisk, environment)?;
    if is_to_be_printed {
        let given = options.config.given();
        let text = ottla::config::render_properties(given.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        return std::io::stdout().write_all(text.as_bytes()).context("cannot print the properties");
    }
    let _log_end = set_up_logging(&options).context("cannot start the log")?;
    for warning in &options.warnings {
        tracing::warn!(target: "kafka.server.KafkaConfig", "{warning}");
    }
    ottla::broker::run(options)?;
    Ok(())
}

/// Log lines as the configuration wants them, and which of them; `RUST_LOG` is the stronger.
fn set_up_logging(options: &StartOptions) -> std::io::Result<LogEnd> {
    let levels = ottla::telemetry::log_levels();
    for (logger, level) in &options.log_levels {
        levels.configure(logger, level);
    }
    if let Ok(directives) = std::env::var("RUST_LOG") {
        levels.configure_modules(&directives);
    }
    ottla::telemetry::init_logging(match options.config.ottla_log_format().as_str() {
        "json" => LogFormat::Json,
        _ => LogFormat::Kafka,
    })
}

/// The variables that are text.
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

fn run_tool(command: Command) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let result = match command {
        Command::DumpLog(options) => {
            let dumped = ottla::tools::dump_log::dump_log(&RealDisk, &options, &mut out, &mut std::io::stderr().lock());
            dumped.map(|()| true).map_err(anyhow::Error::from)
        }
        Command::Verify(options) => {
            // For its threads.
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let env = Env::real(runtime.handle().clone());
            ottla::tools::verify::verify(&env, &options, &mut out).map_err(anyhow::Error::from)
        }
        Command::Health(options) => {
            let config = Arguments::of_file(options.config.clone()).start_options(&RealDisk, environment())?.config;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let env = Env::real(runtime.handle().clone());
            runtime
                .block_on(ottla::tools::health::health(&env, &options, &config, &mut out))
                .map_err(anyhow::Error::from)
        }
    };
    // What was printed until an error stays printed.
    let flushed = out.flush();
    if !result? {
        std::process::exit(1);
    }
    flushed.context("cannot write")
}

/// The chain of causes; a cause that the text before it tells already is left out.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocators_option_has_the_number_that_is_set() {
        assert_eq!(mi_option_get(ARENA_MAX_OBJECT_SIZE), ARENA_MAX_OBJECT_KIB_DEFAULT);
        set_up_allocator();
        assert_eq!(mi_option_get(ARENA_MAX_OBJECT_SIZE), ARENA_MAX_OBJECT_KIB);
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("denied").context("cannot listen: denied").context("cannot start");
        assert_eq!(message(&error), "cannot start: cannot listen: denied");
        assert_eq!(message(&anyhow::anyhow!("one").context("two")), "two: one");
    }
}
