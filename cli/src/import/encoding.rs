//! Text in UTF-8 or UTF-16, told by the mark at its beginning.

use std::io::{self, BufRead, BufReader, Cursor, Read};

/// The text in UTF-8, without its mark. A text without one is taken for UTF-8.
pub(super) fn utf8(mut input: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut start = Vec::new();
    input.by_ref().take(3).read_to_end(&mut start)?;
    Ok(match start.as_slice() {
        [0xef, 0xbb, 0xbf] => Box::new(input),
        [0xff, 0xfe, rest @ ..] => {
            Box::new(BufReader::new(Utf16::new(rest.to_vec(), input, u16::from_le_bytes)))
        }
        [0xfe, 0xff, rest @ ..] => {
            Box::new(BufReader::new(Utf16::new(rest.to_vec(), input, u16::from_be_bytes)))
        }
        _ => Box::new(Cursor::new(start).chain(input)),
    })
}

/// Reads UTF-16 as UTF-8.
struct Utf16<R> {
    input: io::Chain<Cursor<Vec<u8>>, R>,
    unit: fn([u8; 2]) -> u16,
    /// The first half of a character whose second one is still to be read.
    half: Option<u16>,
    decoded: Cursor<Vec<u8>>,
}

impl<R: Read> Utf16<R> {
    fn new(start: Vec<u8>, input: R, unit: fn([u8; 2]) -> u16) -> Self {
        let input = Cursor::new(start).chain(input);
        Self { input, unit, half: None, decoded: Cursor::default() }
    }

    /// Decodes the next piece. Nothing is decoded at the end.
    fn decode(&mut self) -> io::Result<()> {
        const PIECE: u64 = 8192;
        let bad = || io::Error::other("the text is not valid UTF-16");
        let mut bytes = Vec::new();
        self.input.by_ref().take(PIECE).read_to_end(&mut bytes)?;
        let (pairs, rest) = bytes.as_chunks::<2>();
        let is_last = (bytes.len() as u64) < PIECE;
        if !rest.is_empty() || (is_last && bytes.is_empty() && self.half.is_some()) {
            return Err(bad());
        }
        let mut units: Vec<u16> = self.half.take().into_iter().collect();
        units.extend(pairs.iter().map(|pair| (self.unit)(*pair)));
        if !is_last && units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
            self.half = units.pop();
        }
        let text: Result<String, _> = char::decode_utf16(units).collect();
        self.decoded = Cursor::new(text.map_err(|_| bad())?.into_bytes());
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoded.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        self.decode()?;
        self.decoded.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: Vec<u8>) -> io::Result<String> {
        io::read_to_string(utf8(Cursor::new(bytes))?)
    }

    #[test]
    fn marks_are_told() {
        // So long that pieces end within characters of two units.
        let text = "a😀".repeat(9_000) + "é";
        let units: Vec<u16> = text.encode_utf16().collect();
        let le: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let be: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        assert_eq!(read([&[0xff, 0xfe], &le[..]].concat()).unwrap(), text);
        assert_eq!(read([&[0xfe, 0xff], &be[..]].concat()).unwrap(), text);
        assert_eq!(read([&[0xef, 0xbb, 0xbf], text.as_bytes()].concat()).unwrap(), text);
        for plain in ["", "a", "ab", "abc", "abcd"] {
            assert_eq!(read(plain.into()).unwrap(), plain);
        }
    }

    #[test]
    fn what_is_no_utf_16() {
        for rest in [&b"a"[..], b"\x00\xd8", b"\x00\xd8a\x00", b"\x00\xdc"] {
            assert!(read([&[0xff, 0xfe], rest].concat()).is_err(), "{rest:?}");
        }
    }
}
