//! Imports run downward: a folder of `src/` uses those below it and none above.
//!
//! Read as text, without a parser: `crate::folder`, in `use` lines and elsewhere. Unit tests may
//! look upward, since nothing is built on them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The folders and files at the top of `src/`, from the bottom up.
const ROOMS: [&str; 31] = [
    "error",
    "url",
    "text",
    "object",
    "protobuf",
    "clock",
    "key",
    "request",
    "runtime",
    "observe",
    "telemetry",
    "client",
    "redis",
    "store",
    "legacy",
    "usage",
    "rejection",
    "limit",
    "credits",
    "throttle",
    "auth",
    "inner",
    "forward_auth",
    "tonic",
    "manage",
    "openapi",
    "http",
    "testing",
    "guide",
    "fuzzing",
    "lib",
];

#[test]
fn imports_run_downward() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut upward, mut found) = (Vec::new(), BTreeSet::new());
    for file in rust_files(&source) {
        let inside = file.strip_prefix(&source).unwrap();
        let name = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = name.trim_end_matches(".rs");
        found.insert(room.to_owned());
        let level_here = level(room);
        if inside.file_name().unwrap() == "tests.rs" || room == "lib" {
            continue;
        }
        for used in rooms_used(&fs::read_to_string(&file).unwrap()) {
            if used != room && level(&used) >= level_here {
                upward.push(format!("{} uses {used}", inside.display()));
            }
        }
    }
    assert!(upward.is_empty(), "{upward:#?}");
    assert_eq!(found, ROOMS.map(str::to_owned).into(), "the list above is not what is there");
}

#[test]
fn rooms_are_found_in_imports() {
    let source = "use crate::{\n    key::{KeyId, Scopes},\n    observe,\n    text::Text,\n};\n\
        use crate::error::ConfigError;\n// crate::manage\n/// [`x`](crate::http)\n\
        let a = crate::usage::b();\n#[cfg(test)]\nmod tests {\n    use crate::limit::c;\n}\n";
    let used: Vec<_> = rooms_used(source).into_iter().collect();
    assert_eq!(used, ["error", "key", "observe", "text", "usage"]);
}

fn level(room: &str) -> usize {
    let level = ROOMS.iter().position(|known| *known == room);
    level.unwrap_or_else(|| panic!("{room:?} is not in the list above: say where it belongs"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The first names behind `crate::`, also in a group, outside of comments and unit tests.
fn rooms_used(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => used.extend(heads(group)),
            None => used.extend(name(rest)),
        }
    }
    used
}

/// The first name of each path in a group, up to its closing brace.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut starts, mut heads) = (0_usize, true, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts = true,
            _ if starts && !character.is_whitespace() => {
                starts = false;
                heads.extend(name(&group[at..]));
            }
            _ => {}
        }
    }
    heads
}

/// A folder's name. Types, the macro `nonzero` and those with `__` are at the root.
fn name(path: &str) -> Option<String> {
    let of_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let end = path.find(|c| !of_name(c)).unwrap_or(path.len());
    let is_macro = path[..end] == *"nonzero" || path.starts_with("__");
    (end > 0 && !is_macro).then(|| path[..end].to_owned())
}
