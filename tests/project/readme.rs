//! What the README and the guides promise their readers.

use std::{fmt::Write, fs, path::Path, process::Command};

use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{ApiKeyLayer, store::MemoryStore};

use crate::facts::{read, root};

#[test]
fn the_readme_is_short() {
    assert!(read("README.md").len() <= 6 * 1024, "{}", read("README.md").len());
}

/// With the dependencies that its `cargo add` lines make, and no others. This crate is the one in
/// this folder; of the others, those that are locked here, so that nothing is downloaded.
#[test]
fn the_program_of_the_readme_compiles_in_an_empty_project() {
    let project = tempfile::tempdir().unwrap();
    let mut manifest =
        "[package]\nname = \"empty\"\nedition = \"2024\"\n\n[dependencies]\n".to_owned();
    for line in block("sh", "cargo add").lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let (name, features) = match words[..] {
            ["cargo", "add", name] => (name, ""),
            ["cargo", "add", name, "--features", features] => (name, features),
            _ => panic!("{line:?}"),
        };
        let features: Vec<_> = features.split(',').filter(|name| !name.is_empty()).collect();
        let from = if name == env!("CARGO_PKG_NAME") {
            format!("path = {:?}", root())
        } else {
            "version = \"*\"".to_owned()
        };
        writeln!(manifest, "{name} = {{ {from}, features = {features:?} }}").unwrap();
    }
    fs::write(project.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(root().join("Cargo.lock"), project.path().join("Cargo.lock")).unwrap();
    fs::create_dir(project.path().join("src")).unwrap();
    fs::write(project.path().join("src/main.rs"), block("rust", "async fn main")).unwrap();

    // Beside what the suite itself is built of: what was checked once is not checked again.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["check", "--offline", "--quiet"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(project.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_denial_in_the_readme_is_the_one_that_is_sent() {
    let service = ServiceBuilder::new()
        .layer(ApiKeyLayer::new(MemoryStore::new()))
        .service(service_fn(async |_: Request<String>| Ok::<_, ()>(Response::new(String::new()))));
    let response = service.oneshot(Request::new(String::new())).await.unwrap();

    let mut sent = format!("HTTP/1.1 {}\n", response.status());
    for (name, value) in response.headers() {
        writeln!(sent, "{name}: {}", value.to_str().unwrap()).unwrap();
    }
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    write!(sent, "\n{}\n", str::from_utf8(&body).unwrap()).unwrap();
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    // The order of fields says nothing.
    assert_eq!(sorted(&block("http", "401")), sorted(&sent));
}

#[test]
fn every_guide_is_a_page_and_listed() {
    let (pages, readme) = (read("src/guide.rs"), read("README.md"));
    for folder in ["guide", "design"] {
        for entry in fs::read_dir(root().join("docs").join(folder)).unwrap() {
            let file = format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap());
            assert!(pages.contains(&format!("{file:?})]")), "{file} is not in src/guide.rs");
            let listed = folder == "design" || readme.contains(&format!("(docs/{file})"));
            assert!(listed, "{file} is not in README.md");
        }
    }
}

/// In all texts that people read as files.
#[test]
fn links_lead_somewhere() {
    let mut texts = vec![];
    for folder in ["", "docs", "docs/guide", "docs/design"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        texts.extend(entries.map(|entry| entry.unwrap().path()));
    }
    texts.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut links = 0;
    for path in texts {
        let text = fs::read_to_string(&path).unwrap();
        let definitions = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
        let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let targets = inline.map(|(to, _)| to).chain(definitions.map(|(_, to)| to));
        for target in targets.filter(|target| !target.starts_with("http")) {
            let file = target.split('#').next().unwrap();
            let found = file.is_empty() || path.parent().unwrap().join(file).exists();
            assert!(found, "{target} in {}", path.display());
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}

/// The map and the answers of CONTRIBUTING name what is there.
#[test]
fn files_that_are_named_to_contributors_exist() {
    let contributing = read("CONTRIBUTING.md");
    let folders = ["src/", "cli/", "serving/", "docs/", "examples/", "scripts/", "tests/", ".ci/"];
    let words = contributing.split(['`', ' ', '\n']);
    let named: Vec<_> = words.filter(|word| folders.iter().any(|f| word.starts_with(f))).collect();
    assert!(named.len() > 50, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");

    let questions = contributing.split("## Thirteen questions").nth(1).unwrap();
    let rows = questions.split("\n## ").next().unwrap().lines();
    let answers: Vec<_> =
        rows.filter_map(|row| row.strip_prefix("| ")?.split_once("? | ")).collect();
    assert_eq!(answers.len(), 13);
    for (question, answer) in answers {
        let files = answer.matches(".rs`").count();
        assert!((1..=2).contains(&files), "{question}: {answer}");
    }
}

/// The code block of the README in this language that holds this text.
fn block(language: &str, holds: &str) -> String {
    let (readme, start) = (read("README.md"), format!("```{language}\n"));
    let blocks = readme.split(&start).skip(1);
    let mut blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(holds)).expect(holds).to_owned()
}
