//! Base62 and the checksum at the end of a key.

/// Digits, upper case, lower case: the order of GitHub's token checksums.
pub(super) const BASE62: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub(super) const CHECKSUM_LEN: usize = 6;

/// The CRC-32 (IEEE) of `text` in base62, most significant digit first, padded with `0`.
///
/// 62⁶ is 13 times 2³², so six digits always suffice.
pub(super) fn checksum(text: &[u8]) -> [u8; CHECKSUM_LEN] {
    six_digits(crc32(text).into())
}

/// The last six digits of a number in base62, most significant first, padded with `0`.
pub(super) fn six_digits(mut number: u64) -> [u8; 6] {
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(number % 62) as usize];
        number /= 62;
    }
    digits
}

/// Whether `digits`, which must be base62, are the checksum of `text`. Reads the digits instead
/// of writing them, which needs no divisions.
#[inline]
pub(super) fn is_checksum(text: &[u8], digits: [u8; CHECKSUM_LEN]) -> bool {
    number(digits) == u64::from(crc32(text))
}

/// What six digits of base62 are worth.
#[inline]
pub(super) fn number(digits: [u8; 6]) -> u64 {
    let digits = digits.iter().map(|digit| u64::from(VALUES[usize::from(*digit)]));
    digits.fold(0, |number, digit| number * 62 + digit)
}

/// What each byte is worth as a base62 digit.
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [0; 256];
    let mut value = 0;
    while value < 62 {
        values[BASE62[value as usize] as usize] = value;
        value += 1;
    }
    values
}

/// The CRC-32 (IEEE 802.3) of a text. Eight bytes at a time, which suits the 30 bytes of a key: a
/// library's instructions for vectors pay from hundreds of bytes on, and a call to choose between them
/// costs a part of what a key's checksum takes.
#[inline]
pub(crate) fn crc32(text: &[u8]) -> u32 {
    let (chunks, rest) = text.as_chunks::<8>();
    let state = chunks.iter().fold(u32::MAX, |state, chunk| {
        let bytes = (u64::from_le_bytes(*chunk) ^ u64::from(state)).to_le_bytes();
        let parts = bytes.iter().zip(CRC32.iter().rev());
        parts.fold(0, |state, (byte, table)| state ^ table[usize::from(*byte)])
    });
    !rest.iter().fold(state, |state, byte| {
        let [low, ..] = state.to_le_bytes();
        CRC32[0][usize::from(low ^ byte)] ^ (state >> 8)
    })
}

/// What a byte does to a checksum by the time that so many others have followed it.
static CRC32: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte: u8 = 0;
    loop {
        let mut state = byte as u32;
        let mut table = 0;
        while table < 8 {
            let mut bit = 0;
            while bit < 8 {
                // The polynomial, its lowest power in the highest bit.
                state = (state >> 1) ^ if state & 1 == 1 { 0xedb8_8320 } else { 0 };
                bit += 1;
            }
            tables[table][byte as usize] = state;
            table += 1;
        }
        if byte == u8::MAX {
            break tables;
        }
        byte += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values() {
        // CRC-32 of the empty string is 0; of "123456789" it is 0xCBF43926, 3_421_780_262 in
        // decimal and 3jZRME in base62.
        assert_eq!(&checksum(b""), b"000000");
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
    }

    /// Bit by bit, as the polynomial says.
    fn slow_crc32(text: &[u8]) -> u32 {
        let bit = |state: u32, _| (state >> 1) ^ if state & 1 == 1 { 0xedb8_8320 } else { 0 };
        !text.iter().fold(u32::MAX, |state, byte| (0..8).fold(state ^ u32::from(*byte), bit))
    }

    /// The tables are made by the compiler. Here they are made once more, by what makes them.
    #[test]
    fn tables_are_what_they_stand_for() {
        let values = values();
        for (value, digit) in BASE62.iter().enumerate() {
            assert_eq!(usize::from(values[usize::from(*digit)]), value);
        }
        let tables = tables();
        for (followers, table) in tables.iter().enumerate() {
            for byte in 0..=u8::MAX {
                // Alone: without the ones that a checksum begins and ends with.
                let with = |byte| slow_crc32(&[&[byte][..], &[0; 7][..followers]].concat());
                assert_eq!(table[usize::from(byte)], with(byte) ^ with(0));
            }
        }
    }

    proptest! {
        #[test]
        fn many_bytes_at_once_are_as_one_after_the_other(text: Vec<u8>) {
            prop_assert_eq!(crc32(&text), slow_crc32(&text));
        }

        #[test]
        fn written_checksums_are_read_back(text: Vec<u8>, other in "[0-9A-Za-z]{6}") {
            let digits = checksum(&text);
            let other = other.as_bytes().try_into().unwrap();
            prop_assert!(is_checksum(&text, digits));
            prop_assert_eq!(is_checksum(&text, other), other == digits);
        }
    }
}
