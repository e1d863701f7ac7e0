//! Digests, as other systems write them.

use tower_api_key::KeyHasher;

use super::{Outcome, assert_stopped, came, import};
use crate::{process, session::Shell};

const KEY: &str = "a-key-of-another-system-0123456789";

fn hex() -> String {
    KeyHasher::sha256().digest(KEY).to_hex()
}

/// `openssl dgst -sha256 -binary | base64` of the key, and what else is made of it.
fn base64(alphabet: &str) -> String {
    let digest = KeyHasher::sha256().digest(KEY);
    // Behind the last bit, there are zeros.
    let bit = |place: usize| {
        digest.as_bytes().get(place / 8).map_or(0, |byte| usize::from(byte >> (7 - place % 8) & 1))
    };
    let letters: Vec<char> =
        ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(alphabet.chars()).collect();
    let value = |letter: usize| (0..6).fold(0, |value, n| value * 2 + bit(letter * 6 + n));
    (0..43).map(|letter| letters[value(letter)]).collect()
}

fn lets_in(hash: &str, args: &[&str]) -> bool {
    let shell = Shell::on_sqlite();
    shell.write("keys.csv", &format!("key_hash\n{hash}\n"));
    let done = process::run(shell.command("tower-api-key").args(["import", "keys.csv"]).args(args));
    assert!(done.status.success(), "{hash}: {done:?}");
    let verified = process::run(shell.command("tower-api-key").arg("verify").env("API_KEY", KEY));
    verified.status.success()
}

#[test]
fn in_every_form() {
    let (hex, standard, url) = (hex(), base64("+/"), base64("-_"));
    assert_ne!(standard, url, "the key was chosen so that they differ");
    for hash in [
        hex.clone(),
        hex.to_uppercase(),
        format!("\\x{hex}"),
        format!("0x{hex}"),
        format!("sha256:{hex}"),
        format!("SHA256:{hex}"),
        format!("sha256${hex}"),
        format!("{{SHA256}}{standard}="),
        format!("sha256-{standard}="),
        format!("sha256:{standard}"),
        format!("sha256:{url}"),
        format!("sha256:{url}="),
    ] {
        assert!(lets_in(&hash, &[]), "{hash}");
    }
    for hash in [standard.clone(), url.clone(), standard + "=", url + "="] {
        assert!(lets_in(&hash, &["--base64-digests"]), "{hash}");
        let outcome = import(&format!("key_hash\n{hash}\n"), &[]);
        assert_stopped(&outcome, "may be a key or a digest in base64");
    }
}

#[test]
fn what_is_no_digest() {
    let standard = base64("+/");
    for hash in [
        &hex()[..63],
        "sha256:abc",
        "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        &standard[..42],
        &format!("{standard}=="),
        &format!("{}+-", &standard[..41]),
        "sha256:",
        &format!("sha512:{}", hex()),
        &format!("sha256$salt${}", hex()),
    ] {
        for args in [&[][..], &["--base64-digests"]] {
            assert_stopped(&import(&format!("key_hash\n{hash}\n"), args), "key_hash");
        }
    }
}

/// Keys that are imported as digests would stand in the database as they are.
#[test]
fn keys_are_no_digests() {
    let key = format!("{:064x}", 0x1234_5678_9abc_def0_u64).replace('0', "7");
    let file = format!("key_hash,key_prefix\n{key},{}\n", &key[..8]);
    assert_stopped(&import(&file, &[]), "holds keys and no digests");
    assert_eq!(import(&file, &["--plain-keys"]), came("active"));
    let outcome = import(&file, &["--base64-digests"]);
    assert!(matches!(outcome, Outcome::Stopped(2, _)), "{outcome:?}");
}

/// Laravel Sanctum: `personal_access_tokens`, and keys like `17|secret`.
#[test]
fn sanctum() {
    let shell = Shell::on_sqlite();
    let secret = "qTzJ2b0XQxCs8nB6mKfW3vLpRyHd4EgUaN1oZi5t";
    let hash = KeyHasher::sha256().digest(secret).to_hex();
    shell.write(
        "tokens.csv",
        &format!(
            "id,tokenable_type,tokenable_id,name,token,abilities,last_used_at,expires_at,created_at,updated_at\n\
             17,App\\Models\\User,42,phone,{hash},\"[\"\"orders:read\"\"]\",NULL,NULL,2024-01-01 00:00:00,2024-01-01 00:00:00\n"
        ),
    );
    shell.write("keys.csv", &format!("key_hash\n18|{}\n", "b".repeat(40)));
    shell.session(
        &r"
$ tower-api-key import tokens.csv --column key_hash=token --column user_id=tokenable_id --column scopes=abilities --ignore-column tokenable_type
Imported: 1
$ echo '17|SECRET' | tower-api-key verify --numbered 2>/dev/null | sed -n '1p;6,7p'
The key is good.
owner  42
scopes  orders:read
$ echo '17|SECRET' | tower-api-key verify 2>/dev/null | cut -d ' ' -f 1-5
The key is refused: unknown_key.
$ tower-api-key import keys.csv --plain-keys --numbered
Imported: 1
$ echo '18|BBBB' | tower-api-key verify --numbered 2>/dev/null | head -n 1
The key is good.
"
        .replace("SECRET", secret)
        .replace("BBBB", &"b".repeat(40)),
    );
}
