//! Limits of the process.

/// Raises the number of files and sockets that may be open to the hard limit, which needs no rights; the number after
/// it. Shells give 1,024, which a few hundred partitions and clients use up.
pub fn raise_open_files_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // macOS refuses an unlimited number; then it stays as it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    open_files_limit()
}

/// How many files and sockets may be open; `None`: any number.
pub fn open_files_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Starts this program again with other arguments, in the background: on its own when a terminal is closed, without input, its output
/// and errors in `output`, which is emptied.
///
/// # Errors
/// The file or its directory cannot be made; there is no room for a process.
#[expect(clippy::disallowed_methods, reason = "the console's file, and not the broker's data")]
pub fn start_in_background(arguments: &[String], output: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    if let Some(directory) = output.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let file = std::fs::File::create(output)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.process_group(0).spawn().map(drop)
}

/// Threads that can run at once; 1 when the system does not tell.
pub fn available_parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_the_hard_one() {
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        assert_eq!(super::raise_open_files_limit(), hard);
    }
}
