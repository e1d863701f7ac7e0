//! The inputs in `fuzz/corpus`: each of them has shown something new, or was a finding.

use std::{fs, path::Path};

/// Gives each input of a corpus to its target, under its name.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut inputs: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 10, "{} has {} inputs", folder.display(), inputs.len());
    for input in inputs {
        // The last one that is printed is the one that fails.
        println!("{}", input.display());
        target(&fs::read(&input).unwrap());
    }
}

macro_rules! replayed {
    ($($(#[$on:meta])* $target:ident)*) => {
        $($(#[$on])* #[test]
        fn $target() {
            replay(stringify!($target), super::$target);
        })*
    };
}

replayed! {
    bus_messages
    cursors
    extraction
    forwarded
    hiding
    #[cfg(feature = "file-yaml")]
    key_files
    key_formats
    #[cfg(feature = "redis")]
    redis_records
    response_fields
    scopes
}
