//! What we depend on: under which licences, from where, and nothing twice.
//!
//! The checks of `cargo deny`, which takes minutes to build where there is none. Its list of
//! advisories is not asked for: it changes by the day, and a change of ours should not fail by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::facts::{built_for_users, items, metadata, root, text};

/// Each asks for a notice and no more.
const LICENCES: [&str; 7] =
    ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "MIT", "Unicode-3.0", "Zlib"];

/// A second calendar, a second TLS, a runtime beside ours, or a library of the system.
const BANNED: [&str; 7] =
    ["async-std", "chrono", "libsodium-sys", "native-tls", "openssl-sys", "smol", "time"];

/// Other people's crates that are built in two versions, and who is behind.
const TWICE: [(&str, &str); 13] = [
    ("base64", "sqlx"),
    ("block-buffer", "sqlx"),
    ("cpufeatures", "sqlx"),
    ("crypto-common", "sqlx"),
    ("digest", "sqlx"),
    ("getrandom", "WebSockets of the tests"),
    ("hashbrown", "sqlx"),
    ("r-efi", "WebSockets of the tests"),
    ("rand", "WebSockets of the tests"),
    ("rand_core", "WebSockets of the tests"),
    ("sha1", "WebSockets of the tests"),
    ("sha2", "sqlx"),
    ("syn", "macros of several"),
];

#[test]
fn every_licence_is_one_that_asks_for_a_notice() {
    let metadata = metadata();
    let others: Vec<_> = items(&metadata["packages"])
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn an_expression_of_licences_is_read_as_it_is_meant() {
    for allowed in [
        "MIT",
        "MIT OR GPL-3.0-only",
        "GPL-3.0-only/MIT",
        "(MIT OR GPL-3.0-only) AND Zlib",
        "GPL-3.0-only AND GPL-2.0-only OR MIT",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0",
    ] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "MIT AND (GPL-3.0-only OR LGPL-3.0-only)",
        "(MIT OR Zlib) AND GPL-3.0-only",
        "GPL-3.0-only WITH Classpath-exception-2.0",
    ] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

/// From one registry, so nothing from a repository or a folder that others do not have.
#[test]
fn every_dependency_is_a_published_one() {
    let metadata = metadata();
    let members = &metadata["workspace_members"];
    let others: Vec<_> = items(&metadata["packages"])
        .filter(|package| !items(members).any(|member| *member == package["id"]))
        .filter(|package| !package["source"].as_str().is_some_and(|s| s.starts_with("registry+")))
        .map(|package| &package["id"])
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn nothing_is_built_that_is_banned() {
    let metadata = metadata();
    let versions = versions(&metadata);
    assert!(versions.len() > 200, "{}", versions.len());
    let found: Vec<_> = BANNED.iter().filter(|name| versions.contains_key(**name)).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// A version more is time to build, and types that do not fit each other.
#[test]
fn nothing_is_built_in_two_versions_but_what_is_known() {
    let metadata = metadata();
    let mut versions = versions(&metadata);
    versions.retain(|_, versions| versions.len() > 1);
    let known: BTreeSet<_> = TWICE.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<_> = versions.keys().copied().collect();
    assert_eq!(found, known, "{versions:#?}");
    for (name, two) in versions {
        assert_eq!(two.len(), 2, "{name}: {two:?}");
    }
}

/// A package more is time to build for every user. The default, and what most applications turn on.
#[test]
fn applications_build_few_packages() {
    for (features, most) in [("", 36), ("axum", 48)] {
        let packages = packages_with(features);
        assert!(packages.contains("tower-service"), "{packages:?}");
        assert!(packages.len() <= most, "{} with {features:?}: {packages:#?}", packages.len());
    }
}

/// No parser of Rust, which takes longer to build than most of the rest, and keeps it waiting.
#[test]
fn applications_build_no_procedural_macros() {
    for features in ["", "axum", "cache", "file", "metrics", "axum,cache,metrics"] {
        let packages = packages_with(features);
        for package in ["proc-macro2", "serde_derive", "syn"] {
            assert!(!packages.contains(package), "{package} with {features:?}");
        }
    }
    assert!(packages_with("async-trait").contains("syn"), "it would not be seen");
}

/// The names of the packages that are built with these features and the default ones on this system,
/// ours among them.
fn packages_with(features: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"])
        .args(["--features", features])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

/// What users of the library or of the command line build, with its versions.
fn versions(metadata: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let built: BTreeSet<_> = items(&metadata["workspace_members"])
        .flat_map(|member| built_for_users(metadata, text(member)))
        .collect();
    let mut versions = BTreeMap::<_, BTreeSet<_>>::new();
    for package in items(&metadata["packages"]).filter(|p| built.contains(text(&p["id"]))) {
        versions.entry(text(&package["name"])).or_default().insert(text(&package["version"]));
    }
    versions
}

/// Whether an SPDX expression leaves us a choice of nothing but [`LICENCES`]. `/` is how `OR` was
/// written once.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let is_allowed = any(&mut words);
    is_allowed && words.next().is_none()
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

fn any(words: &mut Words<'_>) -> bool {
    let mut is_allowed = all(words);
    while words.next_if_eq(&"OR").is_some() {
        is_allowed |= all(words);
    }
    is_allowed
}

fn all(words: &mut Words<'_>) -> bool {
    let mut is_allowed = one(words);
    while words.next_if_eq(&"AND").is_some() {
        is_allowed &= one(words);
    }
    is_allowed
}

fn one(words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => {
            let is_allowed = any(words);
            words.next() == Some(")") && is_allowed
        }
        // An exception gives more than the licence does.
        Some(name) => {
            if words.next_if_eq(&"WITH").is_some() {
                words.next();
            }
            LICENCES.contains(&name)
        }
        None => false,
    }
}
