//! `import`: everything is read and checked before anything is written.

mod columns;
mod digest;
mod encoding;
mod ended;
mod files;
#[cfg(any(fuzzing, test))]
mod fuzzing;
mod json;
mod report;
mod row;
mod source;
mod spool;
mod state;
mod table;
mod time;
mod twice;

use std::path::PathBuf;

use tower_api_key::{
    clock::{Clock, SystemClock},
    manage::{ImportKey, RestoreKey},
};

use self::{
    columns::{Columns, Mapping, Picked, Renamed},
    ended::Active,
    files::Dialect,
    report::{Report, SHOWN},
    row::{Bad, Key, Reading},
    source::{Item, Place, Row, Source},
    spool::Spool,
    state::{Meaning, State},
    twice::Seen,
};
use crate::{
    database::Database,
    exported::Fields,
    failure::Failure,
    output::{Output, note, note_delay, plain},
    progress::Progress,
};

#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Args {
    /// A CSV or JSON file or a SQLite database; `-` is standard input. Without it, the database of
    /// SOURCE_DATABASE_URL
    source: Option<PathBuf>,
    /// The table to read, where the source is a database
    #[arg(long, value_name = "NAME", default_value = "api_keys")]
    from_table: String,
    /// The name of a column there, such as key_hash=hashed_key; may be given again
    #[arg(long, value_name = "OURS=THEIRS", value_parser = columns::renamed)]
    column: Vec<Renamed>,
    /// A column that is not to be read; may be given again
    #[arg(long, value_name = "NAME")]
    ignore_column: Vec<String>,
    /// Reads no column that is not known, whatever it may say about the keys, and names those
    #[arg(long)]
    ignore_other_columns: bool,
    /// The meaning of a value in a column for the state of a key: such as suspended=inactive, or
    /// 9999-12-31=active for a deleted_at that never comes; may be given again
    #[arg(long, value_name = "VALUE=STATE", value_parser = state::meaning)]
    state: Vec<Meaning>,
    /// Another text that is nothing where it stands without quotes in CSV, as NULL, \N and None are
    #[arg(long, value_name = "TEXT")]
    null: Vec<String>,
    /// Times that are zero, negative or before 1970 stand for never
    #[arg(long)]
    zero_is_never: bool,
    /// The delimiter of a CSV file, such as `;` or `tab`; found out from its header if it is
    /// not given
    #[arg(long, value_name = "CHARACTER", value_parser = files::delimiter)]
    delimiter: Option<u8>,
    /// key_hash holds digests in base64 or base64url, without a prefix that says so
    #[arg(long, conflicts_with = "plain_keys")]
    base64_digests: bool,
    /// Ends here as well the keys that have ended there, and were imported before
    #[arg(long)]
    end_ended: bool,
    /// Only checks, and says how much would be imported
    #[arg(long)]
    dry_run: bool,
    /// Leaves invalid rows out, and imports the others
    #[arg(long)]
    skip_invalid: bool,
    /// key_hash holds the keys themselves
    #[arg(long, conflicts_with = "peppered")]
    plain_keys: bool,
    /// Of keys like 17|secret, as Laravel Sanctum issues them, hashes only the secret
    #[arg(long, requires = "plain_keys")]
    numbered: bool,
    /// The digests were made with the pepper in TOWER_API_KEY_PEPPER, as `export` writes them
    #[arg(long)]
    peppered: bool,
}

impl Args {
    fn reading(&self) -> Reading {
        let times = time::Reading { zero_is_never: self.zero_is_never, now: SystemClock.now() };
        Reading { times, base64_digests: self.base64_digests }
    }

    fn mapping(&self) -> Mapping {
        Mapping {
            renamed: self.column.clone(),
            ignored: self.ignore_column.clone(),
            ignore_others: self.ignore_other_columns,
            states: self.state.clone(),
            times: self.reading().times,
        }
    }
}

/// So many keys are written at a time, all or none of them.
const BATCH: usize = 500;

pub(crate) async fn run(args: Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    if !database.accepts_plain && !args.peppered && !args.plain_keys {
        let text = "with TOWER_API_KEY_PEPPER, plain digests find no key: unset it, say --peppered \
                    if the digests were made with it, or set TOWER_API_KEY_PEPPER_PLAIN_UNTIL as \
                    the service does";
        return Err(Failure::Usage(text.to_owned()));
    }
    let mut check = Check {
        reading: args.reading(),
        database,
        report: Report { dry_run: args.dry_run, ..Report::default() },
        active: Vec::new(),
        seen: Seen::default(),
        twice: 0,
        args: &args,
    };
    let spool = check.rows().await?;
    let Check { mut report, active, reading, .. } = check;
    if args.dry_run {
        report.imported = spool.count;
        return report.tell(out);
    }
    write(spool, &reading, database, &mut report).await?;
    if args.end_ended {
        let progress = Progress::new("Ended", Some(active.len() as u64));
        for key in &active {
            ended::end(key, database).await?;
            report.ended_here += 1;
            progress.done(1);
        }
    }
    report.tell(out)?;
    if report.ended_here > 0 {
        note_delay();
    }
    Ok(())
}

/// The findings about the rows that were read.
struct Check<'a> {
    args: &'a Args,
    reading: Reading,
    database: &'a Database,
    report: Report,
    /// Keys that have ended there and are active here.
    active: Vec<Active>,
    seen: Seen,
    /// Rows whose keys were there before, in a row that differs.
    twice: u64,
}

/// The fate of a row.
struct Judged {
    /// The row, if it can be imported; `None` if its key has ended.
    outcome: Result<Option<Fields>, Bad>,
    /// The number of an earlier row that has the same key.
    earlier: Option<u64>,
}

impl Check<'_> {
    /// Reads all rows, and keeps the good ones.
    async fn rows(&mut self) -> Result<Spool, Failure> {
        let args = self.args;
        let mut columns = Columns::new(args.mapping());
        let wanted = table::Wanted { table: args.from_table.clone(), mapping: args.mapping() };
        let dialect = Dialect { delimiter: args.delimiter, nulls: args.null.clone() };
        let mut source = source::open(args.source.as_deref(), wanted, dialect).await?;
        let mut spool = Spool::new()?;
        let progress = Progress::new("Read and checked", source.end());
        let mut rows = 0_u64;
        while let Some(row) = next(&mut source, &mut columns).await? {
            rows += 1;
            progress.done(1);
            if rows.is_multiple_of(source::AHEAD as u64) {
                progress.expect(source.end());
            }
            let picked = match row.fields {
                Ok(fields) => Ok(columns.pick(fields)?),
                Err(bad) => Err(bad),
            };
            let Judged { outcome, earlier } = self.row(&row.place, picked).await?;
            let place = row.place.to_string();
            if let Some(earlier) = earlier {
                self.twice += 1;
                let unit = row.place.unit;
                let text = format!("the key is there twice; {unit} {earlier} differs");
                progress.beside(|| note(&format!("{}: {text}", plain(&place))));
                if self.twice == SHOWN {
                    break;
                }
            }
            match outcome {
                Ok(Some(fields)) => spool.push(&place, &fields)?,
                Ok(None) => self.report.ended += 1,
                Err(bad) => {
                    self.report.invalid += 1;
                    progress.beside(|| note(&format!("{}: {bad}", plain(&place))));
                    if !args.skip_invalid && self.report.invalid == SHOWN {
                        break;
                    }
                }
            }
        }
        drop(progress);
        columns.check()?;
        if rows == 0 {
            note("There are no rows.");
        }
        let given_up: Vec<_> = columns.given_up().map(plain).collect();
        if !given_up.is_empty() {
            note(&format!("Columns that are not read: {}.", given_up.join(", ")));
        }
        // Also with --skip-invalid: of two rows, neither is known to be the one that holds.
        if self.twice > 0 {
            let least = if self.twice == SHOWN { "at least " } else { "" };
            return Err(Failure::Usage(format!(
                "nothing was imported: {least}{} of the rows have a key that another row has, which \
                 differs; leave one row for each key",
                self.twice
            )));
        }
        let invalid = self.report.invalid;
        if invalid > 0 && !args.skip_invalid {
            let least = if invalid == SHOWN { "at least " } else { "" };
            return Err(Failure::Usage(format!(
                "nothing was imported: {least}{invalid} of the rows are invalid; --skip-invalid \
                 leaves them out"
            )));
        }
        Ok(spool)
    }

    async fn row(&mut self, place: &Place, picked: Result<Picked, Bad>) -> Result<Judged, Failure> {
        let Picked { mut fields, state } = match picked {
            Ok(picked) => picked,
            Err(bad) => return Ok(Judged { outcome: Err(bad), earlier: None }),
        };
        let mut digested = Ok(());
        if self.args.plain_keys && !row::is_exported(&fields) {
            let hasher = self.database.hasher.clone();
            let hasher = if self.args.numbered { hasher.with_numbered_keys() } else { hasher };
            digested = row::digest_key(&mut fields, &hasher);
        }
        let sight = self.seen.sight(&fields, state.is_ok());
        let outcome = match state {
            Ok(()) => self.judge(&place.to_string(), fields, digested).await?,
            Err(bad) => Err(bad),
        };
        let comes_in = matches!(outcome, Ok(Some(_)));
        Ok(Judged { outcome, earlier: self.seen.see(&sight, place, comes_in) })
    }

    /// A row that can be imported; `None` if its key has ended.
    async fn judge(
        &mut self,
        place: &str,
        fields: Fields,
        digested: Result<(), Bad>,
    ) -> Result<Result<Option<Fields>, Bad>, Failure> {
        if !row::is_exported(&fields) && row::has_ended(&fields) {
            if let Some(key) = row::ended_key(&fields, &self.reading) {
                self.compare(place, &Key::New(key), State::Ended).await?;
            }
            return Ok(Ok(None));
        }
        if let Err(bad) = digested {
            return Ok(Err(bad));
        }
        match row::key(&fields, &self.reading).await {
            Ok(key) => {
                self.compare(place, &key, key.state(self.reading.times.now)).await?;
                Ok(Ok(Some(fields)))
            }
            Err(bad) => Ok(Err(bad)),
        }
    }

    async fn compare(&mut self, place: &str, key: &Key, state: State) -> Result<(), Failure> {
        let now = self.reading.times.now;
        if let Some(active) = ended::find(key, state, now, self.database).await? {
            self.active.push(active);
            self.report.still_active += 1;
            report::name(&mut self.report.still_active_rows, place);
        }
        Ok(())
    }
}

async fn next(source: &mut Source, columns: &mut Columns) -> Result<Option<Row>, Failure> {
    while let Some(item) = source.items.recv().await {
        match item? {
            Item::Header(header) => columns.header(&header)?,
            Item::Row(row) => return Ok(Some(row)),
        }
    }
    Ok(None)
}

/// Writes batch by batch. An error leaves whole batches behind, which the next try finds.
async fn write(
    spool: Spool,
    reading: &Reading,
    database: &Database,
    report: &mut Report,
) -> Result<(), Failure> {
    let progress = Progress::new("Written", Some(spool.count));
    let mut batch = Batch::default();
    for row in spool.rows()? {
        let (place, fields) = row?;
        let key = row::key(&fields, reading).await;
        let key = key.map_err(|bad| Failure::Usage(format!("{place}: {bad}")))?;
        if batch.is_full_for(&key) {
            progress.done(batch.write(database, report).await?);
        }
        batch.push(place, key);
    }
    progress.done(batch.write(database, report).await?);
    Ok(())
}

/// Keys that are written at once: either new ones or those of an export.
#[derive(Default)]
struct Batch {
    places: Vec<String>,
    new: Vec<ImportKey>,
    stored: Vec<RestoreKey>,
}

impl Batch {
    fn is_full_for(&self, key: &Key) -> bool {
        let others = match key {
            Key::New(_) => self.stored.len(),
            Key::Stored(_) => self.new.len(),
        };
        others > 0 || self.places.len() == BATCH
    }

    fn push(&mut self, place: String, key: Key) {
        self.places.push(place);
        match key {
            Key::New(key) => self.new.push(key),
            Key::Stored(key) => self.stored.push(key),
        }
    }

    /// Writes all of them; says how many they were.
    async fn write(&mut self, database: &Database, report: &mut Report) -> Result<u64, Failure> {
        let Self { places, new, stored } = std::mem::take(self);
        let done = if stored.is_empty() {
            database.manager.import(&new).await
        } else {
            database.manager.restore(&stored).await
        };
        let done = done.map_err(|error| {
            let Report { imported, duplicates, .. } = report;
            note(&format!(
                "{imported} keys were imported, and {duplicates} were there already, before this. \
                 Repeat the import to go on."
            ));
            Failure::from(error)
        })?;
        report.imported += done.imported.len() as u64;
        report.duplicates += done.duplicates.len() as u64;
        for place in done.duplicates {
            report::name(&mut report.duplicate_rows, &places[place]);
        }
        Ok(places.len() as u64)
    }
}
