//! The house rules as a test: floors, sizes, names, contracts (design 2 and "How we build").

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 100;
const BANNED_NAMES: [&str; 5] = ["utils", "util", "helpers", "helper", "common"];

/// Rooms above the base, each with its floor: a room imports only lower floors, and itself.
const FLOORS: [(&str, u32); 14] = [
    ("storage", 1),
    ("metadata", 2),
    ("replica", 3),
    ("security", 3),
    ("quota", 3),
    ("tools", 3),
    ("coordinator", 4),
    ("api", 5),
    ("server", 6),
    ("broker", 7),
    ("cli", 7),
    ("lib", 8),
    ("main", 9),
    ("testing", 9),
];

/// Base rooms, each with the base rooms that it may import.
const BASE_EDGES: [(&str, &[&str]); 8] = [
    ("mutant", &[]),
    ("types", &[]),
    ("env", &["mutant"]),
    ("record", &["types"]),
    ("wire", &["types"]),
    ("config", &["types", "record"]),
    ("telemetry", &["types"]),
    ("client", &["types", "wire", "record", "env"]),
];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in read_dir(&directory) {
            if entry.is_dir() {
                directories.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let path = entry.strip_prefix(&root).expect("below src").to_owned();
                let first = path.iter().next().expect("a name").to_string_lossy();
                let room = first.trim_end_matches(".rs").to_owned();
                sources.push(Source { path, room, text: read(&entry) });
            }
        }
    }
    assert!(sources.len() > 10, "the tidy test found no sources");
    sources
}

#[expect(clippy::disallowed_methods, reason = "reads the sources, not the broker's data")]
fn read_dir(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).expect("src is readable").map(|entry| entry.expect("entry").path()).collect()
}

#[expect(clippy::disallowed_methods, reason = "reads the sources, not the broker's data")]
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("source is readable")
}

/// The code of a file that ships: what stands before its test module; nothing of a test file.
fn shipped(source: &Source) -> &str {
    let name = source.path.file_stem().unwrap_or_default().to_string_lossy();
    if name.ends_with("_tests") || name == "tests" || source.path.iter().any(|part| part == "tests") {
        return "";
    }
    source.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

fn may_import(room: &str, other: &str) -> bool {
    let floors = BTreeMap::from(FLOORS);
    let base = BTreeMap::from(BASE_EDGES);
    if room == other {
        return true;
    }
    match (floors.get(room), floors.get(other)) {
        (Some(floor), Some(other_floor)) => floor > other_floor,
        (Some(_), None) => base.contains_key(other),
        (None, Some(_)) => false,
        (None, None) => base.get(room).is_some_and(|edges| edges.contains(&other)),
    }
}

/// The rooms that a text names as `crate::room`.
fn imported_rooms(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut rooms = Vec::new();
    for line in code {
        for after in line.split("crate::").skip(1) {
            let name: String = after.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if after[name.len()..].starts_with("::") || after[name.len()..].starts_with(';') {
                rooms.push(name);
            }
        }
    }
    rooms
}

#[test]
fn rooms_import_only_lower_floors() {
    let mut wrong = Vec::new();
    for source in sources() {
        for room in imported_rooms(shipped(&source)) {
            if !may_import(&source.room, &room) {
                wrong.push(format!("{}: {} must not import {room}", source.path.display(), source.room));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the design does not have:\n{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_are_small() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            wrong.push(format!("{}: {} lines", source.path.display(), lines.len()));
        }
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let is_function = ["fn ", "async fn ", "const fn "].iter().any(|word| {
                code.strip_prefix("pub ").or(code.strip_prefix("pub(crate) ")).unwrap_or(code).starts_with(word)
            });
            if !is_function {
                continue;
            }
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let length = lines[start..].iter().position(|candidate| *candidate == end).unwrap_or(0);
            if length >= FUNCTION_LINES_MAX {
                wrong.push(format!("{}:{}: {length} lines", source.path.display(), start + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "too long:\n{}", wrong.join("\n"));
}

#[test]
fn names_say_something() {
    for source in sources() {
        let stem = source.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(!BANNED_NAMES.contains(&stem.as_str()), "{}: name it by what it does", source.path.display());
    }
}

#[test]
fn no_unfinished_work() {
    let markers = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    for source in sources() {
        for marker in &markers {
            assert!(!source.text.contains(marker), "{}: {marker}", source.path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for source in sources() {
        assert!(source.text.starts_with("//!"), "{}: no //! contract at the top", source.path.display());
    }
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies]");
        } else if in_dependencies && line.contains('=') {
            assert!(line.contains(" # "), "no reason given: {line}");
        }
    }
}

#[test]
fn the_rules_can_fail() {
    assert!(may_import("api", "storage") && may_import("storage", "env") && may_import("wire", "types"));
    assert!(!may_import("storage", "api") && !may_import("env", "storage") && !may_import("types", "wire"));
    assert!(!may_import("replica", "quota") && !may_import("storage", "nowhere"));
    assert_eq!(
        imported_rooms("use crate::storage::Log;\n// crate::api::x\nlet a = crate::env::Env;"),
        ["storage", "env"]
    );
}
