//! Rows from text: CSV with a header (RFC 4180), or a JSON object on each line.

use std::io::{self, BufRead, Read};

use serde_json::Value;

use super::{
    columns::Fields,
    row::Bad,
    source::{Item, Row, Send},
};

pub(super) fn csv(input: impl Read, send: Send<'_>) -> io::Result<()> {
    let mut reader = csv::Reader::from_reader(input);
    let header: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    if !send(Ok(Item::Header(header.clone()))) {
        return Ok(());
    }
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        let fields = match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let values = record.iter().map(|value| Value::String(value.to_owned()));
                Ok(header.iter().cloned().zip(values).collect())
            }
            Err(error) => match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    Err(Bad::new(format!("has {len} columns, and the header {expected_len}")))
                }
                csv::ErrorKind::Utf8 { .. } => Err(Bad::new("is not UTF-8")),
                _ => return Err(error.into()),
            },
        };
        // Where the reader was before the record, unless empty lines came in between.
        let line = record.position().map_or(line, csv::Position::line).max(line);
        if !send(Ok(Item::Row(Row { place: format!("line {line}"), fields }))) {
            return Ok(());
        }
    }
}

/// A row is at most this long, so that a file without line ends does not fill the memory.
const MAX_LINE: u64 = 1 << 20;

pub(super) fn json_lines(mut input: impl BufRead, send: Send<'_>) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == MAX_LINE {
            return Err(io::Error::other(format!("line {number} is longer than 1 MiB")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let fields: Result<Fields, _> = serde_json::from_slice(&line);
        // The parser's own words may hold a piece of the line.
        let fields = fields.map_err(|_| Bad::new("is not a JSON object"));
        if !send(Ok(Item::Row(Row { place: format!("line {number}"), fields }))) {
            return Ok(());
        }
    }
    Ok(())
}
