//! Which texts a key may have, wherever they come from: creations, changes, imports, reasons. What
//! was stored before these rules can be read, restricted and ended.

use tower_api_key::{
    KeyId, KeyManager, KeyPatch, NewKey,
    key::{KeyDigest, KeyRecord},
    manage::{ImportKey, ManageError},
    store::KeyRepository,
};

use crate::{
    managed::{Managed, why},
    support::NOW,
};

/// The controls of ASCII and Latin-1, separators of lines, and all that CVE-2021-42574 names.
fn disruptive() -> impl Iterator<Item = char> {
    let others =
        "\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
    (0..=0x9f_u8).map(char::from).filter(|c| c.is_control()).chain(others.chars())
}

const BLANK: [&str; 8] = [
    " ",
    "   ",
    "\u{a0}\u{3000}",
    "\u{200b}",
    "\u{200f}\u{200e}\u{61c}",
    "\u{feff} \u{ad}",
    "\u{3164}\u{2800}",
    "\u{e0041}\u{fe0f}",
];

/// Names that people have, and that programs give.
const GOOD: [&str; 9] = [
    "n",
    " padded ",
    "Zoë's laptop (CI/CD) #2 — 50 %",
    "מפתח\u{200f} (ראשי)",
    "مفتاح\u{61c} ١",
    "می\u{200c}خواهم",
    "👩\u{200d}💻",
    "❤\u{fe0f}",
    "auth0|5f7c8ec7c33c6c004bbafe82",
];

/// Sets one text of a key.
type Set = fn(&mut NewKey, String);
type Change = fn(String) -> KeyPatch;

const LINES: [(&str, Set); 3] = [
    ("name", |new, text| new.name = text),
    ("owner", |new, text| new.owner = Some(text.into())),
    ("tier", |new, text| new.tier = Some(text)),
];

/// An owner cannot be changed.
const CHANGED_LINES: [(&str, Change); 2] = [
    ("name", |text| KeyPatch { name: Some(text), ..KeyPatch::default() }),
    ("tier", |text| KeyPatch { tier: Some(Some(text)), ..KeyPatch::default() }),
];

fn with(set: Set, text: &str) -> NewKey {
    let mut new = NewKey::named("n");
    set(&mut new, text.to_owned());
    new
}

async fn import(manager: &KeyManager, new: NewKey) -> Result<(), ManageError> {
    let digest = digest_like_no_other(KeyId::generate(NOW).unwrap());
    manager.import(&[ImportKey::from_digest(digest, new)]).await.map(drop)
}

fn digest_like_no_other(id: KeyId) -> KeyDigest {
    let text = id.to_string().replace('-', "");
    KeyDigest::from_bytes(text.as_bytes().try_into().unwrap())
}

fn bad_lines() -> impl Iterator<Item = String> {
    let inside = disruptive().map(|c| format!("ab{c}c"));
    let alone = disruptive().map(String::from);
    inside.chain(alone).chain(BLANK.map(str::to_owned))
}

#[tokio::test]
async fn lines_that_mislead_or_show_nothing_are_refused() {
    let managed = Managed::new();
    let manager = &managed.manager;
    let key = managed.issue().await.record;
    for bad in bad_lines() {
        for (field, set) in LINES {
            let expected = format!("invalid {field}");
            assert_eq!(why(manager.create(with(set, &bad)).await), expected, "{bad:?}");
            assert_eq!(why(import(manager, with(set, &bad)).await), expected, "{bad:?}");
        }
        for (field, change) in CHANGED_LINES {
            let changed = manager.update(key.id, change(bad.clone())).await;
            assert_eq!(why(changed), format!("invalid {field}"), "{bad:?}");
        }
        let theirs = manager.for_owner(bad.as_str()).create(NewKey::named("n")).await;
        assert_eq!(why(theirs), "invalid owner", "{bad:?}");
    }
    assert_eq!(managed.rows().await, [key]);
}

#[tokio::test]
async fn lines_that_people_write_are_kept() {
    let managed = Managed::new();
    for good in GOOD {
        for (field, set) in LINES {
            let record = managed.manager.create(with(set, good)).await.unwrap().record;
            let kept = match field {
                "name" => Some(&*record.name),
                "owner" => record.owner.as_ref().map(tower_api_key::OwnerId::as_str),
                _ => record.details.tier.as_deref(),
            };
            assert_eq!(kept, Some(good));
            import(&managed.manager, with(set, good)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn texts_of_several_lines_have_tabs_and_ends_of_lines_and_no_more() {
    let managed = Managed::new();
    let manager = &managed.manager;
    let key = managed.issue().await.record;
    let described =
        |text: &str| NewKey { description: Some(text.to_owned()), ..NewKey::named("n") };
    let describe =
        |text: &str| KeyPatch { description: Some(Some(text.to_owned())), ..KeyPatch::default() };
    for c in disruptive().filter(|c| !"\t\n\r".contains(*c)) {
        let bad = format!("first line\n{c}second line");
        assert_eq!(why(manager.create(described(&bad)).await), "invalid description", "{c:?}");
        assert_eq!(why(import(manager, described(&bad)).await), "invalid description", "{c:?}");
        let changed = manager.update(key.id, describe(&bad)).await;
        assert_eq!(why(changed), "invalid description", "{c:?}");
        assert_eq!(why(manager.revoke(key.id, Some(&bad)).await), "invalid reason", "{c:?}");
    }
    for good in ["", "one\ttwo\r\nthree\n", "מפתח\u{200f}"] {
        manager.create(described(good)).await.unwrap();
        manager.update(key.id, describe(good)).await.unwrap();
    }
    let revoked = manager.revoke(key.id, Some("line one\nline two")).await.unwrap();
    assert_eq!(revoked.details.revoked_reason.as_deref(), Some("line one\nline two"));
}

/// A row as an older version may have written it.
fn old_row(name: &str) -> KeyRecord {
    let id = KeyId::generate(NOW).unwrap();
    let mut record = KeyRecord::new(id, digest_like_no_other(id), name, NOW);
    record.owner = Some("user\u{202e}1\n".into());
    record.details.tier = Some(" ".into());
    record.details.description = Some("\u{1b}[2J".into());
    record
}

#[tokio::test]
async fn what_was_stored_before_can_be_read_restricted_and_ended() {
    let managed = Managed::new();
    let manager = managed.manager.for_owner("user\u{202e}1\n");
    let store = async || {
        let row = old_row("old\u{1b}[2J");
        managed.store.insert(&row).await.unwrap();
        row.id
    };
    let id = store().await;
    assert_eq!(&*manager.get(id).await.unwrap().name, "old\u{1b}[2J");
    assert_eq!(managed.rows().await.len(), 1);
    let restricted = KeyPatch {
        disabled: Some(true),
        allowed_addresses: Some(vec!["192.0.2.0/24".parse().unwrap()]),
        ..KeyPatch::default()
    };
    assert!(manager.update(id, restricted).await.unwrap().disabled);
    for again in ["old\u{1b}[3J", "\u{7f}"] {
        let patch = KeyPatch { name: Some(again.to_owned()), ..KeyPatch::default() };
        assert_eq!(why(manager.update(id, patch).await), "invalid name");
    }
    let cured = KeyPatch {
        name: Some("new".into()),
        tier: Some(None),
        description: Some(None),
        ..KeyPatch::default()
    };
    assert_eq!(&*manager.update(id, cured).await.unwrap().name, "new");

    let rotated = store().await;
    manager.rotate(rotated, tower_api_key::manage::RotationGrace::NONE).await.unwrap();
    manager.revoke(store().await, None).await.unwrap();
    manager.delete(store().await).await.unwrap();
}

/// Left out, a character would make one actor look like another.
#[tokio::test]
async fn an_actor_is_shown_as_it_is_or_seen_to_be_strange() {
    let managed = Managed::new();
    for c in disruptive() {
        managed.manager.acting_as(&format!("ad{c}min")).create(NewKey::named("n")).await.unwrap();
        assert_eq!(managed.heard()[0].actor.as_deref(), Some("ad\u{fffd}min"), "{c:?}");
    }
}
