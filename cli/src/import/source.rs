//! Where rows come from: a file, standard input, or a table.

use std::{
    env, fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    thread,
};

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{
    encoding,
    files::{self, Dialect},
    json,
    row::Bad,
    table,
};
use crate::{exported::Fields, failure::Failure};

/// What a source gives: first the names of its columns, where it knows them, then its rows.
pub(super) enum Item {
    Header(Vec<String>),
    Row(Row),
}

pub(super) struct Row {
    pub(super) place: Place,
    pub(super) fields: Result<Fields, Bad>,
}

/// Where a row is, for people: `line 2`.
pub(super) struct Place {
    /// What the source counts: lines, elements or rows.
    pub(super) unit: &'static str,
    pub(super) number: u64,
    /// Its id there, as JSON, if it has one.
    pub(super) id: Option<String>,
}

impl Place {
    pub(super) const fn new(unit: &'static str, number: u64) -> Self {
        Self { unit, number, id: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.unit, self.number)?;
        self.id.as_ref().map_or(Ok(()), |id| write!(f, " (id {id})"))
    }
}

pub(super) type Items = mpsc::Receiver<Result<Item, Failure>>;

/// How a source hands over what it reads. `false` when nobody wants more.
pub(super) type Send<'s> = &'s dyn Fn(Result<Item, Failure>) -> bool;

/// So many rows may be read ahead.
pub(super) const AHEAD: usize = 256;

/// How a SQLite file begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Opens a source. `-` is standard input; none is the database of `SOURCE_DATABASE_URL`.
pub(super) async fn open(
    path: Option<&Path>,
    table: table::Wanted,
    dialect: Dialect,
) -> Result<Items, Failure> {
    let Some(path) = path else {
        let url = env::var("SOURCE_DATABASE_URL").map(Zeroizing::new).map_err(|_| {
            let text = "name a file, or `-` for standard input, or set SOURCE_DATABASE_URL";
            Failure::Usage(text.to_owned())
        })?;
        return table::from_url(&url, table).await;
    };
    if path == Path::new("-") {
        return Ok(read(io::stdin(), dialect));
    }
    let cannot_read = |error: io::Error| Failure::Usage(format!("{}: {error}", path.display()));
    let mut start = Vec::new();
    let file = File::open(path).map_err(cannot_read)?;
    file.take(SQLITE.len() as u64).read_to_end(&mut start).map_err(cannot_read)?;
    if start == SQLITE {
        return table::from_sqlite_file(PathBuf::from(path), table).await;
    }
    Ok(read(File::open(path).map_err(cannot_read)?, dialect))
}

/// Reads in a thread of its own, and waits when it is too far ahead.
fn read(input: impl Read + std::marker::Send + 'static, dialect: Dialect) -> Items {
    let (sender, items) = mpsc::channel(AHEAD);
    thread::spawn(move || {
        let send = |item| sender.blocking_send(item).is_ok();
        if let Err(error) = parse(BufReader::new(input), &dialect, &send) {
            send(Err(Failure::Usage(format!("the rows cannot be read: {error}"))));
        }
    });
    items
}

/// JSON begins with `{` or `[`, which no header of a CSV file does.
fn parse(input: impl BufRead + 'static, dialect: &Dialect, send: Send<'_>) -> io::Result<()> {
    let mut input = encoding::utf8(input)?;
    loop {
        let start = input.fill_buf()?;
        let spaces = start.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        match start.get(spaces) {
            Some(b'{') => return json::lines(input, send),
            Some(b'[') => return json::array(input, send),
            None if spaces > 0 => input.consume(spaces),
            _ => return files::csv(input, dialect, send),
        }
    }
}
