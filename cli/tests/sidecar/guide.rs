//! The blocks of the guide, which tests run.

use std::{fs, path::Path};

fn page(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide").join(name);
    fs::read_to_string(page).unwrap()
}

/// The blocks in this language, in order.
pub(crate) fn blocks(page_name: &str, language: &str) -> Vec<String> {
    let page = page(page_name);
    let opening = format!("```{language}\n");
    let after = page.split(&opening).skip(1);
    after.map(|block| block.split_once("```\n").unwrap().0.to_owned()).collect()
}

/// The first block in this language: of the sidecar that is set up from nothing.
pub(crate) fn block(language: &str) -> String {
    blocks("sidecar.md", language).remove(0)
}

/// Readers of one page must not get another nginx than those of the other.
#[test]
fn nginx_is_configured_as_for_forward_auth() {
    let trimmed = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let server = blocks("forward_auth.md", "nginx").remove(0);
    let server = server.replace("listen 80;", "listen 127.0.0.1:8000;");
    let (server, whole) = (trimmed(&server), trimmed(&block("nginx")));
    assert!(whole.windows(server.len()).any(|lines| lines == server), "{server:#?}");
}

/// The image that the container is built with has a compiler that is new enough.
#[test]
fn the_container_is_built_with_our_rust_version() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let image = format!("FROM rust:{}-", version.unwrap().trim_matches('"'));
    assert!(block("dockerfile").starts_with(&image), "{image}");
}
