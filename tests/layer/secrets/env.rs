//! Keys, peppers and issuer secrets from the environment.
//!
//! A process cannot change its own environment soundly while other tests run, so each test runs
//! itself again as a child with the variable set, and reads what the child printed.

use std::{env, ffi::OsStr};

use tower_api_key::{
    ApiKeyLayer, ConfigError, IssuerSecrets, KeyFormat, KeyHasher, Peppers, store::FixedStore,
};

use super::child::{self, VARIABLE, is_child};
use crate::support::{record_hashed, send, with_key};

/// Runs the test `name` of this module in a child with the variable set (or not).
fn in_child(name: &str, value: Option<&OsStr>) -> String {
    child::run(&format!("{}::{name}", module_path!().trim_start_matches("layer::")), value)
}

/// `Display` and `Debug` of the error, or `Debug` of the value.
#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn print<T: std::fmt::Debug>(result: Result<T, ConfigError>) {
    match result {
        Ok(value) => println!("ok: {value:?}"),
        Err(error) => println!("error: {error} {error:?}"),
    }
}

#[test]
fn a_key_from_the_environment() {
    if is_child() {
        let store = FixedStore::from_env(VARIABLE);
        if let Ok(store) = &store {
            let key = env::var(VARIABLE).unwrap();
            let answer = send(&ApiKeyLayer::new(store.clone()), with_key(&key));
            println!("{} as {}", answer.outcome(), answer.key().name());
        }
        return print(store);
    }
    let run = |value: Option<&str>| in_child("a_key_from_the_environment", value.map(OsStr::new));
    let good = run(Some("sixteen-bytes-ok"));
    assert!(good.contains(&format!("admitted as {VARIABLE}")), "{good}");
    assert!(good.contains("ok: ") && !good.contains("sixteen-bytes-ok"), "{good}");

    let unset = run(None);
    assert!(unset.contains(&format!("{VARIABLE} is not set")), "{unset}");
    for bad in ["fifteen-bytes-x", "sixteen bytes or more, with spaces"] {
        let refused = run(Some(bad));
        assert!(refused.contains(&format!("error: the environment variable {VARIABLE}")));
        assert!(refused.contains("16 to 512 bytes"), "{refused}");
        assert!(!refused.contains(bad), "{refused}");
    }
    let empty = run(Some(""));
    assert!(empty.contains(&format!("error: the environment variable {VARIABLE}")), "{empty}");
}

#[test]
fn a_pepper_from_the_environment() {
    const GOOD: &str = "a pepper of thirty-two bytes, ok";
    if is_child() {
        let peppers = Peppers::from_env(VARIABLE);
        if let Ok(peppers) = &peppers {
            let [ours, theirs] = [peppers.clone(), Peppers::new(GOOD.as_bytes()).unwrap()]
                .map(|peppers| record_hashed(&KeyHasher::hmac_sha256(peppers), "key").digest);
            println!("same digests: {}", ours == theirs);
        }
        return print(peppers);
    }
    let run =
        |value: Option<&str>| in_child("a_pepper_from_the_environment", value.map(OsStr::new));
    let good = run(Some(GOOD));
    assert!(good.contains("same digests: true") && good.contains("ok: "), "{good}");
    assert!(!good.contains(GOOD), "{good}");
    for end in ["\n", "\r\n"] {
        let with_end = run(Some(&format!("{GOOD}{end}")));
        assert!(with_end.contains("same digests: true"), "{with_end}");
    }
    let short = run(Some(&GOOD[1..]));
    assert!(short.contains(VARIABLE) && short.contains("at least 32 bytes"), "{short}");
    assert!(!short.contains(&GOOD[1..]), "{short}");
    assert!(run(None).contains(&format!("{VARIABLE} is not set")));
}

#[test]
fn an_issuer_secret_from_the_environment() {
    const GOOD: &str = "an issuer secret of thirty-two b";
    if is_child() {
        let secrets = IssuerSecrets::from_env(VARIABLE);
        if let Ok(secrets) = &secrets {
            let [ours, theirs] = [secrets.clone(), IssuerSecrets::new(GOOD.as_bytes()).unwrap()]
                .map(|secrets| {
                    let format = KeyFormat::new("acme").unwrap();
                    format.sealed(secrets, &KeyHasher::sha256()).unwrap()
                });
            println!("same seals: {}", theirs.recognizes(ours.generate().unwrap().expose()));
        }
        return print(secrets);
    }
    let run = |value: Option<&str>| {
        in_child("an_issuer_secret_from_the_environment", value.map(OsStr::new))
    };
    for end in ["", "\n", "\r\n"] {
        let good = run(Some(&format!("{GOOD}{end}")));
        assert!(good.contains("same seals: true") && good.contains("ok: "), "{good}");
        assert!(!good.contains(GOOD), "{good}");
    }
    let short = run(Some(&GOOD[1..]));
    assert!(short.contains(VARIABLE) && short.contains("at least 32 bytes"), "{short}");
    assert!(!short.contains(&GOOD[1..]), "{short}");
    assert!(run(None).contains(&format!("{VARIABLE} is not set")));
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_unicode() {
    use std::os::unix::ffi::OsStrExt;

    if is_child() {
        print(FixedStore::from_env(VARIABLE));
        print(Peppers::from_env(VARIABLE));
        return print(IssuerSecrets::from_env(VARIABLE));
    }
    let value = [&b"secret-but-not-unicode-\xff"[..], &[b'x'; 32]].concat();
    let refused = in_child("a_value_that_is_not_unicode", Some(OsStr::from_bytes(&value)));
    assert_eq!(refused.matches(&format!("error: the environment variable {VARIABLE}")).count(), 3);
    assert!(!refused.contains("secret-but"), "{refused}");
}
