//! The wire format of protocol buffers: fields that are written, and with feature `ext-authz` those that are
//! read. Messages that use it are few and small, and take no library and no generated code.

#[cfg(feature = "ext-authz")]
mod fields;

#[cfg(feature = "ext-authz")]
pub(crate) use self::fields::{Fields, Malformed, Value};

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// A field of type `bool`, `int32`, `int64` or an enumeration. Zero is left out, as of every field that has
/// its default.
pub(crate) fn number(message: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        message.push(field << 3 | VARINT);
        varint(message, value);
    }
}

/// A field of type `string`.
pub(crate) fn text(message: &mut Vec<u8>, field: u8, text: &str) {
    bytes(message, field, text.as_bytes());
}

/// A field of type `bytes`.
pub(crate) fn bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        nested(message, field, bytes);
    }
}

/// A field that is a message, which is there also where it is empty.
pub(crate) fn nested(message: &mut Vec<u8>, field: u8, nested: &[u8]) {
    message.push(field << 3 | LENGTH_DELIMITED);
    varint(message, nested.len() as u64);
    message.extend_from_slice(nested);
}

/// Seven bits a byte, the lowest first. The highest bit says that more follow.
fn varint(message: &mut Vec<u8>, mut value: u64) {
    const MORE: u8 = 0x80;
    loop {
        let [lowest, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            message.push(lowest);
            return;
        }
        message.push(lowest | MORE);
    }
}
