//! [`Fields`]: the fields of a message, one after the other, each a part of what was received.

use bytes::{Buf, Bytes};

use super::{LENGTH_DELIMITED, VARINT};

const FIXED_64: u8 = 1;
const FIXED_32: u8 = 5;

/// The most bytes that a varint of 64 bits takes.
const MAX_VARINT: u32 = 10;

/// The highest number of a field.
const MAX_FIELD: u64 = (1 << 29) - 1;

/// The rest of a message.
#[derive(Debug)]
pub(crate) struct Fields(Bytes);

/// The value of a field.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Of type `string` or `bytes`, or a message.
    Bytes(Bytes),
    /// Of another type: no message that is read here needs one.
    Other,
}

/// These bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Fields {
    pub(crate) fn of(message: Bytes) -> Self {
        Self(message)
    }

    /// The next field, with its number; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = tag >> 3;
        if field == 0 || field > MAX_FIELD {
            return Err(Malformed);
        }
        let value = match tag.to_le_bytes()[0] & 7 {
            VARINT => {
                self.varint()?;
                Value::Other
            }
            FIXED_64 => self.skip(8)?,
            FIXED_32 => self.skip(4)?,
            LENGTH_DELIMITED => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                if length > self.0.len() {
                    return Err(Malformed);
                }
                Value::Bytes(self.0.split_to(length))
            }
            // Groups, which the third version of the language does not have.
            _ => return Err(Malformed),
        };
        // Below `MAX_FIELD`.
        u32::try_from(field).map(|field| Some((field, value))).map_err(|_| Malformed)
    }

    fn skip(&mut self, length: usize) -> Result<Value, Malformed> {
        if length > self.0.len() {
            return Err(Malformed);
        }
        self.0.advance(length);
        Ok(Value::Other)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for count in 0..MAX_VARINT {
            let Some((&byte, _)) = self.0.split_first() else { return Err(Malformed) };
            self.0.advance(1);
            let bits = u64::from(byte & 0x7f);
            // Of the tenth byte, one bit is left.
            if count == MAX_VARINT - 1 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << (7 * count);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{self, DecodeContext, WireType};

    use super::*;

    /// The fields as another implementation reads them.
    fn by_prost(mut message: &[u8]) -> Option<Vec<(u32, Value)>> {
        let mut fields = Vec::new();
        while !message.is_empty() {
            let (field, wire_type) = encoding::decode_key(&mut message).ok()?;
            let value = match wire_type {
                WireType::StartGroup | WireType::EndGroup => return None,
                WireType::LengthDelimited => {
                    let length = encoding::decode_varint(&mut message).ok()?;
                    let length = usize::try_from(length).ok().filter(|l| *l <= message.len())?;
                    Value::Bytes(message.copy_to_bytes(length))
                }
                other => {
                    encoding::skip_field(other, field, &mut message, DecodeContext::default())
                        .ok()?;
                    Value::Other
                }
            };
            fields.push((field, value));
        }
        Some(fields)
    }

    fn by_us(message: &[u8]) -> Option<Vec<(u32, Value)>> {
        let mut fields = Fields::of(Bytes::copy_from_slice(message));
        let mut found = Vec::new();
        while let Some(field) = fields.next().ok()? {
            found.push(field);
        }
        Some(found)
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        for bytes in [
            &[0x00][..],
            &[0x80],
            &[0x08],
            &[0x0a, 0x01],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x09, 0, 0, 0, 0, 0, 0, 0],
            &[0x0b, 0x0c],
            &[0x0d, 0, 0, 0],
            &[0x0e],
        ] {
            assert_eq!(by_us(bytes), None, "{bytes:?}");
        }
        assert_eq!(by_us(&[]), Some(Vec::new()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_bytes_are_read_as_another_implementation_reads_them(
            message in proptest::collection::vec(
                prop_oneof![any::<u8>(), 0_u8..4, Just(0x0a_u8), Just(0x80)],
                0..40,
            )
        ) {
            prop_assert_eq!(by_us(&message), by_prost(&message));
        }
    }
}
