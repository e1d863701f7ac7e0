//! `FileStore`: keys from a file that changes.

mod errors;
mod formats;
mod reload;
#[cfg(all(feature = "metrics", feature = "tracing"))]
pub(crate) mod telling;

use std::{fmt::Write, fs, path::PathBuf};

use tempfile::TempDir;
use tower_api_key::KeyHasher;

/// A folder for one test's file.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// As careful programs do.
    fn replace(&self, name: &str, text: impl AsRef<[u8]>) {
        let new = self.write("new", text);
        fs::rename(new, self.path(name)).unwrap();
    }
}

fn digest(key: &str) -> String {
    KeyHasher::sha256().digest(key).to_hex()
}

/// A TOML file with these keys.
fn toml(keys: &[&str]) -> String {
    let mut text = String::from("# some keys\n");
    for (index, key) in keys.iter().enumerate() {
        writeln!(text, "[[keys]]\ndigest = \"{}\"\nname = \"key {index}\"", digest(key)).unwrap();
    }
    text
}
