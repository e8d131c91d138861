//! `ottla verify DIR`: a whole data directory compared with itself, without a broker and without a change.
//!
//! The report is one page: what there is, and every problem with file, byte and meaning. Logs are read in parallel, front to back, so
//! that the disk is what limits.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use parking_lot::Mutex;

use crate::env::{Env, available_parallelism};
use crate::metadata::{MetadataImage, VerifiedMetadata, verify_metadata};
use crate::storage::{
    LogExpectations, Problem, Severity, VerifiedDirectory, VerifiedLog, encode_uuid, verify_directory, verify_log,
};
use crate::types::{CLUSTER_METADATA_TOPIC_NAME, TopicPartition};

const LOCK_FILE: &str = ".lock";
/// Problems printed; of more, the count is told.
const PROBLEMS_PRINTED_MAX: usize = 100;
/// Logs read at once.
const THREADS_MAX: usize = 16;

/// What to check.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct VerifyOptions {
    /// Data directories (log.dirs), the one with the metadata first
    #[arg(value_name = "DIR", required = true)]
    pub directories: Vec<PathBuf>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory is in use.
    #[error("{}: a broker is running on it. Stop it first", .0.display())]
    Running(PathBuf),
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Nothing in it looks like a broker's data.
    #[error("{} is no data directory: it has neither meta.properties nor logs", .0.display())]
    NoData(PathBuf),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Everything that was seen.
#[derive(Default)]
struct Seen {
    logs: Vec<VerifiedLog>,
    problems: Vec<Problem>,
    unlisted: u64,
}

impl Seen {
    fn add(&mut self, severity: Severity, path: &Path, position: Option<u64>, what: impl Into<String>) {
        self.problems.push(Problem { severity, path: path.to_owned(), position, what: what.into() });
    }
}

/// Checks the directories and prints the report. True if nothing is damaged and every cache is right: what an unclean stop leaves
/// for the next start is told and is no fault.
///
/// # Errors
/// A broker runs on a directory, or it is none.
pub fn verify(env: &Env, options: &VerifyOptions, out: &mut dyn Write) -> Result<bool, VerifyError> {
    let started = env.clock.monotonic();
    let _locks = options.directories.iter().map(|path| lock(env, path)).collect::<Result<Vec<_>, _>>()?;
    let mut seen = Seen::default();
    let mut work = Vec::new();
    let mut metadata = None;
    let mut directories = Vec::new();
    for path in &options.directories {
        let read = |error| VerifyError::Read { path: path.clone(), error };
        let directory = verify_directory(&*env.disk, path).map_err(read)?;
        if directory.properties.is_none() && directory.logs.is_empty() {
            return Err(VerifyError::NoData(path.clone()));
        }
        for (name, log, _) in directory.logs.iter().filter(|(name, ..)| &*name.topic == CLUSTER_METADATA_TOPIC_NAME) {
            if name.partition == 0 && metadata.is_none() {
                metadata = Some(verify_metadata(&*env.disk, log));
            }
        }
        directories.push((path.clone(), directory));
    }
    for (path, directory) in &mut directories {
        compare_with_metadata(path, directory, metadata.as_ref().map(|metadata| &metadata.image), &mut seen);
        work.append(&mut directory.logs);
        seen.problems.append(&mut directory.problems.list);
        seen.unlisted += directory.problems.unlisted;
    }
    verify_logs(env, work, &mut seen);
    for (path, position, reason) in metadata.iter().flat_map(|metadata| &metadata.problems) {
        seen.add(Severity::Damage, path, *position, format!("the metadata: {reason}"));
    }
    let elapsed = env.clock.monotonic().saturating_sub(started).as_secs_f64();
    report(&directories, metadata.as_ref(), seen, elapsed, out)
}

/// Takes the lock that a broker holds, if a broker was ever here.
fn lock(env: &Env, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, VerifyError> {
    let file = path.join(LOCK_FILE);
    if env.disk.metadata(&file).is_err() {
        return Ok(None);
    }
    match env.disk.lock(&file) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(VerifyError::Running(path.to_owned())),
        // A read-only file system: nobody can be writing.
        Err(_) => Ok(None),
    }
}

/// Gives every log its topic's id; logs that the metadata does not know, and partitions that have no log.
fn compare_with_metadata(
    path: &Path,
    directory: &mut VerifiedDirectory,
    image: Option<&MetadataImage>,
    seen: &mut Seen,
) {
    let Some(image) = image else {
        seen.add(Severity::Damage, path, None, "there is no log of the metadata, __cluster_metadata-0");
        return;
    };
    for (name, log, expectations) in &mut directory.logs {
        if expectations.is_metadata {
            continue;
        }
        match image.topics.topic(&name.topic).filter(|topic| topic.partition(name.partition).is_some()) {
            Some(topic) => expectations.topic_id = Some(topic.id),
            None => {
                seen.add(Severity::Unfinished, log, None, "the metadata has no such partition; a start sets it aside")
            }
        }
    }
    let Some((id, node)) = directory.properties.as_ref().and_then(|own| Some((own.directory_id?, own.node_id))) else {
        return;
    };
    let present: std::collections::HashSet<&TopicPartition> = directory.logs.iter().map(|(name, ..)| name).collect();
    let severity = if directory.is_clean { Severity::Damage } else { Severity::Unfinished };
    for topic in image.topics.by_name().values() {
        for (number, _) in topic.partitions().filter(|(_, partition)| partition.directory(node) == Some(id)) {
            let name = TopicPartition::new(&*topic.name, number);
            if !present.contains(&name) {
                seen.add(severity, &path.join(name.to_string()), None, "the partition's directory is missing");
            }
        }
    }
}

type Work = (TopicPartition, PathBuf, LogExpectations);

/// Reads the logs, several at once.
fn verify_logs(env: &Env, work: Vec<Work>, seen: &mut Seen) {
    let threads = available_parallelism().min(THREADS_MAX).min(work.len());
    let queue = Arc::new(Mutex::new(work));
    let results = Arc::new(Mutex::new(Vec::new()));
    let (done, finished) = sync_channel::<()>(threads.max(1));
    for _ in 1..threads {
        let (env_there, queue, results, done) = (env.clone(), queue.clone(), results.clone(), done.clone());
        env.spawn.spawn_blocking(
            "verify",
            Box::new(move || {
                drain(&env_there, &queue, &results);
                let _ = done.send(());
            }),
        );
    }
    drop(done);
    drain(env, &queue, &results);
    while finished.recv().is_ok() {}
    for (path, result) in std::mem::take(&mut *results.lock()) {
        match result {
            Err(error) => seen.add(Severity::Damage, &path, None, format!("the log cannot be read: {error}")),
            Ok(mut log) => {
                seen.problems.append(&mut log.problems.list);
                seen.unlisted += log.problems.unlisted;
                seen.logs.push(log);
            }
        }
    }
}

type Results = Mutex<Vec<(PathBuf, io::Result<VerifiedLog>)>>;

fn drain(env: &Env, queue: &Mutex<Vec<Work>>, results: &Results) {
    loop {
        let Some((_, path, expectations)) = queue.lock().pop() else { return };
        let result = verify_log(&*env.disk, &path, &expectations);
        results.lock().push((path, result));
    }
}

fn report(
    directories: &[(PathBuf, VerifiedDirectory)],
    metadata: Option<&VerifiedMetadata>,
    mut seen: Seen,
    seconds: f64,
    out: &mut dyn Write,
) -> Result<bool, VerifyError> {
    for (path, directory) in directories {
        let stop = if directory.is_clean { "stopped cleanly" } else { "not stopped cleanly" };
        write!(out, "{}: {stop}", path.display())?;
        if let Some(own) = &directory.properties {
            let id = own.directory_id.map_or_else(|| "none".to_owned(), encode_uuid);
            write!(out, "; cluster {}, node {}, directory {id}", own.cluster_id, own.node_id)?;
        }
        let set_aside =
            if directory.set_aside > 0 { format!("; {} set aside", directory.set_aside) } else { String::new() };
        writeln!(out, "{set_aside}")?;
    }
    if let Some(metadata) = metadata {
        let topics = metadata.image.topics.by_name();
        let partitions: usize = topics.values().map(|topic| topic.partitions.len()).sum();
        writeln!(
            out,
            "metadata   {} topics, {partitions} partitions; {} snapshots, {} records behind the newest",
            topics.len(),
            metadata.snapshots,
            metadata.records
        )?;
    }
    let sum = |of: fn(&VerifiedLog) -> u64| seen.logs.iter().map(of).sum::<u64>();
    let bytes = sum(|log| log.bytes);
    let speed = bytes as f64 / 1_048_576.0 / seconds.max(0.001);
    writeln!(out, "logs       {} with {} segments", seen.logs.len(), sum(|log| log.segments))?;
    writeln!(out, "batches    {} with {} records", sum(|log| log.batches), sum(|log| log.records))?;
    writeln!(out, "bytes      {bytes} in {seconds:.1} s ({speed:.0} MiB/s)")?;
    let missing = sum(|log| log.missing_offsets);
    if missing > 0 {
        writeln!(out, "gaps       {missing} offsets between batches: compaction leaves such")?;
    }
    seen.problems.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.path.cmp(&other.path)));
    let count = |severity| seen.problems.iter().filter(|problem| problem.severity == severity).count();
    let (damage, caches, unfinished) = (count(Severity::Damage), count(Severity::Cache), count(Severity::Unfinished));
    for (severity, title) in [
        (Severity::Damage, "DAMAGE: this is not what was written"),
        (Severity::Cache, "WRONG CACHES: the log has the truth; a start or a read rebuilds them or does without"),
        (Severity::Unfinished, "unfinished: an unclean stop leaves this, the next start completes it"),
    ] {
        let mut of_kind = seen.problems.iter().filter(|problem| problem.severity == severity).peekable();
        if of_kind.peek().is_some() {
            writeln!(out, "{title}")?;
        }
        for problem in of_kind.take(PROBLEMS_PRINTED_MAX) {
            writeln!(out, "  {problem}")?;
        }
    }
    let more = seen.unlisted + seen.problems.len().saturating_sub(PROBLEMS_PRINTED_MAX) as u64;
    if more > 0 {
        writeln!(out, "  at most {more} more of them are not listed")?;
    }
    let good = damage == 0 && caches == 0 && seen.unlisted == 0;
    let verdict = if good { "good" } else { "NOT GOOD" };
    writeln!(out, "{verdict}: {damage} damaged, {caches} wrong caches, {unfinished} unfinished")?;
    out.flush()?;
    Ok(good)
}

#[cfg(test)]
#[path = "verify/bit_rot_tests.rs"]
mod bit_rot_tests;
#[cfg(test)]
#[path = "verify/verify_tests.rs"]
mod tests;
