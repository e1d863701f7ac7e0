//! Base62 and the checksum at the end of a key.

/// Digits, upper case, lower case: the order of GitHub's token checksums.
pub(super) const BASE62: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub(super) const CHECKSUM_LEN: usize = 6;

/// The CRC-32 (IEEE) of `text` in base62, most significant digit first, padded with `0`.
///
/// 62⁶ is 13 times 2³², so six digits always suffice.
pub(super) fn checksum(text: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // CRC-32 of the empty string is 0; of "123456789" it is 0xCBF43926 = 3_421_780_262.
        assert_eq!(&checksum(b""), b"000000");
        let mut value: u64 = 0;
        for digit in checksum(b"123456789") {
            let position = BASE62.iter().position(|c| *c == digit).unwrap();
            value = value * 62 + u64::try_from(position).unwrap();
        }
        assert_eq!(value, 0xCBF4_3926);
    }
}
