//! The source calls things by the industry's words. Those that were replaced do not come back.

use std::{fs, path::Path};

/// Words that are not used, and those in their place.
const RETIRED: [(&str, &str); 16] = [
    ("aftercare", "response plan"),
    ("asker", "seen revision"),
    ("askers", "seen revisions"),
    ("bank", "ledger"),
    ("cache_care", "cache policy"),
    ("gate", "waiting layer"),
    ("gated", "waiting service"),
    ("land", "finish"),
    ("loan", "pooled connection"),
    ("patience", "timeout"),
    ("retirement", "deprecation"),
    ("rounds", "idle sweep"),
    ("standing", "limit state"),
    ("take_off", "start"),
    ("upkeep", "write-back"),
    ("verdict", "next"),
];

/// Pronouns that stand where a noun exists: the client, the caller, the owner, another node.
const PRONOUNS: [&str; 8] =
    ["whoever", "somebody", "nobody", "everybody", "anybody", "someone", "anyone", "everyone"];

/// Words that begin no item's first line: in an index, it stands without the item.
const NO_SUBJECTS: [&str; 5] = ["What", "Whatever", "Who", "Whoever", "Whose"];

pub(crate) fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| ["rs", "lua", "sql", "md"].iter().any(|e| end == *e))
        {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The sources in these folders of the package.
fn all(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in folders {
        sources(&root.join(folder), &mut files);
    }
    files
}

/// The prose of a file, by the number of its line: a page, or the comments of a source. Without
/// code, which has names of its own.
fn prose<'t>(file: &str, text: &'t str) -> impl Iterator<Item = (usize, String)> + use<'t> {
    let is_page = Path::new(file).extension().is_some_and(|extension| extension == "md");
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let line = if is_page { line } else { line.split_once("//")?.1 };
        let is_fence = line.trim_start_matches(['/', '!', ' ']).starts_with("```");
        is_code ^= is_fence;
        let spoken = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        (!is_code && !is_fence).then_some((number + 1, spoken))
    })
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
    let files = all(&["src", "cli/src", "serving/src", "examples/server"]);
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

/// A line is one of text. Keys that replace each other are a lineage, in the parts of the source that
/// have no text. The columns and Redis keys that are named otherwise are older than the word.
#[test]
fn keys_that_replace_each_other_are_a_lineage() {
    const OTHERWISE: [&str; 6] = [
        "line of keys",
        "lines of keys",
        "of its line",
        "of their line",
        "line: KeyId",
        "Line(KeyId",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["credits", "limit/local", "limit/redis", "manage", "store", "usage"] {
        sources(&root.join("src").join(folder), &mut files);
    }
    let mut used = Vec::new();
    for (file, text) in &files {
        let is_script = Path::new(file).extension().is_some_and(|end| end == "lua");
        for (number, line) in text.lines().enumerate() {
            let is_used = |word: &str| words(line).any(|other| other == word);
            let has = |phrase: &str| {
                let mut rests =
                    line.match_indices(phrase).map(|(at, _)| &line[at + phrase.len()..]);
                rests.any(|rest| !rest.starts_with(char::is_alphabetic))
            };
            if is_script && is_used("line") && !line.contains("`line`")
                || file.contains("/credits/") && (is_used("line") || is_used("lines"))
                || OTHERWISE.iter().any(|otherwise| has(otherwise))
            {
                used.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(files.len() > 100 && used.is_empty(), "{used:#?}");
}

#[test]
fn prose_has_nouns() {
    let mut files = all(&["src", "cli/src", "serving/src", "examples", "benches", "docs"]);
    for page in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        files.push((page.to_owned(), fs::read_to_string(path).unwrap()));
    }
    assert!(files.len() > 300);
    let mut used = Vec::new();
    for (file, text) in &files {
        for (number, line) in prose(file, text) {
            let mut spoken = words(&line);
            if let Some(word) = spoken.find(|word| PRONOUNS.contains(&word.as_str())) {
                used.push(format!("{file}:{number}: {word}"));
            }
        }
    }
    assert!(used.is_empty(), "{used:#?}");
}

#[test]
fn prose_is_comments_and_pages_without_code() {
    let source = "let whoever = 1; // nobody\n/// `everybody` and someone\n/// ```\n/// anyone";
    let lines: Vec<_> = prose("a.rs", source).collect();
    assert_eq!(lines, [(1, " nobody".to_owned()), (2, "/   and someone".to_owned())]);
    assert_eq!(prose("a.md", "one\n```\ntwo\n```\nthree").count(), 2);
}

#[test]
fn first_lines_of_items_have_a_subject() {
    let mut used = Vec::new();
    for (file, text) in all(&[
        "src/manage",
        "src/http",
        "src/openapi",
        "cli/src",
        "serving/src",
        "examples",
        "benches",
    ]) {
        let mut is_first = true;
        for (number, line) in text.lines().map(str::trim_start).enumerate() {
            let doc = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
            let word = doc.and_then(|doc| doc.split(' ').next()).unwrap_or_default();
            if is_first && NO_SUBJECTS.contains(&word) {
                used.push(format!("{file}:{}: {line}", number + 1));
            }
            is_first = !line.starts_with("//");
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
