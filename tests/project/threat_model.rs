//! Every claim of the threat model names the test that holds it, and the test is there.

use std::{fs, path::Path};

use crate::facts::{read, root};

#[test]
fn the_tests_that_the_threat_model_names_exist() {
    let document = read("docs/threat-model.md");
    let mut file = String::new();
    let (mut named, mut missing) = (0, Vec::new());
    // Between backticks: `path`, `path::test`, or `::test` of the path before.
    for name in document.split('`').skip(1).step_by(2) {
        let (path, test) = name.split_once("::").unwrap_or((name, ""));
        if Path::new(path).extension().is_some_and(|extension| extension == "rs") {
            path.clone_into(&mut file);
        } else if !(path.is_empty() && name.starts_with("::")) {
            continue;
        }
        named += 1;
        // Behind a module's name, or `*` for several.
        let test = test.rsplit("::").next().unwrap();
        let source = fs::read_to_string(root().join(Path::new(&file)));
        if !source.is_ok_and(|source| test.is_empty() || source.contains(&format!("fn {test}("))) {
            missing.push(format!("{file}::{test}"));
        }
    }
    assert!(named > 150, "{named}");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Each row of its tables, but for those that explain the others.
#[test]
fn every_row_of_the_doors_names_a_test() {
    let text = read("docs/threat-model.md");
    let doors = text.split("## The doors").nth(1).unwrap();
    let rows = doors.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| kind"));
    let rows: Vec<_> = rows.filter(|line| !line.starts_with("| risk")).collect();
    assert!(rows.len() > 90, "{}", rows.len());
    let without: Vec<_> = rows.iter().filter(|row| !row.contains(".rs")).collect();
    assert!(without.is_empty(), "{without:#?}");
}
