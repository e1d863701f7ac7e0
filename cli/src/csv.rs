//! CSV (RFC 4180), read and written.
//!
//! A reader of ours, because an import must know whether a field stood in quotes: `NULL` is
//! nothing, and `"NULL"` is a text.

use std::io::{self, BufRead, Write};

/// A field of a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// `None` if the bytes are not UTF-8.
    pub(crate) text: Option<String>,
    /// Whether it stood in quotes.
    pub(crate) quoted: bool,
}

#[derive(Debug)]
pub(crate) struct Record {
    /// The line that it begins on, counted from 1.
    pub(crate) line: u64,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Reader<R> {
    input: R,
    delimiter: u8,
    line: u64,
}

/// A record has at most so many bytes, so that a file with an open quote does not fill the memory.
const MAX_RECORD: usize = 1 << 20;

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R, delimiter: u8) -> Self {
        Self { input, delimiter, line: 1 }
    }

    /// The next record; `None` at the end. Empty lines are passed over. A text that is no CSV is an
    /// error, and there is no going on after it: with quotes in disorder, nothing that follows is
    /// what it seems.
    pub(crate) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            match self.peek()? {
                None => return Ok(None),
                Some(b'\r' | b'\n') => self.end_line()?,
                Some(_) => break,
            }
        }
        let mut record = Record { line: self.line, fields: Vec::new() };
        let mut left = MAX_RECORD;
        loop {
            record.fields.push(self.field(&mut left)?);
            match self.peek()? {
                None => return Ok(Some(record)),
                Some(b'\r' | b'\n') => {
                    self.end_line()?;
                    return Ok(Some(record));
                }
                Some(byte) if byte == self.delimiter => self.input.consume(1),
                Some(_) => return Err(self.error("there is text behind a closing quote")),
            }
        }
    }

    fn field(&mut self, left: &mut usize) -> io::Result<Field> {
        let quoted = self.peek()? == Some(b'"');
        let mut bytes = Vec::new();
        if quoted {
            self.input.consume(1);
        }
        loop {
            let byte = match self.peek()? {
                None if quoted => return Err(self.error("a quote is not closed")),
                None => break,
                Some(b'\r' | b'\n') if !quoted => break,
                Some(byte) if byte == self.delimiter && !quoted => break,
                Some(byte) => byte,
            };
            self.input.consume(1);
            if quoted && byte == b'"' {
                // Two of them are one of the text.
                if self.peek()? != Some(b'"') {
                    break;
                }
                self.input.consume(1);
            }
            if byte == b'\n' {
                self.line += 1;
            }
            *left = left.checked_sub(1).ok_or_else(|| self.error("a record is above 1 MiB"))?;
            bytes.push(byte);
        }
        Ok(Field { text: String::from_utf8(bytes).ok(), quoted })
    }

    fn end_line(&mut self) -> io::Result<()> {
        if self.peek()? == Some(b'\r') {
            self.input.consume(1);
        }
        if self.peek()? == Some(b'\n') {
            self.input.consume(1);
        }
        self.line += 1;
        Ok(())
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn error(&self, text: &str) -> io::Error {
        io::Error::other(format!("line {}: {text}", self.line))
    }
}

/// Writes a record. Fields are in quotes where they must be, and where another delimiter than the
/// comma would part them.
pub(crate) fn write_record<'f>(
    out: &mut impl Write,
    fields: impl IntoIterator<Item = &'f str>,
) -> io::Result<()> {
    for (place, field) in fields.into_iter().enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        if field.contains([',', ';', '\t', '"', '\r', '\n']) {
            write!(out, "\"{}\"", field.replace('"', "\"\""))?;
        } else {
            out.write_all(field.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8], delimiter: u8) -> io::Result<Vec<Record>> {
        let mut reader = Reader::new(text, delimiter);
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push(record);
        }
        Ok(records)
    }

    fn texts(record: &Record) -> Vec<Option<&str>> {
        record.fields.iter().map(|field| field.text.as_deref()).collect()
    }

    #[test]
    fn quotes_are_told_from_none() {
        let records = read(b"NULL,\"NULL\",,\"\",a\"b,\"a\"\"b\"", b',').unwrap();
        let fields = &records[0].fields;
        let quoted: Vec<_> = fields.iter().map(|field| field.quoted).collect();
        assert_eq!(quoted, [false, true, false, true, false, true]);
        let expected = ["NULL", "NULL", "", "", "a\"b", "a\"b"].map(Some);
        assert_eq!(texts(&records[0]), expected);
    }

    #[test]
    fn lines_end_in_every_way_and_are_counted() {
        let records = read(b"a;b\r\n\r\n\"x\ny\";c\rlast\n\n;\xff", b';').unwrap();
        let lines: Vec<_> = records.iter().map(|record| record.line).collect();
        assert_eq!(lines, [1, 3, 5, 7]);
        assert_eq!(texts(&records[1]), [Some("x\ny"), Some("c")]);
        assert_eq!(texts(&records[3]), [Some(""), None]);
    }

    #[test]
    fn disorder_ends_it() {
        for (text, why) in [
            (&b"a\n\"x\"y,z\n"[..], "line 2: there is text behind a closing quote"),
            (b"a\n\"x,\ny\n", "line 4: a quote is not closed"),
        ] {
            assert_eq!(read(text, b',').unwrap_err().to_string(), why);
        }
        let endless = [&b"\""[..], &vec![b'a'; MAX_RECORD + 1]].concat();
        assert!(read(&endless, b',').unwrap_err().to_string().contains("1 MiB"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            rows in proptest::collection::vec(
                proptest::collection::vec("[a,;\t\"\r\n =é]{0,6}", 2..4), 0..4,
            ),
        ) {
            let mut file = Vec::new();
            for row in &rows {
                write_record(&mut file, row.iter().map(String::as_str)).unwrap();
            }
            let records = read(&file, b',').unwrap();
            prop_assert_eq!(records.len(), rows.len());
            for (record, row) in records.iter().zip(&rows) {
                let row: Vec<_> = row.iter().map(|text| Some(text.as_str())).collect();
                prop_assert_eq!(texts(record), row);
            }
        }
    }
}
