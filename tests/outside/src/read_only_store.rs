//! The compiler names the remedy to those who give a `KeyManager` a store that it cannot change.

use std::{env, process::Command};

#[test]
fn the_compiler_says_where_a_store_that_can_only_be_read_goes() {
    // Beside what this was built of, which is then there.
    let this = env::current_exe().unwrap();
    let target = this.ancestors().nth(3).unwrap();
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--locked", "--offline", "--example", "read_only_store"])
        .args(["--features", "refused", "--color", "never"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for words in [
        "error[E0277]: a `KeyManager` cannot change the keys of `FixedStore`",
        "a `FixedStore` can only be read: use `ApiKeyLayer::new`",
    ] {
        assert!(said.contains(words), "{said}");
    }
}
