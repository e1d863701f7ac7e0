//! What has to be said twice is said alike: a fact in `Cargo.toml` against the places that repeat
//! it for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;

/// The declared `rust-version` is not a wish: no crate that a user of ours builds asks for more.
/// (That our own code asks for no more is clippy's `incompatible_msrv`.)
#[test]
fn rust_version_is_true() {
    let metadata = metadata();
    let packages: BTreeMap<&str, &Value> =
        items(&metadata["packages"]).map(|package| (text(&package["id"]), package)).collect();
    let root = text(&metadata["resolve"]["root"]);
    let declared = rust_version(packages[root]).expect("`rust-version` in Cargo.toml");

    let asking_more: Vec<String> = built_for_users(&metadata, root)
        .into_iter()
        .map(|id| packages[id])
        .filter(|package| rust_version(package) > Some(declared))
        .map(|package| format!("{} {}", package["name"], package["rust_version"]))
        .collect();
    assert!(asking_more.is_empty(), "rust-version is {declared:?}, but {asking_more:?}");
}

#[test]
fn the_readme_lists_every_feature() {
    assert_lists_features(&read("README.md"));
}

#[test]
fn the_crate_documentation_lists_every_feature() {
    let docs: Vec<_> = read("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned())
        .collect();
    assert_lists_features(&docs.join("\n"));
}

#[test]
fn the_crate_documentation_lists_every_metric() {
    fn names(text: &str, start: &str) -> BTreeSet<String> {
        let of_name = |c: &char| c.is_ascii_lowercase() || *c == '_';
        text.split(&format!("{start}tower_api_key_"))
            .skip(1)
            .map(|rest| rest.chars().take_while(of_name).collect())
            .collect()
    }
    let files = fs::read_dir(root().join("src/observe")).unwrap().map(|file| file.unwrap().path());
    let sources = files.filter(|path| !path.ends_with("described.rs"));
    let sources: Vec<_> = sources.map(|path| fs::read_to_string(path).unwrap()).collect();
    let made = names(&sources.concat(), "\"");
    assert!(made.contains("listening"), "{made:?}");
    assert_eq!(names(&read("src/lib.rs"), "| `"), made);
    assert_eq!(names(&read("src/observe/described.rs"), "\""), made);
}

/// The Rust version and our own, wherever people read them.
#[test]
fn repeated_versions_are_the_declared_ones() {
    let rust = env!("CARGO_PKG_RUST_VERSION");
    let this = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    for path in ["README.md", "src/lib.rs"] {
        let text = read(path);
        for (start, expected) in [
            ("Rust ", rust),
            ("tower-api-key = \"", this),
            ("tower-api-key = { version = \"", this),
        ] {
            for version in versions_after(start, &text) {
                assert_eq!(version, expected, "{path}, after {start:?}");
            }
        }
    }
}

#[test]
fn full_is_every_feature() {
    let features = features();
    let full: BTreeSet<&str> = features["full"].iter().map(String::as_str).collect();
    let all: BTreeSet<&str> = features.keys().map(String::as_str).collect();
    assert_eq!(full, &all - &BTreeSet::from(["default", "full"]));
}

#[test]
fn the_changelog_speaks_of_this_version() {
    let changelog = read("CHANGELOG.md");
    let version = concat!("## [", env!("CARGO_PKG_VERSION"), "]");
    let headings = [version, "## [Unreleased]"];
    let found = changelog.lines().any(|line| headings.iter().any(|h| line.starts_with(h)));
    assert!(found, "none of {headings:?} in CHANGELOG.md");
}

#[test]
fn the_readme_names_commands_that_exist() {
    let readme = read("README.md");
    for command in ["scripts/serve", "scripts/test"] {
        assert!(readme.contains(command), "{command:?} is not in README.md");
        assert!(root().join(command).exists(), "{command} is not there");
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What follows `start` in `text` and reads as a version.
fn versions_after<'t>(start: &str, text: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(start)
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit() && c != '.').next())
        .map(|version| version.trim_end_matches('.'))
        .filter(|version| version.contains('.'))
}

/// The table under the heading with the word "Features" has a row for each feature, in backticks
/// in its first column, and no other.
fn assert_lists_features(markdown: &str) {
    let listed: Vec<&str> = markdown
        .lines()
        .skip_while(|line| !(line.starts_with('#') && line.contains("Features")))
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix('|')?.trim_start().strip_prefix('`')?.split_once('`'))
        .map(|(feature, _)| feature)
        .filter(|feature| *feature != "default")
        .collect();
    let features = features();
    let mut expected: Vec<&str> = features.keys().map(String::as_str).collect();
    expected.retain(|feature| *feature != "default");
    let mut sorted = listed;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
}

/// The features of `Cargo.toml`, with what they turn on.
fn features() -> BTreeMap<String, Vec<String>> {
    let metadata = metadata();
    let root = &metadata["resolve"]["root"];
    let package = items(&metadata["packages"]).find(|package| package["id"] == *root).unwrap();
    serde_json::from_value(package["features"].clone()).unwrap()
}

/// What `cargo` knows of the package and everything it could be built with, on any platform.
pub(crate) fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--all-features", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The packages that a user of this one builds with it: all but those for its development.
pub(crate) fn built_for_users<'m>(metadata: &'m Value, package: &'m str) -> BTreeSet<&'m str> {
    let nodes: BTreeMap<&str, &Value> =
        items(&metadata["resolve"]["nodes"]).map(|node| (text(&node["id"]), node)).collect();
    let mut reached = BTreeSet::new();
    let mut open = vec![package];
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            let deps = items(&nodes[id]["deps"]);
            let built = deps.filter(|d| items(&d["dep_kinds"]).any(|kind| kind["kind"] != "dev"));
            open.extend(built.map(|dep| text(&dep["pkg"])));
        }
    }
    reached
}

/// The `rust-version` of a package, as numbers that compare.
fn rust_version(package: &Value) -> Option<(u32, u32, u32)> {
    let mut numbers = package["rust_version"].as_str()?.split('.').map(|n| n.parse().unwrap());
    let mut next = || numbers.next().unwrap_or(0);
    Some((next(), next(), next()))
}

pub(crate) fn items(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().unwrap().iter()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
