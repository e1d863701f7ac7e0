//! The guides are read on GitHub as well, by readers who copy their programs.

use std::{collections::BTreeSet, fs, path::Path};

/// What the program of a page may use.
const CRATES: [&str; 21] = [
    "axum",
    "bytes",
    "http",
    "http_body",
    "http_body_util",
    "hyper",
    "hyper_util",
    "metrics",
    "serde",
    "serde_json",
    "tempfile",
    "tokio",
    "tokio_stream",
    "tonic",
    "tonic_health",
    "tower",
    "tower_api_key",
    "tower_http",
    "tracing",
    "tracing_subscriber",
    "utoipa",
];

/// Each page, by its name.
fn pages() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

/// The lines of each fence of this kind.
fn blocks<'p>(page: &'p str, kind: &str) -> Vec<Vec<&'p str>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(found) = line.strip_prefix("```") {
            let block = lines.by_ref().take_while(|line| *line != "```").collect();
            if found.split(',').next() == Some(kind) {
                blocks.push(block);
            }
        }
    }
    blocks
}

/// Whether these lines name this crate at the beginning of a path.
fn names(lines: &[&str], name: &str) -> bool {
    let path = format!("{name}::");
    let continues = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    lines.iter().any(|line| {
        let mut found = line.match_indices(&path);
        found.any(|(at, _)| !line[..at].ends_with(continues))
    })
}

/// GitHub shows the lines that rustdoc hides.
#[test]
fn programs_have_no_hidden_lines() {
    for (page, text) in pages() {
        for line in blocks(&text, "rust").concat() {
            let is_hidden = line.trim() == "#" || line.trim_start().starts_with("# ");
            assert!(!is_hidden, "{page}: {line}");
        }
    }
}

#[test]
fn programs_say_what_to_add() {
    for (page, text) in pages() {
        let added: BTreeSet<String> = blocks(&text, "sh")
            .concat()
            .iter()
            .filter_map(|line| line.strip_prefix("cargo add "))
            .flat_map(|line| line.split(" --").next().unwrap_or_default().split(' '))
            .map(|name| name.replace('-', "_"))
            .collect();
        let code = blocks(&text, "rust").concat();
        for name in CRATES {
            let is_used = names(&code, name);
            assert!(!is_used || added.contains(name), "{page}: no `cargo add {name}`");
        }
    }
}
