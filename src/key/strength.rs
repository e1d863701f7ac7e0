//! Whether a key can be guessed.

/// What a key must have at least. A generated key has 256 bits.
const MIN_BITS: f64 = 80.0;

/// Whether this key can be guessed: its length times the binary logarithm of the number of its
/// distinct characters is below 80 bits.
///
/// An upper bound of what its characters can carry: what is found weak is weak, and a passphrase
/// of common words may pass.
pub(crate) fn is_weak(key: &str) -> bool {
    let mut seen = [false; 256];
    key.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    // Keys have at most 512 bytes: both numbers are exact.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let bits = key.len() as f64 * (distinct as f64).log2();
    bits.is_nan() || bits < MIN_BITS
}

#[cfg(test)]
mod tests {
    use super::super::format::KeyFormat;
    use super::*;

    #[test]
    fn what_people_think_up_is_weak() {
        for weak in [
            "",
            "a",
            "change-me-please",
            "admin-secret-2026",
            "correcthorsebattery",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "1234567890123456",
            "0000000000000000000000000000000000000001",
        ] {
            assert!(is_weak(weak), "{weak}");
        }
    }

    #[test]
    fn what_was_drawn_is_not() {
        // As `openssl rand -hex 16`, `openssl rand -base64 18` and this crate make them.
        let drawn = ["9f86d081884c7d659a2feaa0c55ad015", "dGhlIHF1aWNrIGJyb3duIGZv"];
        let ours = KeyFormat::new("admin").unwrap().generate().unwrap();
        for strong in drawn.into_iter().chain([ours.expose()]) {
            assert!(!is_weak(strong), "{strong}");
        }
    }

    #[test]
    fn the_bound_is_80_bits() {
        // 16 distinct characters are 4 bits each.
        let distinct = "0123456789abcdef";
        assert!(is_weak(&format!("{distinct}012")), "76 bits");
        assert!(!is_weak(&format!("{distinct}0123")), "80 bits");
    }
}
