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
        let mut line = serde_json::to_vec(value).map_err(io::Error::from)?;
        line.push(b'\n');
        let mut stdout = self.stdout.lock();
        stdout.write_all(&line)?;
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
        if c.is_control() || is_invisible(c) {
            let _ = write!(plain, "{}", c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Marks that change the direction of the text around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
