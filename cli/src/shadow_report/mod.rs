//! `shadow-report`.

mod event;
mod totals;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use self::{event::Line, totals::Totals};
use crate::{
    failure::Failure,
    output::{Output, note, plain, table},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The logs, `-` for standard input; without any, standard input
    logs: Vec<PathBuf>,
    /// How many keys to list, those with the most requests first
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    keys: usize,
}

/// A longer line is passed over: it is none of ours.
const MAX_LINE: u64 = 1 << 20;

pub(crate) fn run(args: &Args, out: &mut Output) -> Result<(), Failure> {
    let mut totals = Totals::default();
    let standard_input = [PathBuf::from("-")];
    let logs = if args.logs.is_empty() { &standard_input[..] } else { &args.logs };
    for log in logs {
        read(log, &mut totals)?;
    }
    if out.is_json() {
        out.objects(totals.denials())?;
        out.objects(totals.differences())?;
        out.objects(totals.keys(args.keys))?;
        out.object(&totals.undecided())?;
    } else if totals.is_empty() {
        note(
            "There is no event of a layer in shadow. They have the target tower_api_key::shadow and \
             the level INFO.",
        );
    } else {
        tell(&totals, args.keys, out)?;
    }
    let lines = totals.unreadable();
    if lines == 0 {
        return Ok(());
    }
    let unreadable = format!(
        "{lines} lines name tower_api_key::shadow and cannot be read: write the log as JSON, or as \
         text on one line for each event"
    );
    if totals.is_empty() {
        return Err(Failure::Usage(unreadable));
    }
    note(&unreadable);
    Ok(())
}

fn tell(totals: &Totals, keys: usize, out: &mut Output) -> Result<(), Failure> {
    let denials = totals.denials().map(|denial| {
        let (count, keys) = (denial.requests.to_string(), denial.keys.to_string());
        [plain(denial.would_deny), count, keys, plain(denial.first), plain(denial.last)]
    });
    out.table(&table(&["WOULD DENY", "REQUESTS", "KEYS", "FIRST", "LAST"], denials))?;
    let differences: Vec<_> = totals.differences().collect();
    if !differences.is_empty() {
        out.line("")?;
        let rows = differences.iter().map(|one| {
            let [difference, ours, status] = [one.difference, one.code, one.status].map(plain);
            [difference, ours, status, one.requests.to_string()]
        });
        out.table(&table(&["DIFFERENCE", "WOULD DENY", "ANSWER", "REQUESTS"], rows))?;
    }
    let keys: Vec<_> = totals.keys(keys).collect();
    if !keys.is_empty() {
        out.line("")?;
        let rows = keys
            .iter()
            .map(|one| [plain(one.key), one.requests.to_string(), plain(&one.codes.join(", "))]);
        out.table(&table(&["KEY", "REQUESTS", "WOULD DENY"], rows))?;
    }
    let undecided = totals.undecided().undecided;
    if undecided > 0 {
        out.line("")?;
        out.line(&format!("Undecided: {undecided} requests"))?;
    }
    Ok(())
}

fn read(log: &Path, totals: &mut Totals) -> Result<(), Failure> {
    if log == Path::new("-") {
        return read_lines(io::stdin().lock(), totals).map_err(|error| failed(log, &error));
    }
    let file = File::open(log).map_err(|error| failed(log, &error))?;
    read_lines(BufReader::new(file), totals).map_err(|error| failed(log, &error))
}

fn failed(log: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{} cannot be read: {error}", plain(&log.display().to_string())))
}

fn read_lines(mut log: impl BufRead, totals: &mut Totals) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = log.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && length as u64 == MAX_LINE {
            log.skip_until(b'\n')?;
            continue;
        }
        match Line::parse(&String::from_utf8_lossy(&line)) {
            Line::Event(event) => totals.add(event),
            Line::Other => {}
            Line::Unreadable => totals.add_unreadable(),
        }
    }
}
