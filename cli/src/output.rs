//! Printing: tables for people, JSON for programs. Plain text throughout, no colours.

use std::{
    fmt::Write as _,
    io::{self, Stdout, Write},
};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::failure::Failure;

/// The output of a command on stdout.
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
        self.objects([value])
    }

    /// An object on each line, in one call for all of them: stdout writes at every line's end.
    pub(crate) fn objects(
        &mut self,
        values: impl IntoIterator<Item = impl Serialize>,
    ) -> Result<(), Failure> {
        let mut lines = String::new();
        for value in values {
            lines += &plain_json(serde_json::to_string(&value).map_err(io::Error::from)?);
            lines.push('\n');
        }
        self.write(&lines)
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Failure> {
        let mut lines = String::new();
        for row in &table.rows {
            for (cell, width) in row.iter().zip(&table.widths) {
                let padding = width.saturating_sub(cell.width()) + 2;
                lines += cell;
                lines.extend(std::iter::repeat_n(' ', padding));
            }
            lines.truncate(lines.trim_end_matches(' ').len());
            lines.push('\n');
        }
        self.write(&lines)
    }

    fn write(&mut self, lines: &str) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(lines.as_bytes())?;
        Ok(stdout.flush()?)
    }
}

/// A remark for people, which is no part of the answer.
pub(crate) fn note(text: &str) {
    // The answer does not depend on it.
    let _ = writeln!(io::stderr(), "{text}");
}

/// How long services may go on accepting a key that has ended. Also for programs, whose JSON is on
/// stdout.
pub(crate) fn note_delay() {
    note(
        "Services refuse an ended key at once where they are told of changes (PostgreSQL, \
         REDIS_URL), within a tenth of a second on SQLite, and otherwise within 30 seconds or \
         their CACHE_TTL.",
    );
}

/// A table without lines, whose first column starts at the margin.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
}

/// Without a header if that is empty.
pub(crate) fn table<const N: usize>(
    header: &[&str],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Table {
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    let header = (!header.is_empty()).then_some(header);
    let rows: Vec<_> = header.into_iter().chain(rows.into_iter().map(Vec::from)).collect();
    let width =
        |column: usize| rows.iter().map(|row: &Vec<String>| row[column].width()).max().unwrap_or(0);
    let widths = (0..N).map(width).collect();
    Table { rows, widths }
}

impl Table {
    /// Goes on below the first page of the same table, whose columns were this wide. A longer cell
    /// moves the rest of its row.
    pub(crate) fn below(mut self, first: &mut Option<Vec<usize>>) -> Self {
        self.widths.clone_from(first.get_or_insert_with(|| self.widths.clone()));
        self
    }
}

/// A text as a terminal may have it: characters that move the cursor or change colours are spelt out.
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
    const DELETE: u8 = 0x7f;
    if json.is_ascii() && !json.as_bytes().contains(&DELETE) || !json.contains(is_unprintable) {
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

/// Controls, ends of lines, and characters that show nothing but change the text around them. New keys have
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
