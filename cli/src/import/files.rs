//! Rows from CSV with a header.

use std::io::{self, BufRead, Cursor, Read};

use serde_json::Value;

use super::{
    row::Bad,
    source::{Item, Place, Row, Send},
};
use crate::{
    csv::{Field, Reader, Record},
    exported,
};

/// How a file is written, as far as it does not say so itself.
#[derive(Clone)]
pub(super) struct Dialect {
    /// The delimiter of its fields; found out from the header if it is not given.
    pub(super) delimiter: Option<u8>,
    /// Texts that are nothing where they stand without quotes.
    pub(super) nulls: Vec<String>,
}

/// The texts that databases and Python write for nothing.
const NULLS: [&str; 4] = ["NULL", "null", "\\N", "None"];

pub(super) fn csv(input: impl BufRead, dialect: &Dialect, send: Send<'_>) -> io::Result<()> {
    let (delimiter, input) = match dialect.delimiter {
        Some(delimiter) => (delimiter, Cursor::new(Vec::new()).chain(input)),
        None => sniffed(input)?,
    };
    let mut reader = Reader::new(input, delimiter);
    let header = reader.next()?.map(|record| record.fields).unwrap_or_default();
    let header: Option<Vec<String>> = header.into_iter().map(|field| field.text).collect();
    let header = header.ok_or_else(|| io::Error::other("the header is not UTF-8"))?;
    if !send(Ok(Item::Header(header.clone()))) {
        return Ok(());
    }
    let is_export = header.iter().any(|column| column == exported::VERSION);
    let is_null =
        |text: &str| NULLS.contains(&text) || dialect.nulls.iter().any(|null| null == text);
    let cell = |column: &String, Field { text, quoted }: Field| {
        let text = text.ok_or_else(|| Bad::new("is not UTF-8"))?;
        let value = if is_export {
            exported::value(column, &text).ok_or_else(|| Bad::new("has a cell that is not JSON"))?
        } else if !quoted && is_null(&text) {
            Value::Null
        } else {
            Value::String(text)
        };
        Ok((column.clone(), value))
    };
    while let Some(Record { line, fields }) = reader.next()? {
        let fields = if fields.len() == header.len() {
            header.iter().zip(fields).map(|(column, field)| cell(column, field)).collect()
        } else {
            Err(Bad::new(format!("has {} columns, and the header {}", fields.len(), header.len())))
        };
        if !send(Ok(Item::Row(Row { place: Place::new("line", line), fields }))) {
            return Ok(());
        }
    }
    Ok(())
}

type Start = Cursor<Vec<u8>>;

/// The delimiter that the header has, and all of the input again.
fn sniffed<R: BufRead>(mut input: R) -> io::Result<(u8, io::Chain<Start, R>)> {
    const MAX_HEADER: u64 = 64 * 1024;
    const DELIMITERS: [u8; 4] = *b",;\t|";
    let mut start = Vec::new();
    input.by_ref().take(MAX_HEADER).read_until(b'\n', &mut start)?;
    let mut in_quotes = false;
    let header = start.iter().take_while(|byte| !matches!(byte, b'\r' | b'\n'));
    let bare: Vec<u8> = header
        .copied()
        .filter(|byte| {
            in_quotes ^= *byte == b'"';
            !in_quotes
        })
        .collect();
    let mut found = DELIMITERS.into_iter().filter(|delimiter| bare.contains(delimiter));
    let delimiter = found.next().unwrap_or(b',');
    if found.next().is_some() {
        let text = "the header has more than one character that may part its columns; say which \
                    does with --delimiter";
        return Err(io::Error::other(text));
    }
    Ok((delimiter, Cursor::new(start).chain(input)))
}

/// Reads the argument: a character, or the name of one that is hard to type.
pub(super) fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err("must be one character, or `tab`".to_owned()),
    }
}
