//! `add-scope`.

use serde::Serialize;
use tower_api_key::{
    KeyId, KeyPatch, OwnerId, Scopes, key::KeyRecord, manage::ManageError, scope::Scope,
};

use crate::{database::Database, failure::Failure, list::Pages, output::Output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only keys of this owner
    #[arg(long)]
    owner: OwnerId,
    /// A scope to add to those that they have; more than one with commas between
    /// them, or again
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', required = true)]
    scope: Vec<Scope>,
}

pub(crate) async fn run(args: Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Changed {
        changed: u64,
    }
    let added: Scopes = args.scope.into_iter().collect();
    let mut pages = Pages::all(Some(args.owner));
    let mut changed = 0;
    while let Some(page) = pages.next(database).await? {
        for key in &page {
            changed += u64::from(add(key.id, &added, database).await?);
        }
    }
    if out.is_json() {
        return out.object(&Changed { changed });
    }
    out.say(&format!("Changed {changed} keys."))
}

/// Says whether the key has not had all of them. Again, if another program changes it meanwhile.
async fn add(id: KeyId, added: &Scopes, database: &Database) -> Result<bool, Failure> {
    loop {
        let key = match database.manager.get(id).await {
            Ok(key) if key.details.revoked_at.is_none() && !key.scopes.allow_all(added) => key,
            // It has them, or has no use for them any more.
            Ok(_) | Err(ManageError::NotFound) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        match database.manager.if_revision(key.revision).update(id, patch(&key, added)).await {
            Ok(_) => return Ok(true),
            Err(ManageError::RevisionMismatch) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn patch(key: &KeyRecord, added: &Scopes) -> KeyPatch {
    let all = key.scopes.iter().chain(added.iter()).filter_map(|scope| scope.parse().ok());
    KeyPatch { scopes: Some(all.collect()), ..KeyPatch::default() }
}
