//! Printing: tables for people, JSON for programs. Plain text throughout, no colours.

use std::{
    fmt::Write as _,
    io::{self, Stdout, Write},
};

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::failure::Failure;

/// What a command prints on stdout.
pub(crate) struct Output {
    json: bool,
    stdout: Stdout,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, stdout: io::stdout() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A line for people. Programs learn from the exit code that it was done.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { self.line(text) }
    }

    /// A line as it is.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    /// An object on a line.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        // One call for all of it: stdout writes at every line's end.
        let mut line = plain_json(serde_json::to_string(value).map_err(io::Error::from)?);
        line.push('\n');
        let mut stdout = self.stdout.lock();
        stdout.write_all(line.as_bytes())?;
        Ok(stdout.flush()?)
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        for line in table.lines() {
            writeln!(stdout, "{}", line.trim_end())?;
        }
        Ok(stdout.flush()?)
    }
}

/// A remark for people, which is no part of the answer.
pub(crate) fn note(text: &str) {
    // The answer does not depend on it.
    let _ = writeln!(io::stderr(), "{text}");
}

/// How long services may go on accepting a key whose end they were not told of. Also for programs,
/// whose JSON is on stdout.
pub(crate) fn note_delay() {
    note(
        "Services that are told of no changes may accept an ended key for up to 30 seconds, the \
         default; their CACHE_TTL rules.",
    );
}

/// A table without lines, whose first column starts at the margin. Without a header if that is
/// empty.
pub(crate) fn table<const N: usize>(
    header: &[&str],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).add_rows(rows);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A text as a terminal may have it: what could move the cursor or change colours is spelt out.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unprintable(c) {
            let _ = write!(plain, "{}", c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// The same for JSON, which means the same afterwards: only its strings can hold such characters,
/// and those of ASCII are spelt out already.
fn plain_json(json: String) -> String {
    if !json.contains(is_unprintable) {
        return json;
    }
    let mut plain = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unprintable(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(plain, "\\u{unit:04x}");
            }
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Controls, ends of lines, and what shows nothing but changes the text around it. New keys have
/// few of them in their texts, and old ones may have any.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}
