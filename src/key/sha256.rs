//! SHA-256 (FIPS 180-4 §6.2) and HMAC under it (RFC 2104) of short texts, block by block: the
//! general hashers' bookkeeping would cost as many instructions again as the compression does with
//! SHA extensions.

use sha2::{Digest, Sha256, block_api::compress256};
use zeroize::{Zeroize, Zeroizing, optimization_barrier};

use super::digest::KeyDigest;

const BLOCK: usize = 64;
/// The length at the end of the last block.
const LENGTH: usize = 8;

type State = [u32; 8];

/// §5.3.3
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256 of the text.
#[inline]
pub(super) fn sha256(text: &[u8]) -> [u8; 32] {
    finish(INITIAL, 0, text)
}

/// A secret for HMAC, of which the first block of either hash is done. Wiped on drop.
#[derive(Clone)]
pub(super) struct HmacKey {
    inner: State,
    outer: State,
}

impl HmacKey {
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; BLOCK]);
        if secret.len() > BLOCK {
            key[..32].copy_from_slice(&Sha256::digest(secret));
        } else {
            key[..secret.len()].copy_from_slice(secret);
        }
        let padded = |pad: u8| {
            let mut state = INITIAL;
            let block = Zeroizing::new(key.map(|byte| byte ^ pad));
            compress256(&mut state, std::slice::from_ref(&*block));
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// Tells secrets from each other. No key is hashed like this: none is empty.
    pub(super) fn fingerprint(&self) -> KeyDigest {
        KeyDigest::from_bytes(self.mac(b""))
    }

    /// HMAC-SHA256 of the text.
    #[inline]
    pub(super) fn mac(&self, text: &[u8]) -> [u8; 32] {
        let inner = finish(self.inner, 1, text);
        finish(self.outer, 1, &inner)
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// The hash of a message that ends with this text, after so many blocks, which led to this state.
#[inline]
fn finish(mut state: State, blocks: usize, text: &[u8]) -> [u8; 32] {
    let bits = ((blocks * BLOCK + text.len()) as u64) * 8;
    // A key of up to 55 bytes is one block with all that ends it.
    let (whole, last) = text.as_chunks();
    if !whole.is_empty() {
        compress256(&mut state, whole);
    }
    let mut block = [0; BLOCK];
    // §5.1.1: a one bit ends the message, and the last eight bytes are its length in bits.
    if let Some((start, [end, ..])) = block.split_at_mut_checked(last.len()) {
        start.copy_from_slice(last);
        *end = 0x80;
    }
    if last.len() >= BLOCK - LENGTH {
        compress256(&mut state, std::slice::from_ref(&block));
        block.fill(0);
    }
    block[BLOCK - LENGTH..].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, std::slice::from_ref(&block));
    block.fill(0);
    optimization_barrier(&block); // The copy of the key is gone for good.

    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn the_example_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(crate::text::hex(sha256(b"abc")), expected);
    }

    #[test]
    fn every_length_to_beyond_two_blocks() {
        let text: Vec<u8> = (0..=255).collect();
        for length in 0..=200 {
            let text = &text[..length];
            assert_eq!(sha256(text), <[u8; 32]>::from(Sha256::digest(text)), "{length}");
            let key = &[7; 32];
            assert_eq!(HmacKey::new(key).mac(text), by_crate(key, text), "{length}");
        }
    }

    #[test]
    fn the_examples_of_rfc_4231() {
        let whole = b"This is a test using a larger than block-size key and a larger than \
            block-size data. The key needs to be hashed before being used by the HMAC algorithm.";
        let count: Vec<u8> = (1..=25).collect();
        for (key, text, mac) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &count,
                &[0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &[0xaa; 131],
                whole,
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ] {
            assert_eq!(crate::text::hex(HmacKey::new(key).mac(text)), mac);
        }
    }

    fn by_crate(key: &[u8], text: &[u8]) -> [u8; 32] {
        let mac = <Hmac<Sha256>>::new_from_slice(key).unwrap();
        mac.chain_update(text).finalize().into_bytes().into()
    }

    proptest! {
        #[test]
        fn as_the_general_hashers(key in vec(any::<u8>(), 0..200), text in vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(sha256(&text), <[u8; 32]>::from(Sha256::digest(&text)));
            prop_assert_eq!(HmacKey::new(&key).mac(&text), by_crate(&key, &text));
        }
    }
}
