//! The source calls things by the industry's words. Those that were replaced do not come back.

use std::{fs, path::Path};

/// What is not said, and what is said instead.
const RETIRED: [(&str, &str); 15] = [
    ("aftercare", "response plan"),
    ("asker", "seen revision"),
    ("askers", "seen revisions"),
    ("bank", "ledger"),
    ("cache_care", "cache policy"),
    ("gate", "waiting layer"),
    ("gated", "waiting service"),
    ("land", "finish"),
    ("loan", "pooled connection"),
    ("retirement", "deprecation"),
    ("rounds", "idle sweep"),
    ("standing", "limit state"),
    ("take_off", "start"),
    ("upkeep", "write-back"),
    ("verdict", "next"),
];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "lua" || end == "sql") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The words of a line; names are words, and so are their parts.
fn words(line: &str) -> impl Iterator<Item = String> {
    let names = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    names.flat_map(|name| {
        let mut parts = vec![name.to_lowercase()];
        let mut part = String::new();
        for c in name.chars() {
            if (c == '_' || c.is_ascii_uppercase()) && !part.is_empty() {
                parts.push(std::mem::take(&mut part).to_lowercase());
            }
            if c != '_' {
                part.push(c);
            }
        }
        parts.push(part.to_lowercase());
        parts
    })
}

#[test]
fn retired_words_stay_away() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "cli/src", "examples/server"] {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 200);
    let mut used = Vec::new();
    for (file, text) in &files {
        for (number, line) in text.lines().enumerate() {
            for word in words(line) {
                if let Some((_, instead)) = RETIRED.iter().find(|(retired, _)| *retired == word) {
                    used.push(format!("{file}:{}: {word}; say {instead}", number + 1));
                }
            }
        }
    }
    assert!(used.is_empty(), "{used:#?}");
}

#[test]
fn words_are_parts_of_names() {
    let found: Vec<_> = words("let bank = OwnerGate::take_off(self.held);").collect();
    for word in ["bank", "gate", "take_off", "held"] {
        assert!(found.iter().any(|other| other == word), "{found:?}");
    }
}
