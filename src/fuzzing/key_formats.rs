//! Keys are recognized by their form, and a changed one is not.

use sha2::{Digest, Sha256};

use super::choices::Choices;
use crate::key::{
    IssuerSecrets, KeyFormat, KeyHasher, Shape, has_checksum, is_accepted, is_prefixed, shape,
};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRETS: [&[u8]; 3] = [
    b"the current issuer secret of a fuzzer",
    b"the next issuer secret of a fuzzer..",
    b"an issuer secret of another service.",
];

/// Reading by the documentation, bit by bit and without chunks, agrees with the formats.
pub fn key_formats(input: &[u8]) {
    let mut choices = Choices::new(input);
    let chosen = choices.pick(&["acme", "acme_live", "a", ""]);
    let prefix = if chosen.is_empty() { choices.text(30) } else { (*chosen).to_owned() };
    let plain = KeyFormat::new(&prefix);
    assert_eq!(plain.is_ok(), is_prefix(&prefix), "{prefix:?}");
    let Ok(plain) = plain else { return };
    let secrets = IssuerSecrets::new(SECRETS[0]).unwrap().with_next(SECRETS[1]).unwrap();
    let sealed = plain.clone().sealed(secrets, &KeyHasher::sha256()).unwrap();
    let only = sealed.clone().sealed_only().unwrap();

    let secret: String = choices
        .array::<43>()
        .map(|byte| char::from(DIGITS[usize::from(byte % 62)]))
        .iter()
        .collect();
    let text = format!("{prefix}_{secret}");
    let checked = format!("{text}{}", six_digits(slow_crc32(text.as_bytes()).into()));
    for (format, is_good) in [(&plain, true), (&sealed, true), (&only, false)] {
        assert_eq!(format.recognizes(&checked), is_good);
    }
    for (issuer, is_good) in SECRETS.into_iter().zip([true, true, false]) {
        let key = format!("{text}{}", seal(issuer, text.as_bytes()));
        assert!(!plain.recognizes(&key));
        assert_eq!((sealed.recognizes(&key), only.recognizes(&key)), (is_good, is_good));
        assert!(!only.recognizes(&changed(&key, &mut choices)));
    }
    let typo = changed(&checked, &mut choices);
    assert!(![&plain, &sealed, &only].iter().any(|format| format.recognizes(&typo)));
    assert_eq!(plain.start(&checked), format!("{prefix}_{}", &secret[..4]));

    if choices.below(16) == 0 {
        for format in [&plain, &sealed, &only, &KeyFormat::opaque()] {
            let key = format.generate().unwrap();
            assert!(format.recognizes(key.expose()));
        }
    }
    numbered(&plain, &checked, &typo, &mut choices);
    let formats = [only, plain.clone(), KeyFormat::opaque()];
    any_bytes(&formats, &prefix, choices.rest());
}

/// A number before a key of a prefix gets it past no format.
fn numbered(plain: &KeyFormat, good: &str, bad: &str, choices: &mut Choices<'_>) {
    let formats = [KeyFormat::opaque(), plain.clone()];
    let number = choices.number();
    for (key, is_good) in
        [(good, true), (bad, bad.get(..plain.prefix().len()) != Some(plain.prefix()))]
    {
        // A changed prefix makes it a key of the other format.
        let is_opaque = key.len() <= 512 && key.bytes().all(|byte| byte.is_ascii_graphic());
        assert_eq!(is_accepted(&formats, key.as_bytes()), is_good && is_opaque);
        assert_eq!(
            is_accepted(&formats, format!("{number}|{key}").as_bytes()),
            is_good && is_opaque
        );
    }
    let hasher = KeyHasher::sha256().with_numbered_keys();
    assert_eq!(hasher.digest(format!("{number}|{good}")), KeyHasher::sha256().digest(good));
    assert_eq!(*hasher.digest(good).as_bytes(), sha256(&[good.as_bytes()]));
}

/// What is accepted of any bytes has the form of one of the formats.
fn any_bytes(formats: &[KeyFormat; 3], prefix: &str, bytes: &[u8]) {
    let own = format!("{prefix}_");
    let tail = bytes.strip_prefix(own.as_bytes());
    let is_alphanumeric = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let with_checksum = tail.is_some_and(|tail| {
        let (text, digits) = bytes.split_at(bytes.len() - 6.min(bytes.len()));
        tail.len() == 49
            && tail.iter().all(u8::is_ascii_alphanumeric)
            && digits == six_digits(slow_crc32(text).into()).as_bytes()
    });
    assert_eq!(is_accepted(&formats[1..2], bytes), with_checksum);
    let is_opaque = (16..=512).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    assert_eq!(is_accepted(&formats[2..], bytes), is_opaque);
    for some in [&formats[..], &formats[..1], &formats[1..], &formats[2..]] {
        let is_judged = match shape(some, bytes) {
            Shape::Accepted => true,
            Shape::WithChecksum => has_checksum(bytes),
            Shape::Refused => false,
        };
        assert_eq!(is_accepted(some, bytes), is_judged);
        assert!(!is_judged || is_opaque);
        if is_judged && tail.is_some() && some.len() > 1 {
            assert!(is_alphanumeric && is_prefixed(some, bytes));
        }
    }
    if let Ok(text) = str::from_utf8(bytes) {
        for format in formats {
            assert!(text.starts_with(format.start(text)));
            assert_eq!(format.recognizes(text), is_accepted(std::slice::from_ref(format), bytes));
        }
    }
}

/// `[a-z][a-z0-9]*(_[a-z0-9]+)*`, at most 24 bytes.
fn is_prefix(text: &str) -> bool {
    let (mut was_word, mut is_good) = (false, text.len() <= 24);
    for (at, c) in text.chars().enumerate() {
        let is_word = c.is_ascii_lowercase() || (c.is_ascii_digit() && at > 0);
        is_good &= is_word || (c == '_' && was_word);
        was_word = is_word;
    }
    is_good && was_word
}

/// The key with another visible character somewhere.
fn changed(key: &str, choices: &mut Choices<'_>) -> String {
    let mut bytes = key.as_bytes().to_vec();
    let at = choices.below(bytes.len());
    let other = b'!' + choices.byte() % 94;
    bytes[at] = if bytes[at] == other { other ^ 1 } else { other };
    String::from_utf8(bytes).unwrap()
}

fn slow_crc32(text: &[u8]) -> u32 {
    let bit = |state: u32, _| (state >> 1) ^ if state & 1 == 1 { 0xedb8_8320 } else { 0 };
    !text.iter().fold(u32::MAX, |state, byte| (0..8).fold(state ^ u32::from(*byte), bit))
}

fn six_digits(number: u64) -> String {
    let digit = |place| DIGITS[usize::try_from(number / 62_u64.pow(place) % 62).unwrap()];
    (0..6).rev().map(|place| char::from(digit(place))).collect()
}

fn seal(secret: &[u8], text: &[u8]) -> String {
    let mac = hmac(&hmac(secret, b"tower-api-key seal"), text);
    let group = |at: usize| u64::from_be_bytes(mac[at..at + 8].try_into().unwrap());
    [group(0), group(8)].map(six_digits).concat()
}

/// HMAC-SHA256 (RFC 2104) under a key of at most 64 bytes.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(block, key)| *block ^= key);
        block
    };
    sha256(&[&padded(0x5c), &sha256(&[&padded(0x36), text])])
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sha256::new(), Sha256::chain_update).finalize().into()
}
