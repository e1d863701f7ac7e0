//! `revoke-all`, `disable-all` and `delete-all`.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    manage::{KeySet, SetReport},
};

use crate::{
    database::Database,
    failure::Failure,
    output::{Output, note_delay},
    when,
};

/// Which keys. Every condition that is given must be met.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keys of this owner
    #[arg(long)]
    owner: Option<OwnerId>,
    /// This key; may be given again
    #[arg(long = "id", value_name = "ID", value_delimiter = ',')]
    ids: Option<Vec<KeyId>>,
    /// Keys that were created before this: a moment, or how long ago, such as 90d
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    issued_before: Option<Timestamp>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Does not ask
    #[arg(long)]
    yes: bool,
}

/// The act on a set.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    Revoke,
    Disable,
    Delete,
}

impl Act {
    const fn ask(self) -> &'static str {
        match self {
            Self::Revoke => "Revoke",
            Self::Disable => "Disable",
            Self::Delete => "Delete",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Revoke => "Revoked",
            Self::Disable => "Disabled",
            Self::Delete => "Deleted",
        }
    }
}

pub(crate) async fn run(
    args: Args,
    act: Act,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Report {
        changed: usize,
        already_ended: Vec<KeyId>,
        unknown: Vec<KeyId>,
    }
    let mut set = KeySet::default();
    (set.owner, set.ids, set.issued_before) = (args.owner, args.ids, args.issued_before);
    if set == KeySet::default() {
        let missing = "say which keys: --owner, --id or --issued-before";
        return Err(Failure::Usage(missing.to_owned()));
    }
    if !args.yes {
        confirm(act)?;
    }
    let (manager, reason) = (&database.manager, args.reason.as_deref());
    let is_by_time = set.ids.is_none() && set.issued_before.is_some();
    let SetReport { changed, already_ended, unknown, is_pending, .. } = match act {
        Act::Revoke => manager.revoke_all(set, reason).await?,
        Act::Disable => manager.disable_all(set, reason).await?,
        Act::Delete => manager.delete_all(set, reason).await?,
    };
    let changed = changed.len();
    out.say(&format!("{} {changed} keys.", act.done()))?;
    if is_pending {
        out.say("The others are revoked as well. Their rows are being written.")?;
        // This program ends, so nothing is left to the background, which is at it meanwhile.
        manager.finish_revocations().await?;
    }
    if is_by_time && matches!(act, Act::Revoke) {
        out.say("Keys of files and of configurations are not touched.")?;
    }
    already_ended.iter().try_for_each(|id| out.say(&format!("{id} had ended before.")))?;
    unknown.iter().try_for_each(|id| out.say(&format!("{id} is no key.")))?;
    if out.is_json() {
        out.object(&Report { changed, already_ended, unknown })?;
    }
    if changed > 0 {
        note_delay();
    }
    Ok(())
}

fn confirm(act: Act) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("say --yes where standard input is no terminal".to_owned()));
    }
    let mut stderr = io::stderr();
    write!(stderr, "{} all of these keys? [y/N] ", act.ask())?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::Refused("nothing was changed".to_owned()))
}
