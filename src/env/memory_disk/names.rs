//! Which names are on the platter: directory entries, and the changes to them that no directory sync has covered.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::MemoryFile;

/// A directory, whatever its name is now.
pub(super) type DirectoryId = u64;

/// The directories that are always there: `/`, and those that relative paths begin at.
pub(super) const ROOTS: [(&str, DirectoryId); 3] = [("/", 0), ("", 1), (".", 2)];

/// A name in a directory.
pub(super) type Entry = (DirectoryId, OsString);

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Node {
    File(Arc<MemoryFile>),
    Directory(DirectoryId),
}

/// One change of names; each is on the platter as a whole or not at all.
#[derive(Clone)]
pub(super) enum NameChange {
    Link { at: Entry, node: Node },
    Unlink { at: Entry },
    Move { from: Entry, to: Entry, node: Node },
}

impl NameChange {
    fn directories(&self) -> [DirectoryId; 2] {
        match self {
            Self::Link { at, .. } | Self::Unlink { at } => [at.0, at.0],
            Self::Move { from, to, .. } => [from.0, to.0],
        }
    }

    fn apply(&self, names: &mut BTreeMap<Entry, Node>) {
        match self {
            Self::Link { at, node } => {
                names.insert(at.clone(), node.clone());
            }
            Self::Unlink { at } => {
                names.remove(at);
            }
            Self::Move { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), node.clone());
            }
        }
    }
}

impl std::fmt::Display for NameChange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Link { at, .. } => write!(formatter, "create {}", at.1.display()),
            Self::Unlink { at } => write!(formatter, "remove {}", at.1.display()),
            Self::Move { from, to, .. } => write!(formatter, "rename {} to {}", from.1.display(), to.1.display()),
        }
    }
}

/// The names on the platter.
#[derive(Clone, Default)]
pub(super) struct Names {
    durable: BTreeMap<Entry, Node>,
    /// In the order in which they were made.
    pending: Vec<NameChange>,
}

impl Names {
    pub(super) fn change(&mut self, change: NameChange) {
        self.pending.push(change);
    }

    pub(super) fn pending(&self) -> &[NameChange] {
        &self.pending
    }

    /// A name that was there before the disk was watched.
    pub(super) fn insert_durable(&mut self, at: Entry, node: Node) {
        self.durable.insert(at, node);
    }

    /// Makes the changes in a directory durable. A rename between directories is one change: it brings the other directory along.
    pub(super) fn sync(&mut self, directory: DirectoryId) {
        let mut together = BTreeSet::from([directory]);
        loop {
            let before = together.len();
            let moves = self.pending.iter().filter(|change| matches!(change, NameChange::Move { .. }));
            for directories in moves.map(NameChange::directories) {
                if directories.iter().any(|directory| together.contains(directory)) {
                    together.extend(directories);
                }
            }
            if together.len() == before {
                break;
            }
        }
        let is_synced = |change: &mut NameChange| together.contains(&change.directories()[0]);
        for change in self.pending.extract_if(.., is_synced) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn sync_all(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Every file that is, or may be, on the platter.
    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<MemoryFile>> {
        let pending = self.pending.iter().filter_map(|change| match change {
            NameChange::Link { node, .. } | NameChange::Move { node, .. } => Some(node),
            NameChange::Unlink { .. } => None,
        });
        self.durable.values().chain(pending).filter_map(|node| match node {
            Node::File(file) => Some(file),
            Node::Directory(_) => None,
        })
    }

    /// The same names of other files.
    pub(super) fn map_files(&self, replace: impl Fn(&Arc<MemoryFile>) -> Arc<MemoryFile>) -> Self {
        let replace = |node: &Node| match node {
            Node::File(file) => Node::File(replace(file)),
            Node::Directory(id) => Node::Directory(*id),
        };
        let durable = self.durable.iter().map(|(at, node)| (at.clone(), replace(node))).collect();
        let pending = self.pending.iter().map(|change| match change {
            NameChange::Link { at, node } => NameChange::Link { at: at.clone(), node: replace(node) },
            NameChange::Unlink { at } => NameChange::Unlink { at: at.clone() },
            NameChange::Move { from, to, node } => {
                NameChange::Move { from: from.clone(), to: to.clone(), node: replace(node) }
            }
        });
        Self { durable, pending: pending.collect() }
    }

    /// All paths when, of the pending changes, those that `survives` says reached the platter.
    pub(super) fn paths_after(&self, survives: impl Fn(usize) -> bool) -> Vec<(PathBuf, Node)> {
        let mut names = self.durable.clone();
        for (_, change) in self.pending.iter().enumerate().filter(|(index, _)| survives(*index)) {
            change.apply(&mut names);
        }
        let mut paths = Vec::new();
        let mut directories: Vec<(PathBuf, DirectoryId)> =
            ROOTS.iter().map(|(root, id)| (PathBuf::from(root), *id)).collect();
        while let Some((path, id)) = directories.pop() {
            let first = (id, OsString::new());
            for ((_, name), node) in names.range(first..).take_while(|((directory, _), _)| *directory == id) {
                let path = Path::join(&path, name);
                if let Node::Directory(id) = node {
                    directories.push((path.clone(), *id));
                }
                paths.push((path, node.clone()));
            }
        }
        paths
    }
}
