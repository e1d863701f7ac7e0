//! `export`.

use std::io::{self, BufWriter, Write};

use tower_api_key::OwnerId;

use crate::{
    csv,
    database::Database,
    exported::{self, COLUMNS, Cell, DIGESTS, Exported},
    failure::Failure,
    list::Pages,
    output::{Output, note},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only keys of this owner
    #[arg(long)]
    owner: Option<OwnerId>,
    /// Prints the digests of the keys, too: then `import` restores them
    #[arg(long)]
    with_digests: bool,
}

/// The notes on stderr about the output.
const WITH_DIGESTS: &str = "These are digests, from which no key can be made: `import` restores the \
                            keys here or elsewhere. Keep them as you keep the database.";
const WITHOUT: &str = "This is a list for people and other programs. It has no digests, so it cannot be \
                       imported; --with-digests adds them.";

pub(crate) async fn run(args: &Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    note(if args.with_digests { WITH_DIGESTS } else { WITHOUT });
    let mut stdout = BufWriter::new(io::stdout().lock());
    let is_written = |column: &str| args.with_digests || !DIGESTS.contains(&column);
    let columns: Vec<_> = COLUMNS.into_iter().filter(|(column, _)| is_written(column)).collect();
    if !out.is_json() {
        csv::write_record(&mut stdout, columns.iter().map(|(column, _)| *column))?;
    }
    let mut pages = Pages::all(args.owner.clone());
    while let Some(records) = pages.next(database).await? {
        let balances = database.manager.balances_of(&records).await?;
        for (record, balance) in records.iter().zip(&balances) {
            let row = Exported::new(record, balance.as_ref(), args.with_digests);
            write(&mut stdout, &row, &columns, out.is_json())?;
        }
    }
    Ok(stdout.flush()?)
}

fn write(
    out: &mut impl Write,
    row: &Exported,
    columns: &[(&str, Cell)],
    as_json: bool,
) -> io::Result<()> {
    if as_json {
        serde_json::to_writer(&mut *out, row)?;
        return out.write_all(b"\n");
    }
    let cells = exported::cells(row, columns)?;
    csv::write_record(out, cells.iter().map(String::as_str))
}
