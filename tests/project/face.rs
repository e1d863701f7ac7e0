//! The root of the crate names what most programs use; everything is in the module of its subject.

use super::facts::read;

const MOST_AT_THE_ROOT: usize = 30;

#[test]
fn the_root_has_few_names() {
    let names = names_at_the_root(&read("src/lib.rs"));
    assert!(names.contains(&"ApiKeyLayer".to_owned()), "{names:?}");
    // The macro `nonzero` is there by itself.
    assert!(names.len() < MOST_AT_THE_ROOT, "{} names: {names:?}", names.len());
}

#[test]
fn names_are_found_in_groups() {
    let source = "pub mod a {\n    pub use crate::b::C;\n}\npub use self::{\n    d::{E, F},\n    \
        g::H,\n};\npub use async_trait::async_trait;\nuse i::J;\n";
    assert_eq!(names_at_the_root(source), ["E", "F", "H", "async_trait"]);
}

/// The last names of the paths in `pub use` that are not in a module.
fn names_at_the_root(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in source.split("\npub use ").skip(1) {
        let statement = rest.split(';').next().unwrap();
        for path in statement.split([',', '{', '}']) {
            let path = path.trim();
            if !path.is_empty() && !path.ends_with("::") {
                names.push(path.rsplit("::").next().unwrap().to_owned());
            }
        }
    }
    names
}
