//! A bus message never fails a reader, and a digest in it is never lost.

use super::choices::Choices;
use crate::{
    key::KeyDigest,
    store::{AnnouncedKey, AnnouncedState, Announcement, StoreId},
};

const STATES: [AnnouncedState; 7] = [
    AnnouncedState::Live,
    AnnouncedState::Moved,
    AnnouncedState::Revoked,
    AnnouncedState::Disabled,
    AnnouncedState::Expired,
    AnnouncedState::Deleted,
    AnnouncedState::Unsure,
];

/// Any text is read; and what is written is read back, whatever later versions add.
pub fn bus_messages(input: &[u8]) {
    let mut choices = Choices::new(input);
    if choices.is() {
        any_text(choices.rest());
    } else {
        written(choices);
    }
}

fn any_text(text: &[u8]) {
    let read = Announcement::parse(text);
    // A key takes 64 bytes of the text at least, so memory is bounded by what came.
    assert!(read.keys().len() <= (text.len() + 1) / 65);
    assert!(!read.is_empty());
    let parts: Vec<_> = text.split(|byte| *byte == b';').collect();
    let (store, keys) = if parts.len() > 1 { (Some(parts[0]), parts[1]) } else { (None, parts[0]) };
    let digest = |key: &&[u8]| {
        let digits = key.split(|byte| *byte == b':').next()?;
        (digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit))
            .then(|| digits.to_ascii_lowercase())
    };
    let keys: Vec<_> = keys.split(|byte| *byte == b',').collect();
    let expected: Vec<_> = keys.iter().filter_map(digest).collect();
    let digests: Vec<_> = read.digests().map(|digest| digest.to_hex().into_bytes()).collect();
    assert_eq!(digests, expected);
    let others = keys.iter().filter(|key| ***key == b"reset"[..] || is_watermark(key)).count();
    assert_eq!(read.is_readable(), expected.len() + others == keys.len());
    let watermarks = keys.iter().filter(|key| is_watermark(key)).count();
    assert_eq!(read.watermarks().len(), watermarks);
    assert_eq!(read.is_reset(), keys.contains(&&b"reset"[..]));
    assert!(read.store().is_none() || store.is_some());
    round_trip(&read);
}

/// `*`, the time, and perhaps the owner in hexadecimal digits.
fn is_watermark(text: &[u8]) -> bool {
    let mut fields = text.split(|byte| *byte == b':').map(|field| str::from_utf8(field).ok());
    let is_star = fields.next() == Some(Some("*"));
    let is_time = |time: &str| {
        let digits = time.strip_prefix('-').unwrap_or(time);
        digits.bytes().all(|byte| byte.is_ascii_digit()) && time.parse::<i64>().is_ok()
    };
    let has_time = fields.next().flatten().is_some_and(is_time);
    let is_owner = |digits: &str| {
        let is_hex =
            digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits.len().is_multiple_of(2);
        let bytes = (0..digits.len() / 2 * usize::from(is_hex))
            .map(|place| u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).unwrap_or(0));
        is_hex && String::from_utf8(bytes.collect()).is_ok()
    };
    let has_owner = fields.next().is_none_or(|owner| owner.is_some_and(is_owner));
    is_star && has_time && has_owner && fields.next().is_none()
}

fn written(mut choices: Choices<'_>) {
    let store = choices.is().then(|| StoreId::from_bytes(choices.array()));
    let keys: Vec<_> = (0..choices.below(9))
        .map(|_| {
            let key = AnnouncedKey::new(KeyDigest::from_bytes(choices.array()));
            let revision = choices.is().then(|| choices.number());
            revision.map_or(key, |revision| key.with_change(revision, *choices.pick(&STATES)))
        })
        .collect();
    let announcement = Announcement::new(keys.iter().copied()).of_store(store);
    assert_eq!(announcement.is_empty(), keys.is_empty());
    if keys.is_empty() {
        assert_eq!(announcement.to_text(), "");
        return;
    }
    round_trip(&announcement);
    let max = choices.below(256) * 4;
    let texts = announcement.to_texts(max);
    assert!(texts.iter().all(|text| text.len() <= max.max(127)));
    let read: Vec<_> = texts.iter().map(|text| Announcement::parse(text.as_bytes())).collect();
    assert!(read.iter().all(|read| read.is_readable() && read.store() == store));
    assert!(read.iter().flat_map(Announcement::keys).eq(&keys));

    // Before stores and changes were announced.
    let digests: Vec<_> = keys.iter().map(|key| key.digest().to_hex()).collect();
    let old = Announcement::parse(digests.join(",").as_bytes());
    assert!(old.is_readable() && old.store().is_none());
    assert!(old.digests().eq(keys.iter().map(|key| *key.digest())));
    assert!(old.keys().iter().all(|key| key.revision().is_none() && key.state().is_none()));

    // Of a version to come: fields behind the store and each key, and parts behind the keys.
    let field = |choices: &mut Choices<'_>| -> Vec<u8> {
        let bytes = choices.bytes(12).iter().filter(|byte| !b":;,".contains(byte));
        [&b":"[..], &bytes.copied().collect::<Vec<_>>()].concat()
    };
    let store_text = store.map_or_else(|| "unknown".to_owned(), |store| store.to_string());
    let mut later = [store_text.as_bytes(), &field(&mut choices), b";"].concat();
    for (number, key) in keys.iter().enumerate() {
        let text = Announcement::new([*key]).to_text();
        let separator = if number > 0 { &b","[..] } else { b"" };
        let added = if key.revision().is_some() { field(&mut choices) } else { Vec::new() };
        later.extend([separator, text.as_bytes(), &added].concat());
    }
    later.push(b';');
    later.extend_from_slice(choices.rest());
    let read = Announcement::parse(&later);
    assert!(read.is_readable());
    assert_eq!((read.store(), read.keys()), (store, &keys[..]));
}

fn round_trip(announcement: &Announcement) {
    let text = announcement.to_text();
    let read = Announcement::parse(text.as_bytes());
    assert_eq!(&read, announcement);
    assert_eq!(read.to_text(), text);
}
