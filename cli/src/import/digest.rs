//! Digests, as other systems write them.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use tower_api_key::key::KeyDigest;

use super::row::Bad;
use crate::import::columns::KEY_HASH;

/// The mark before a digest, in any case, by which it is told from other hashes.
const PREFIXES: [&str; 4] = ["sha256:", "sha256-", "sha256$", "{sha256}"];

/// A SHA-256 digest: 64 hexadecimal digits, or 32 bytes in base64 or base64url, padded or not.
/// `None` for a text that is none.
///
/// 32 random bytes in base64 are also how many systems make keys, so without a prefix that form is
/// read only where the caller says that there are digests.
pub(super) fn read(text: &str, may_be_base64: bool) -> Result<Option<KeyDigest>, Bad> {
    let prefix = PREFIXES.iter().find(|prefix| {
        text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    });
    if let Some(prefix) = prefix {
        let text = &text[prefix.len()..];
        let digest = KeyDigest::from_hex(text).or_else(|| base64(text));
        let bad = || Bad::field(KEY_HASH, "has no SHA-256 digest behind its prefix");
        return digest.map(Some).ok_or_else(bad);
    }
    // PostgreSQL and SQL Server write bytes like this.
    let hex = text.strip_prefix("\\x").or_else(|| text.strip_prefix("0x")).unwrap_or(text);
    if let Some(digest) = KeyDigest::from_hex(hex) {
        return Ok(Some(digest));
    }
    match base64(text) {
        Some(_) if !may_be_base64 => Err(Bad::field(
            KEY_HASH,
            "may be a key or a digest in base64: say --plain-keys or --base64-digests",
        )),
        digest => Ok(digest),
    }
}

fn base64(text: &str) -> Option<KeyDigest> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [STANDARD, URL_SAFE].iter().find_map(|alphabet| {
        let bytes = GeneralPurpose::new(alphabet, config).decode(text).ok()?;
        Some(KeyDigest::from_bytes(bytes.try_into().ok()?))
    })
}
