//! Properties of an import that hold for any file. Built for `fuzz/` alone, and for the tests, which replay the
//! inputs in `fuzz/corpus`.

#![allow(clippy::unwrap_used, reason = "a panic is a finding")]

use std::{cell::RefCell, io::Cursor, rc::Rc};

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower_api_key::{Timestamp, manage::ImportKey};

use super::{
    columns::{Columns, Mapping},
    files::Dialect,
    row::{self, Key, Reading},
    source::{Item, parse},
    state::{self, State},
    time,
};
use crate::{
    csv,
    exported::{COLUMNS, Exported, Fields, cells, value},
};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| import_rows(input));

/// A text as long as a key. Seeds have it in many places.
const SECRET: &str = "hush-hush-hush-hush";

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap();
}

/// A row is refused by an error that shows nothing of it, or is a key that may do no more than the row says.
pub(super) fn import_rows(input: &[u8]) {
    let Some((&options, file)) = input.split_first() else { return };
    let is = |bit: u8| options >> bit & 1 == 1;
    let now = Timestamp::from_unix_millis(1_900_000_000_000);
    let times = time::Reading { zero_is_never: is(0), now };
    let reading = Reading { times, base64_digests: is(1) };
    let nulls = if is(2) { vec!["-".to_owned()] } else { Vec::new() };
    let states = if is(3) { vec![state::meaning("odd=inactive").unwrap()] } else { Vec::new() };
    let dialect = Dialect { delimiter: is(4).then_some(b','), nulls };
    let (renamed, ignored) = (Vec::new(), Vec::new());
    let mut columns =
        Columns::new(Mapping { renamed, ignored, ignore_others: true, states, times });

    for item in items(file, &dialect) {
        let row = match item {
            Item::Header(header) => {
                if columns.header(&header).is_err() {
                    break;
                }
                continue;
            }
            Item::Row(row) => row,
        };
        let theirs = match row.fields {
            Ok(fields) => fields,
            Err(bad) => {
                assert!(!bad.to_string().contains(SECRET), "{bad}");
                continue;
            }
        };
        // Two columns of one meaning are an error at the end.
        let Ok(picked) = columns.pick(theirs.clone()) else { break };
        let fields = match picked.state {
            Ok(()) => picked.fields,
            Err(bad) => {
                assert!(!bad.to_string().contains(SECRET), "{bad}");
                continue;
            }
        };
        if !row::is_exported(&fields) && row::has_ended(&fields) {
            let _ = row::ended_key(&fields, &reading);
            continue;
        }
        match RUNTIME.with(|runtime| runtime.block_on(row::key(&fields, &reading))) {
            Err(bad) => assert!(!bad.to_string().contains(SECRET), "{bad}"),
            Ok(Key::New(key)) => says_no_more(&theirs, &fields, &key),
            Ok(key @ Key::Stored(_)) => exported(key, now),
        }
    }
    csv_reads_back(file);
    lines_are_an_array(file, &dialect);
}

/// All rows up to the first disorder.
fn items(file: &[u8], dialect: &Dialect) -> Vec<Item> {
    let items = Rc::new(RefCell::new(Vec::new()));
    let send = |item: Result<Item, _>| {
        items.borrow_mut().extend(item.ok());
        true
    };
    let _ = parse(Cursor::new(file.to_vec()), dialect, &send);
    items.take()
}

/// A restriction in a column that is called as ours is one of the key.
fn says_no_more(theirs: &Fields, fields: &Fields, key: &ImportKey) {
    let word = |column: &str| match theirs.get(column) {
        None => None,
        Some(Value::String(text)) => Some(text.trim().to_lowercase()),
        Some(Value::Null) => Some(String::new()),
        Some(other) => Some(other.to_string()),
    };
    let is_true = |word: &str| ["1", "t", "true", "y", "yes", "on"].contains(&word);
    if let Some(active) = word("is_active") {
        assert!(key.disabled || is_true(&active));
    }
    if let Some(disabled) = word("is_disabled") {
        assert!(key.disabled || !is_true(&disabled));
    }
    for column in ["is_revoked", "is_deleted", "revoked", "deleted"] {
        assert!(!word(column).is_some_and(|word| is_true(&word)), "{column}");
    }
    if let Some(status) = word("status") {
        assert!(key.disabled || ["active", "enabled"].contains(&&*status), "{status}");
    }
    if word("expires_at").is_some_and(|end| end.starts_with("20") && end.len() >= 10) {
        assert!(key.new.expires_at.is_some());
    }
    let holds = |column: &str| fields.get(column).is_some_and(|value| !is_nothing(value));
    assert_eq!(key.new.credits.is_some(), holds("credits"));
    assert!(holds("not_before") || key.new.not_before.is_none());
    let text = fields.get("allowed_addresses").map(ToString::to_string).unwrap_or_default();
    if text.contains(|c: char| c.is_ascii_digit()) {
        assert!(!key.new.allowed_addresses.is_empty());
    }
    let text = fields.get("limits").map(ToString::to_string).unwrap_or_default();
    assert_eq!(key.new.limits.is_empty(), !text.contains("requests"));
    let scopes = fields.get("scopes").map(ToString::to_string).unwrap_or_default();
    assert!(key.new.scopes.is_empty() || !scopes.is_empty());
    let is_active = fields.get("state").is_none_or(|state| *state == State::Active.name());
    assert_eq!(key.disabled, !is_active);
}

fn is_nothing(value: &Value) -> bool {
    value.is_null()
        || value.as_str().is_some_and(|text| text.trim().is_empty() || text.trim() == "null")
}

/// A key of an export is exported and read back as it was, as JSON and as CSV.
fn exported(key: Key, now: Timestamp) {
    let state = key.state(now);
    let Key::Stored(key) = key else { return };
    if key.record.details.revoked_at.is_some() {
        assert_eq!(state, State::Ended);
    }
    let row = Exported::new(&key.record, key.balance.as_ref(), true);
    let Value::Object(fields) = serde_json::to_value(&row).unwrap() else { unreachable!() };
    let cells = cells(&row, &COLUMNS).unwrap();
    let from_csv: Fields = COLUMNS
        .iter()
        .zip(&cells)
        .map(|((column, _), cell)| ((*column).to_owned(), value(column, cell).unwrap()))
        .collect();
    for fields in [fields, from_csv] {
        let again = Exported::read(fields).and_then(Exported::key).unwrap();
        assert_eq!(again.record, key.record);
        assert_eq!(again.balance, key.balance);
    }
}

/// Records of two fields or more are written and read back.
fn csv_reads_back(file: &[u8]) {
    let mut reader = csv::Reader::new(file, b',');
    let mut written = Vec::new();
    let mut records: Vec<Vec<String>> = Vec::new();
    while let Ok(Some(record)) = reader.next() {
        let fields: Option<Vec<String>> =
            record.fields.into_iter().map(|field| field.text).collect();
        if let Some(fields) = fields.filter(|fields| fields.len() > 1) {
            csv::write_record(&mut written, fields.iter().map(String::as_str)).unwrap();
            records.push(fields);
        }
    }
    let mut reader = csv::Reader::new(&*written, b',');
    for expected in records {
        let fields =
            reader.next().unwrap().unwrap().fields.into_iter().map(|field| field.text.unwrap());
        assert!(fields.eq(expected));
    }
    assert!(reader.next().unwrap().is_none());
}

/// Rows of an array are the same when each has a line of its own.
fn lines_are_an_array(file: &[u8], dialect: &Dialect) {
    if file.trim_ascii_start().first() != Some(&b'[') {
        return;
    }
    let rows = |file: &[u8]| -> Vec<Fields> {
        let fields = |item| if let Item::Row(row) = item { row.fields.ok() } else { None };
        items(file, dialect).into_iter().filter_map(fields).collect()
    };
    let array = rows(file);
    let lines: Vec<_> = array.iter().map(|row| Value::Object(row.clone()).to_string()).collect();
    assert_eq!(rows(lines.join("\n").as_bytes()), array);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn import_rows() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/import_rows");
        let mut inputs: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() > 10);
        for input in inputs {
            // The last one that is printed is the one that fails.
            println!("{}", input.display());
            super::import_rows(&fs::read(&input).unwrap());
        }
    }
}
