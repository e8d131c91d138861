//! What a power cut may leave: every disk that POSIX allows.
//!
//! What was synced is there. Of the rest anything may be: each change of names happened or did not, whatever the others did, so
//! that a rename may be there and the bytes of the renamed file not; a file has one of the lengths it had since its sync; each
//! 512-byte sector holds what it held at the sync, or after one of the writes since, whatever the others hold.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::contents::{Contents, FileChange, Unsynced};
use super::file::MemoryFile;
use super::names::{Names, Node};
use super::{MemoryDisk, SeededRandom};
use crate::env::Random;

/// What a disk writes as a whole or not at all.
const SECTOR_SIZE: usize = 512;

/// All disks that may be left after a power cut.
pub struct PowerCuts {
    disk: MemoryDisk,
    names: Names,
    files: Vec<FileChoices>,
    /// How many outcomes each independent thing has: changes of names, then for each file its length and its sectors.
    outcomes: Vec<u32>,
}

/// One disk that may be left after a power cut.
pub struct PowerCut {
    /// The disk; everything on it is durable.
    pub disk: MemoryDisk,
    /// Which of the outcomes of each independent thing it has; 0 is the state as of the last sync.
    pub choice: Vec<u32>,
}

struct FileChoices {
    file: Arc<MemoryFile>,
    unsynced: Unsynced,
    /// Where its choices begin.
    first: usize,
    /// Numbers of changes after which the length was another; the first stands for the length as of the sync.
    lengths: Vec<usize>,
    /// Of each written sector, the numbers of the writes to it.
    sectors: BTreeMap<usize, Vec<usize>>,
}

impl PowerCuts {
    pub(super) fn new(disk: MemoryDisk) -> Self {
        let names = disk.state.lock().names.clone().expect("an ephemeral disk has no durable state");
        let mut outcomes = vec![2; names.pending().len()];
        let mut files: Vec<FileChoices> = Vec::new();
        for file in names.files() {
            if files.iter().any(|known| Arc::ptr_eq(&known.file, file)) {
                continue;
            }
            let unsynced = file.state.read().unsynced.clone().unwrap_or_default();
            let choices = FileChoices::new(file.clone(), unsynced, outcomes.len());
            outcomes.push(choices.lengths.len() as u32);
            outcomes.extend(choices.sectors.values().map(|writes| writes.len() as u32 + 1));
            files.push(choices);
        }
        Self { disk, names, files, outcomes }
    }

    /// How many disks there may be.
    pub fn count(&self) -> u128 {
        self.outcomes.iter().fold(1, |product: u128, outcomes| product.saturating_mul(u128::from(*outcomes)))
    }

    /// The disk that lost everything that was not synced.
    pub fn nothing_survives(&self) -> MemoryDisk {
        self.disk_of(&vec![0; self.outcomes.len()])
    }

    /// All disks, if there are at most `limit`. Otherwise `limit` of them: those in which everything, nothing, or all but one thing
    /// survived, or only one, and random ones of a seed.
    pub fn take(&self, limit: usize, seed: u64) -> impl Iterator<Item = PowerCut> + '_ {
        let choices: Box<dyn Iterator<Item = Vec<u32>>> = if self.count() <= limit as u128 {
            Box::new(self.all())
        } else {
            Box::new(self.corners().chain(self.random(seed)).take(limit))
        };
        choices.map(|choice| PowerCut { disk: self.disk_of(&choice), choice })
    }

    fn all(&self) -> impl Iterator<Item = Vec<u32>> + '_ {
        let mut next = Some(vec![0; self.outcomes.len()]);
        std::iter::from_fn(move || {
            let choice = next.take()?;
            let mut following = choice.clone();
            for (digit, outcomes) in following.iter_mut().zip(&self.outcomes) {
                *digit += 1;
                if *digit < *outcomes {
                    next = Some(following);
                    break;
                }
                *digit = 0;
            }
            Some(choice)
        })
    }

    fn corners(&self) -> impl Iterator<Item = Vec<u32>> + '_ {
        let nothing = vec![0; self.outcomes.len()];
        let everything: Vec<u32> = self.outcomes.iter().map(|outcomes| outcomes - 1).collect();
        let open: Vec<usize> = (0..self.outcomes.len()).filter(|index| self.outcomes[*index] > 1).collect();
        let but_one = |base: &[u32], other: &[u32], index: usize| {
            let mut choice = base.to_vec();
            choice[index] = other[index];
            choice
        };
        let all = [nothing.clone(), everything.clone()];
        all.into_iter().chain(
            open.into_iter()
                .flat_map(move |index| [but_one(&everything, &nothing, index), but_one(&nothing, &everything, index)]),
        )
    }

    fn random(&self, seed: u64) -> impl Iterator<Item = Vec<u32>> + '_ {
        let random = SeededRandom::new(seed);
        std::iter::repeat_with(move || {
            // Few or many survivors, not always half of them.
            let (bias, scale) = (random.next_u64() % 7 + 1, 8);
            let survives = || random.next_u64() % scale < bias;
            let pick = |outcomes: &u32| match outcomes {
                1 => 0,
                _ if !survives() => 0,
                outcomes => 1 + (random.next_u64() % u64::from(outcomes - 1)) as u32,
            };
            self.outcomes.iter().map(pick).collect()
        })
    }

    /// The disk of a choice, as [`PowerCut::choice`] has it.
    pub fn disk_of(&self, choice: &[u32]) -> MemoryDisk {
        let paths = self.names.paths_after(|index| choice[index] == 1);
        let contents = |node: Node| match node {
            Node::Directory(_) => None,
            Node::File(file) => {
                let known = self.files.iter().find(|known| Arc::ptr_eq(&known.file, &file));
                known.map(|known| known.contents(&choice[known.first..]))
            }
        };
        let paths: Vec<(PathBuf, Option<Contents>)> =
            paths.into_iter().map(|(path, node)| (path, contents(node))).collect();
        MemoryDisk::of_durable(self.disk.device.clock.clone(), paths)
    }

    /// A choice in words.
    pub fn describe(&self, choice: &[u32]) -> String {
        let mut words = Vec::new();
        for (change, survives) in self.names.pending().iter().zip(choice) {
            words.push(format!("{} {change}", if *survives == 1 { "did" } else { "did not" }));
        }
        for file in self.files.iter().filter(|file| !file.unsynced.changes.is_empty()) {
            let path = self.disk.path_of(&file.file).unwrap_or_default();
            let choice = &choice[file.first..];
            let sectors: Vec<String> = (file.sectors.iter().zip(&choice[1..]))
                .map(|((sector, writes), version)| format!("{sector}:{version}/{}", writes.len()))
                .collect();
            let (length, sectors) = (file.len_at(choice[0]), sectors.join(" "));
            words.push(format!("{} has {length} bytes, sectors {sectors}", path.display()));
        }
        words.join("; ")
    }
}

impl FileChoices {
    fn new(file: Arc<MemoryFile>, unsynced: Unsynced, first: usize) -> Self {
        let mut lengths = vec![0];
        let mut sectors: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut len = unsynced.durable.len();
        for (number, change) in (1..).zip(&unsynced.changes) {
            let after = length_after(len, change);
            if after != len {
                lengths.push(number);
                len = after;
            }
            if let FileChange::Write { offset, bytes } = change {
                for sector in offset / SECTOR_SIZE..(offset + bytes.len()).div_ceil(SECTOR_SIZE) {
                    sectors.entry(sector).or_default().push(number);
                }
            }
        }
        Self { file, unsynced, first, lengths, sectors }
    }

    fn len_at(&self, choice: u32) -> usize {
        let changes = &self.unsynced.changes[..self.lengths[choice as usize]];
        changes.iter().fold(self.unsynced.durable.len(), length_after)
    }

    /// The bytes of a choice: of a length, then of a version for each written sector.
    fn contents(&self, choice: &[u32]) -> Contents {
        if self.unsynced.changes.is_empty() {
            return self.unsynced.durable.clone();
        }
        let length_as_of = self.lengths[choice[0] as usize];
        let mut bytes = self.unsynced.durable.to_vec();
        self.cut_as_of(length_as_of, 0, &mut bytes);
        bytes.resize(self.len_at(choice[0]), 0);
        for ((sector, writes), version) in self.sectors.iter().zip(&choice[1..]) {
            let start = sector * SECTOR_SIZE;
            let Some(written_as_of) = version.checked_sub(1).map(|version| writes[version as usize]) else { continue };
            if start >= bytes.len() {
                break;
            }
            let end = bytes.len().min(start + SECTOR_SIZE);
            let held = self.sector(start, written_as_of.max(length_as_of), written_as_of);
            bytes[start..end].copy_from_slice(&held[..end - start]);
        }
        Contents::of(&bytes)
    }

    /// Zeroes what the cuts among the first `as_of` changes took, from `start` on.
    fn cut_as_of(&self, as_of: usize, start: usize, bytes: &mut [u8]) {
        for change in &self.unsynced.changes[..as_of] {
            if let FileChange::SetLen(len) = change {
                let cut = len.saturating_sub(start).min(bytes.len());
                bytes[cut..].fill(0);
            }
        }
    }

    /// A sector after the changes to `as_of`, of the writes only those to `written_as_of`.
    fn sector(&self, start: usize, as_of: usize, written_as_of: usize) -> Vec<u8> {
        let mut held = vec![0; SECTOR_SIZE];
        self.unsynced.durable.read(&mut held, start);
        for (number, change) in (1..=as_of).zip(&self.unsynced.changes) {
            match change {
                FileChange::SetLen(len) => held[len.saturating_sub(start).min(SECTOR_SIZE)..].fill(0),
                FileChange::Write { offset, bytes } if number <= written_as_of => {
                    let from = start.max(*offset);
                    let to = (start + SECTOR_SIZE).min(offset + bytes.len());
                    if from < to {
                        held[from - start..to - start].copy_from_slice(&bytes[from - offset..to - offset]);
                    }
                }
                FileChange::Write { .. } => {}
            }
        }
        held
    }
}

fn length_after(len: usize, change: &FileChange) -> usize {
    match change {
        FileChange::Write { offset, bytes } => len.max(offset + bytes.len()),
        FileChange::SetLen(len) => *len,
    }
}
