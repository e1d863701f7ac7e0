//! A bad file is an error that says where, and shows nothing of what could be a secret.

use std::{fmt::Write, io::ErrorKind};

use proptest::prelude::*;
use tower_api_key::store::{FileError, FileErrorKind, FileStore};

use super::{Folder, digest};
use crate::support::{KEY, OTHER_KEY};

async fn error(name: &str, text: impl AsRef<[u8]>) -> FileError {
    let folder = Folder::new();
    FileStore::open(folder.write(name, text)).await.unwrap_err()
}

/// The same key in all formats: a good first one, and a second with these JSON fields.
fn files(fields: &[(&str, &str)]) -> [(&'static str, String); 3] {
    let (mut toml, mut json, mut yaml) = (String::new(), String::new(), String::new());
    for (index, (name, value)) in fields.iter().enumerate() {
        writeln!(toml, "{name} = {}", value.replace("\": ", "\" = ")).unwrap();
        write!(json, "{}{name:?}: {value}", if index == 0 { "" } else { ",\n" }).unwrap();
        writeln!(yaml, "{}{name}: {value}", if index == 0 { "  - " } else { "    " }).unwrap();
    }
    let good = digest(OTHER_KEY);
    [
        ("keys.toml", format!("[[keys]]\ndigest = \"{good}\"\nname = \"good\"\n[[keys]]\n{toml}")),
        (
            "keys.json",
            format!("{{\"keys\": [{{\"digest\": \"{good}\", \"name\": \"good\"}},\n{{{json}}}]}}"),
        ),
        ("keys.yaml", format!("keys:\n  - digest: {good}\n    name: good\n{yaml}")),
    ]
}

async fn assert_second_key(
    fields: &[(&str, &str)],
    field: Option<&str>,
    kind: impl Fn(FileErrorKind) -> bool,
) {
    for (name, text) in files(fields) {
        let error = error(name, &text).await;
        assert!(kind(error.kind()), "{error:?} of {text}");
        assert_eq!(error.key(), Some(2), "{error:?} of {text}");
        assert_eq!(error.field(), field, "{error:?} of {text}");
        assert!(error.line() >= Some(2) && error.column().is_some(), "{error:?} of {text}");
        let shown = error.to_string();
        assert!(shown.contains("key 2"), "{shown}");
        assert!(shown.contains(field.unwrap_or("too long to be shown")), "{shown}");
        assert!(!format!("{shown} {error:?}").contains(KEY), "{shown}");
    }
}

/// In quotes, as all three formats write text.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[tokio::test]
async fn every_bad_value_names_its_field() {
    let long = |n: usize| quoted(&"x".repeat(n));
    let many = |item: &str| format!("[{}]", vec![quoted(item); 101].join(", "));
    let large = format!("{{ \"a\": {} }}", long(17_000));
    let cases: Vec<(&str, Vec<String>)> = vec![
        ("name", vec![quoted(""), quoted(" "), r#""\u202e""#.into(), long(101), "[1]".into()]),
        ("id", vec![quoted("1"), "[1]".into(), quoted(KEY)]),
        ("start", vec![quoted(KEY), quoted("a b"), "[1]".into()]),
        ("owner", vec![quoted(""), r#""\u0007 ""#.into(), long(256), "[1]".into()]),
        ("description", vec![long(1001), "[1]".into()]),
        (
            "scopes",
            vec![quoted(KEY), quoted("a"), "[\"a b\"]".into(), many_scopes(), "[[1]]".into()],
        ),
        ("tier", vec![quoted(""), long(101), "[1]".into()]),
        (
            "limits",
            vec![
                quoted(KEY),
                "[1]".into(),
                "[[\"a\", 1, 1]]".into(),
                one_limit(&[("name", &quoted("a b"))]),
                one_limit(&[("name", &quoted(KEY)), (KEY, "1")]),
                one_limit(&[("requests", "0")]),
                one_limit(&[("window_seconds", "0")]),
                one_limit(&[("burst", "0")]),
                format!("[{0}, {0}]", one_limit(&[]).trim_matches(['[', ']'])),
            ],
        ),
        (
            "allowed_addresses",
            vec![
                quoted("192.0.2.1"),
                "[\"192.0.2.0/33\"]".into(),
                many("192.0.2.1"),
                format!("[{KEY:?}]"),
            ],
        ),
        ("not_before", vec![quoted("tomorrow"), "[1]".into(), "1".into()]),
        ("expires_at", vec![quoted("2030-02-30"), quoted(KEY), "1".into(), "true".into()]),
        ("disabled", vec![quoted("maybe"), "[1]".into(), "2".into()]),
        ("metadata", vec![quoted(KEY), "[1]".into(), "1".into()]),
    ];
    for (field, values) in cases {
        for value in values {
            let digest = quoted(&digest(KEY));
            let mut fields = vec![("digest", &*digest), ("name", "\"second\""), (field, &*value)];
            if field == "name" {
                fields.remove(1);
            }
            assert_second_key(&fields, Some(field), |kind| {
                matches!(kind, FileErrorKind::InvalidField { .. })
            })
            .await;
        }
    }
    let text = format!(
        r#"{{"keys": [{{"digest": "{}", "name": "a", "metadata": {large}}}]}}"#,
        digest(KEY)
    );
    assert_eq!(error("keys.json", text).await.field(), Some("metadata"));
}

/// A list with a limit that has these fields in place of good ones, as JSON that TOML and YAML are
/// written like, too.
fn one_limit(fields: &[(&str, &str)]) -> String {
    let mut limit = vec![("name", "\"a\""), ("requests", "1"), ("window_seconds", "1")];
    for (name, value) in fields {
        limit.retain(|(other, _)| other != name);
        limit.push((name, value));
    }
    let fields: Vec<_> = limit.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("[{{ {} }}]", fields.join(", "))
}

fn many_scopes() -> String {
    let scopes: Vec<_> = (0..101).map(|n| format!("\"s{n}\"")).collect();
    format!("[{}]", scopes.join(", "))
}

/// What is there must be something: `allowed_addresses:` without any would be "from anywhere".
#[tokio::test]
async fn null_is_no_value() {
    for field in [
        "digest",
        "name",
        "id",
        "start",
        "owner",
        "description",
        "scopes",
        "tier",
        "limits",
        "allowed_addresses",
        "not_before",
        "expires_at",
        "disabled",
        "metadata",
    ] {
        let own = |name| (name != field).then_some(name);
        let mut lines = vec![format!("{field}: null")];
        lines.extend(own("digest").map(|_| format!("digest: \"{}\"", digest(KEY))));
        lines.extend(own("name").map(|_| "name: \"a\"".to_owned()));
        let json = lines.iter().map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            format!("\"{name}\": {value}")
        });
        let json = json.collect::<Vec<_>>().join(", ");
        for null in ["null", "~", ""] {
            let yaml = lines.join("\n    ").replacen("null", null, 1);
            let error = error("keys.yaml", format!("keys:\n  - {yaml}\n")).await;
            assert_eq!((error.key(), error.field()), (Some(1), Some(field)), "{error}");
        }
        let error = error("keys.json", format!("{{\"keys\": [{{{json}}}]}}")).await;
        assert_eq!((error.key(), error.field()), (Some(1), Some(field)), "{error}");
    }
}

#[tokio::test]
async fn a_key_in_the_place_of_its_digest() {
    let hex = digest(KEY);
    for bad in [KEY, "", &hex[1..], &format!("{hex}0"), &format!("{hex}  -"), &"g".repeat(64)] {
        let bad = quoted(bad);
        assert_second_key(&[("digest", &bad), ("name", "\"a\"")], Some("digest"), |kind| {
            matches!(kind, FileErrorKind::InvalidField { message } if message.contains("not the key itself"))
        })
        .await;
    }
}

#[tokio::test]
async fn fields_that_are_unknown_missing_or_repeated() {
    let hex = quoted(&digest(KEY));
    let key = quoted(KEY);
    let (digest_, name) = (("digest", &*hex), ("name", "\"second\""));
    let unknown = |kind| kind == FileErrorKind::UnknownField;
    assert_second_key(&[digest_, name, ("expires", "1")], Some("expires"), unknown).await;
    assert_second_key(&[("key", &key), name], Some("key"), unknown).await;
    // Not shown: it could be a key.
    assert_second_key(&[digest_, name, (KEY, "1")], None, unknown).await;
    let missing = |kind| kind == FileErrorKind::MissingField;
    assert_second_key(&[name], Some("digest"), missing).await;
    assert_second_key(&[digest_], Some("name"), missing).await;

    for (file, text) in files(&[digest_, name, ("tier", "\"a\""), ("tier", "\"b\"")]) {
        let error = error(file, text).await;
        if file == "keys.toml" {
            // The parser's own rule.
            assert_eq!(error.kind(), FileErrorKind::Syntax);
            assert_eq!((error.line(), error.column()), (Some(8), Some(1)));
        } else {
            assert_eq!(error.kind(), FileErrorKind::RepeatedField, "{error:?}");
            assert_eq!((error.key(), error.field()), (Some(2), Some("tier")));
        }
    }
    for (file, text, kind, field) in [
        ("a.toml", "", FileErrorKind::MissingField, Some("keys")),
        ("a.json", "{}", FileErrorKind::MissingField, Some("keys")),
        ("a.yaml", "", FileErrorKind::MissingField, Some("keys")),
        ("a.toml", "key = []", FileErrorKind::UnknownField, Some("key")),
        ("a.json", "{\"keys\": [], \"keys\": []}", FileErrorKind::RepeatedField, Some("keys")),
        ("a.json", "[]", FileErrorKind::Shape, None),
        ("a.json", "{\"keys\": 1}", FileErrorKind::Shape, None),
        ("a.json", "{\"keys\": {}}", FileErrorKind::Shape, None),
        ("a.yaml", "keys:", FileErrorKind::Shape, None),
        ("a.yaml", "keys: [a]", FileErrorKind::Shape, None),
        ("a.toml", "keys = 1", FileErrorKind::Shape, None),
        ("a.toml", "[keys.one]\nname = \"a\"", FileErrorKind::Shape, None),
    ] {
        let error = error(file, text).await;
        assert_eq!((error.kind(), error.field()), (kind, field), "{file} {text:?}");
    }
}

#[tokio::test]
async fn the_same_digest_or_id_twice() {
    let good = quoted(&digest(OTHER_KEY));
    let name = ("name", "\"second\"");
    assert_second_key(&[("digest", &good), name], Some("digest"), |kind| {
        kind == FileErrorKind::DuplicateDigest { earlier: 1 }
    })
    .await;
    let id = "0198c0de-0000-7000-8000-000000000001";
    let text = format!(
        "[[keys]]\nid = \"{id}\"\nname = \"a\"\ndigest = \"{}\"\n\
         [[keys]]\nid = \"{id}\"\nname = \"b\"\ndigest = \"{}\"\n",
        digest(KEY),
        digest(OTHER_KEY)
    );
    let error = error("keys.toml", text).await;
    assert_eq!(error.kind(), FileErrorKind::DuplicateId { earlier: 1 });
    assert_eq!(error.key(), Some(2));
}

/// An id follows from the name, so a name that is there twice needs an id of its own.
#[tokio::test]
async fn names_without_an_id_are_unique() {
    let key = |id: &str, digest: &str| {
        format!("[[keys]]\n{id}name = \"partner\"\ndigest = \"{digest}\"\n")
    };
    let (first, second) = (key("", &digest(KEY)), key("", &digest(OTHER_KEY)));
    let error = error("keys.toml", first.clone() + &second).await;
    assert_eq!(error.kind(), FileErrorKind::DuplicateName { earlier: 1 });
    assert_eq!((error.key(), error.field()), (Some(2), Some("name")));
    assert!(error.to_string().ends_with("name is that of key 1, too; give one of them an `id`"));

    let own_id = key("id = \"0198c0de-0000-7000-8000-000000000001\"\n", &digest(OTHER_KEY));
    let folder = Folder::new();
    let store = FileStore::open(folder.write("keys.toml", first + &own_id)).await.unwrap();
    assert_eq!(store.status().keys, 2);
}

#[tokio::test]
async fn syntax_is_told_by_line_and_column() {
    for (file, text, at) in [
        ("a.toml", "keys = [\n  { name = ]", (2, 12)),
        ("a.json", "{\n  \"keys\": [1, }", (2, 15)),
        ("a.json", "{\"keys\": []} 1", (1, 14)),
        ("a.toml", "a = 1\nb = \"\u{e9}", (2, 7)),
    ] {
        let error = error(file, text).await;
        assert_eq!(error.kind(), FileErrorKind::Syntax, "{text:?}");
        assert_eq!((error.line().unwrap(), error.column().unwrap()), at, "{text:?} {error}");
    }
    for text in ["keys: [", "keys: []\n---\nkeys: []", "a: b: c", "keys: &a [*b]"] {
        let error = error("a.yaml", text).await;
        assert_eq!(error.kind(), FileErrorKind::Syntax, "{text:?}");
        assert!(error.line().is_some(), "{text:?}");
    }
    let error = error("a.toml", b"a = 1\nb = \"\xff\"").await;
    assert_eq!((error.kind(), error.line()), (FileErrorKind::Syntax, Some(2)));
    assert_eq!(error.column(), Some(6));
}

#[tokio::test]
async fn files_that_cannot_be_read() {
    let folder = Folder::new();
    let open = async |name: &str| FileStore::open(folder.path(name)).await.unwrap_err().kind();
    let cause = |cause| FileErrorKind::Unreadable { cause };
    assert_eq!(open("missing.toml").await, cause(ErrorKind::NotFound));
    std::fs::create_dir(folder.path("folder.json")).unwrap();
    assert_eq!(open("folder.json").await, FileErrorKind::NotAFile);
    for name in ["keys", "keys.txt", "keys.TOML", "toml"] {
        folder.write(name, "keys = []");
        assert_eq!(open(name).await, FileErrorKind::Extension, "{name}");
    }
    std::fs::File::create(folder.path("large.json")).unwrap().set_len((16 << 20) + 1).unwrap();
    assert_eq!(open("large.json").await, FileErrorKind::TooLarge);
    let error = FileStore::open(folder.path("missing.toml")).await.unwrap_err();
    assert_eq!(error.path(), folder.path("missing.toml"));
    assert!(error.to_string().contains("missing.toml"), "{error}");
}

/// Opening one would wait for ever.
#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_no_file() {
    let folder = Folder::new();
    let path = folder.path("pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = FileStore::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), FileErrorKind::NotAFile);
}

/// Broken in any way: cut off, with bytes changed, and with a secret in any place.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    let full = |index: usize| {
        let fields = [
            ("digest", quoted(&digest(KEY))),
            ("name", quoted("second")),
            ("scopes", "[\"orders:read\"]".to_owned()),
            ("expires_at", quoted("2030-01-01T00:00:00Z")),
            ("disabled", "true".to_owned()),
        ];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        files(&fields)[index].1.clone()
    };
    let text = (0..3_usize).prop_map(full);
    (text, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<Option<u8>>())
        .prop_map(|(text, start, end, byte)| {
            let mut bytes = text.into_bytes();
            let (start, end) = (start.index(bytes.len()), end.index(bytes.len()));
            let secret = byte.map_or(SECRET.as_bytes().to_vec(), |byte| vec![byte]);
            bytes.splice(start.min(end)..(start.min(end) + 8).min(start.max(end)), secret);
            bytes
        })
}

const SECRET: &str = "Zq7-secret-Zq7-secret-Zq7";

proptest! {
    #[test]
    fn anything_at_all_is_read_or_refused(
        bytes in prop_oneof![any::<Vec<u8>>(), ".{0,200}".prop_map(String::into_bytes), broken()],
        extension in prop::sample::select(&["toml", "json", "yaml"]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let folder = Folder::new();
        let path = folder.write(&format!("a.{extension}"), &bytes);
        if let Err(error) = runtime.block_on(FileStore::open(&path)) {
            let FileErrorKind::Unreadable { .. } = error.kind() else {
                // The folder has a name by chance, which may have the secret's letters in it.
                let folder = path.parent().unwrap().to_str().unwrap();
                let shown = format!("{error} {error:?}").replace(folder, "");
                prop_assert!(!shown.contains("Zq7"), "{}", shown);
                let hex = digest(KEY);
                prop_assert!(!shown.contains(&hex[..8]) && !shown.contains(&hex[56..]), "{}", shown);
                return Ok(());
            };
            // A parser that panicked.
            prop_assert!(false, "{:?}", error);
        }
    }
}
