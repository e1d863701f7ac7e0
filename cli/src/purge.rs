//! `purge`.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;
use tower_api_key::{OwnerId, Timestamp};

use crate::{database::Database, failure::Failure, output::Output, when};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only keys that were revoked or deleted before this: a moment, or how long ago, such as 90d
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    before: Timestamp,
    /// Only keys of this owner
    #[arg(long)]
    owner: Option<OwnerId>,
    /// Does not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(args: &Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Purged {
        purged: u64,
    }
    if !args.yes {
        confirm(args)?;
    }
    let manager = match &args.owner {
        Some(owner) => database.manager.for_owner(owner.clone()),
        None => database.manager.clone(),
    };
    let purged = manager.purge(args.before).await?;
    if out.is_json() {
        return out.object(&Purged { purged });
    }
    out.say(&format!("Removed {purged} keys."))
}

/// Rows that are gone cannot be had back, and nor can what they say to an auditor.
fn confirm(args: &Args) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("say --yes where standard input is no terminal".to_owned()));
    }
    let before = args.before;
    let mut stderr = io::stderr();
    write!(stderr, "Remove all keys that were revoked or deleted before {before}? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::Refused("nothing was removed".to_owned()))
}
