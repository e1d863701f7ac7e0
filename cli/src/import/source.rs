//! Where rows come from: a file, standard input, or a table.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::sync::mpsc;

use super::{
    encoding,
    files::{self, Dialect},
    json,
    row::Bad,
    table,
};
use crate::{environment::variable, exported::Fields, failure::Failure};

/// An item of a source: first the names of its columns, where it knows them, then its rows.
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
    /// The unit that the source counts: lines, elements or rows.
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

/// An open source.
pub(super) struct Source {
    pub(super) items: Items,
    length: Length,
}

/// How much is to be read.
enum Length {
    Unknown,
    Rows(u64),
    /// A file of so many bytes.
    Bytes(u64, Arc<Consumed>),
}

/// How much of a file was read.
#[derive(Default)]
struct Consumed {
    bytes: AtomicU64,
    rows: AtomicU64,
}

impl Source {
    /// A table of so many rows.
    pub(super) fn table(items: Items, rows: i64) -> Self {
        Self { items, length: Length::Rows(rows.unsigned_abs()) }
    }

    /// How many rows there are. That of a file is an estimate from what was read of it, which
    /// becomes better.
    pub(super) fn end(&self) -> Option<u64> {
        match &self.length {
            Length::Unknown => None,
            Length::Rows(all) => Some(*all),
            Length::Bytes(all, read) => {
                let rows = read.rows.load(Ordering::Relaxed);
                let bytes = read.bytes.load(Ordering::Relaxed);
                let end = u128::from(rows) * u128::from(*all) / u128::from(bytes.max(1));
                // The first rows say too little.
                u64::try_from(end).ok().filter(|_| rows >= AHEAD as u64)
            }
        }
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    input: R,
    consumed: Arc<Consumed>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.consumed.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// How a source hands over the rows that it reads. `false` when no more are wanted.
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
) -> Result<Source, Failure> {
    let Some(path) = path else {
        let url = variable("SOURCE_DATABASE_URL")?.ok_or_else(|| {
            let text = "name a file, or `-` for standard input, or set SOURCE_DATABASE_URL";
            Failure::Usage(text.to_owned())
        })?;
        return table::from_url(&url, table).await;
    };
    if path == Path::new("-") {
        let name = "standard input".to_owned();
        let items = read(io::stdin(), name, dialect, Arc::default());
        return Ok(Source { items, length: Length::Unknown });
    }
    let cannot_read = |error: io::Error| Failure::Usage(format!("{}: {error}", path.display()));
    let mut start = Vec::new();
    let file = File::open(path).map_err(cannot_read)?;
    file.take(SQLITE.len() as u64).read_to_end(&mut start).map_err(cannot_read)?;
    if start == SQLITE {
        return table::from_sqlite_file(PathBuf::from(path), table).await;
    }
    let input = File::open(path).map_err(cannot_read)?;
    let metadata = input.metadata().map_err(cannot_read)?;
    let consumed = Arc::<Consumed>::default();
    // A pipe has no length.
    let length = if metadata.is_file() {
        Length::Bytes(metadata.len(), consumed.clone())
    } else {
        Length::Unknown
    };
    let items = read(input, path.display().to_string(), dialect, consumed);
    Ok(Source { items, length })
}

/// Reads in a thread of its own, and waits when it is too far ahead.
fn read(
    input: impl Read + std::marker::Send + 'static,
    name: String,
    dialect: Dialect,
    consumed: Arc<Consumed>,
) -> Items {
    let (sender, items) = mpsc::channel(AHEAD);
    thread::spawn(move || {
        let send = |item: Result<Item, Failure>| {
            consumed.rows.fetch_add(1, Ordering::Relaxed);
            sender.blocking_send(item).is_ok()
        };
        let input = Counted { input, consumed: consumed.clone() };
        let failure = match parse(BufReader::new(input), &dialect, &send) {
            Ok(true) => return,
            Ok(false) => format!("there is nothing to import: {name} is empty"),
            Err(error) => format!("the rows cannot be read: {error}"),
        };
        send(Err(Failure::Usage(failure)));
    });
    items
}

/// Whether there was anything to read. JSON begins with `{` or `[`, which no header of a CSV file
/// does.
pub(super) fn parse(
    input: impl BufRead + 'static,
    dialect: &Dialect,
    send: Send<'_>,
) -> io::Result<bool> {
    let mut input = encoding::utf8(input)?;
    loop {
        let start = input.fill_buf()?;
        let spaces = start.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        match start.get(spaces) {
            Some(b'{') => json::lines(input, send)?,
            Some(b'[') => json::array(input, send)?,
            Some(_) => files::csv(input, dialect, send)?,
            None if spaces == 0 => return Ok(false),
            None => {
                input.consume(spaces);
                continue;
            }
        }
        return Ok(true);
    }
}
