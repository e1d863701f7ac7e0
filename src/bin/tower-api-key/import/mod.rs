//! `import`: everything is read and checked before anything is written.

mod columns;
mod files;
mod row;
mod source;
mod spool;
mod table;

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde::Serialize;
use tower_api_key::ImportKey;

use self::{
    columns::{Columns, Fields, Renamed},
    row::Bad,
    source::{Item, Items, Row},
    spool::Spool,
};
use crate::{
    database::Database,
    failure::Failure,
    output::{Output, note, plain},
};

#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Args {
    /// A CSV file, a file of JSON lines or a SQLite database; `-` is standard input. Without it,
    /// the database of SOURCE_DATABASE_URL
    source: Option<PathBuf>,
    /// The table to read, where the source is a database
    #[arg(long, value_name = "NAME", default_value = "api_keys")]
    from_table: String,
    /// What a column is called there, such as key_hash=hashed_key; may be given again
    #[arg(long, value_name = "OURS=THEIRS", value_parser = columns::renamed)]
    column: Vec<Renamed>,
    /// Only checks, and says what would be imported
    #[arg(long)]
    dry_run: bool,
    /// Leaves invalid rows out, and imports the others
    #[arg(long)]
    skip_invalid: bool,
    /// key_hash holds the keys themselves
    #[arg(long, conflicts_with = "peppered")]
    plain_keys: bool,
    /// The digests were made with the pepper in TOWER_API_KEY_PEPPER, as `export` writes them
    #[arg(long)]
    peppered: bool,
}

/// What became of the rows.
#[derive(Default, Serialize)]
struct Report {
    imported: u64,
    /// Keys that were there already.
    duplicates: u64,
    /// Where the first of them are.
    duplicate_rows: Vec<String>,
    /// Keys that were revoked or deleted.
    ended: u64,
    invalid: u64,
    dry_run: bool,
}

/// So many keys are written at a time, all or none of them.
const BATCH: usize = 500;

/// So many mistakes are shown before it stops; so many duplicates are named.
const SHOWN: u64 = 10;

pub(crate) async fn run(args: Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    if !database.accepts_plain && !args.peppered && !args.plain_keys {
        let text = "with TOWER_API_KEY_PEPPER, plain digests find no key: unset it, say --peppered \
                    if the digests were made with it, or set TOWER_API_KEY_PEPPER_PLAIN_UNTIL as \
                    the service does";
        return Err(Failure::Usage(text.to_owned()));
    }
    let mut report = Report { dry_run: args.dry_run, ..Report::default() };
    let spool = check(&args, database, &mut report).await?;
    if args.dry_run {
        report.imported = spool.count;
    } else {
        write(spool, database, &mut report).await?;
    }
    tell(&report, out)
}

/// Reads all rows, and keeps the good ones.
async fn check(args: &Args, database: &Database, report: &mut Report) -> Result<Spool, Failure> {
    let columns = || Columns::new(args.column.clone());
    let wanted = table::Wanted { table: args.from_table.clone(), columns: columns() };
    let mut items = source::open(args.source.as_deref(), wanted).await?;
    let mut columns = columns();
    let mut spool = Spool::new()?;
    let progress = ProgressBar::new_spinner();
    while let Some(row) = next(&mut items, &mut columns).await? {
        progress.inc(1);
        let fields = row.fields.map(|fields| columns.pick(fields));
        match good(args, database, fields).await {
            Ok(Some(fields)) => spool.push(&row.place, &fields)?,
            Ok(None) => report.ended += 1,
            Err(bad) => {
                report.invalid += 1;
                progress.suspend(|| note(&format!("{}: {bad}", plain(&row.place))));
                if !args.skip_invalid && report.invalid == SHOWN {
                    break;
                }
            }
        }
    }
    progress.finish_and_clear();
    let unread: Vec<_> = columns.unread().map(plain).collect();
    if !unread.is_empty() {
        note(&format!("Columns that are not read: {}.", unread.join(", ")));
    }
    if report.invalid > 0 && !args.skip_invalid {
        let least = if report.invalid == SHOWN { "at least " } else { "" };
        return Err(Failure::Refused(format!(
            "nothing was imported: {least}{} of the rows are invalid; --skip-invalid leaves them \
             out",
            report.invalid
        )));
    }
    Ok(spool)
}

async fn next(items: &mut Items, columns: &mut Columns) -> Result<Option<Row>, Failure> {
    while let Some(item) = items.recv().await {
        match item? {
            Item::Header(header) => {
                columns.check(&header)?;
                let wanted: Vec<_> =
                    columns.wanted(&header).into_iter().map(str::to_owned).collect();
                columns.leave(header.into_iter().filter(|column| !wanted.contains(column)));
            }
            Item::Row(row) => return Ok(Some(row)),
        }
    }
    Ok(None)
}

/// A row that can be imported; `None` if its key has ended.
async fn good(
    args: &Args,
    database: &Database,
    fields: Result<Fields, Bad>,
) -> Result<Option<Fields>, Bad> {
    let mut fields = fields?;
    if row::has_ended(&fields) {
        return Ok(None);
    }
    if args.plain_keys {
        row::digest_key(&mut fields, &database.hasher)?;
    }
    row::key(&fields).await?;
    Ok(Some(fields))
}

/// Writes batch by batch. An error leaves whole batches behind, which the next try finds.
async fn write(spool: Spool, database: &Database, report: &mut Report) -> Result<(), Failure> {
    let progress = ProgressBar::new(spool.count);
    let (mut places, mut keys) = (Vec::new(), Vec::new());
    for row in spool.rows()? {
        let (place, fields) = row?;
        let key = row::key(&fields).await;
        keys.push(key.map_err(|bad| Failure::Refused(format!("{place}: {bad}")))?);
        places.push(place);
        if keys.len() == BATCH {
            write_batch(&mut places, &mut keys, database, report).await?;
            progress.inc(BATCH as u64);
        }
    }
    write_batch(&mut places, &mut keys, database, report).await?;
    progress.finish_and_clear();
    Ok(())
}

async fn write_batch(
    places: &mut Vec<String>,
    keys: &mut Vec<ImportKey>,
    database: &Database,
    report: &mut Report,
) -> Result<(), Failure> {
    let done = database.manager.import(keys).await.map_err(|error| {
        let Report { imported, duplicates, .. } = report;
        let failure = Failure::from(error);
        note(&format!(
            "{imported} keys were imported, and {duplicates} were there already, before this. \
             Repeat the import to go on."
        ));
        failure
    })?;
    report.imported += done.imported.len() as u64;
    report.duplicates += done.duplicates.len() as u64;
    for place in done.duplicates {
        if (report.duplicate_rows.len() as u64) < SHOWN {
            report.duplicate_rows.push(places[place].clone());
        }
    }
    places.clear();
    keys.clear();
    Ok(())
}

fn tell(report: &Report, out: &mut Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.object(report);
    }
    let imported = if report.dry_run { "Could be imported" } else { "Imported" };
    out.say(&format!("{imported}: {}", report.imported))?;
    if report.duplicates > 0 {
        let more = if report.duplicates > SHOWN { ", …" } else { "" };
        let rows = report.duplicate_rows.join(", ");
        out.say(&format!("There already: {} ({}{more})", report.duplicates, plain(&rows)))?;
    }
    if report.ended > 0 {
        out.say(&format!("Left out, revoked or deleted: {}", report.ended))?;
    }
    if report.invalid > 0 {
        out.say(&format!("Left out, invalid: {}", report.invalid))?;
    }
    Ok(())
}
