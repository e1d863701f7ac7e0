//! `update`, `revoke` and `delete`.

use ipnet::IpNet;
use tower_api_key::{
    KeyId, KeyManager, KeyPatch, Timestamp, key::Metadata, limit::Limit, scope::Scope,
};

use crate::{
    create,
    database::Database,
    failure::Failure,
    list,
    output::{Output, note_delay},
    quota::{self, Credits},
    when,
};

/// The fields to change: one that is not given stays as it is.
#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Update {
    /// The key
    id: KeyId,
    /// The purpose of the key
    #[arg(long)]
    name: Option<String>,
    /// A longer explanation; an empty one takes it away
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A scope of the key, in place of those before; more than one with commas between them, or again
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scope: Option<Vec<Scope>>,
    /// The key may do nothing
    #[arg(long, conflicts_with = "scope")]
    no_scopes: bool,
    /// The name of a set of limits; an empty one takes it away
    #[arg(long)]
    tier: Option<String>,
    /// A rate limit such as minute=100/60s,burst=20, in place of those before; may be given again
    #[arg(long, value_name = "NAME=COUNT/TIME", value_parser = quota::limit)]
    limit: Option<Vec<Limit>>,
    /// The key has no rate limits of its own; those of its tier count
    #[arg(long, conflicts_with = "limit")]
    no_limits: bool,
    #[command(flatten)]
    credits: Credits,
    /// No credits come back any more; the balance stays
    #[arg(long, conflicts_with = "refill")]
    no_refill: bool,
    /// The key spends no credits any more
    #[arg(long, conflicts_with_all = ["credits", "refill", "no_refill"])]
    no_credits: bool,
    /// The application's own data, in place of all that was there: a JSON object
    #[arg(long, value_name = "JSON", value_parser = create::metadata)]
    metadata: Option<Metadata>,
    /// A network that the key may be used from, in place of those before; may be given again
    #[arg(long, value_name = "NETWORK", value_parser = create::network)]
    allow: Option<Vec<IpNet>>,
    /// The key may be used from anywhere
    #[arg(long, conflicts_with = "allow")]
    allow_anywhere: bool,
    /// When the key begins to work: a moment, a duration from now, or `never` for no such moment
    #[arg(long, value_name = "WHEN", value_parser = when::or_never)]
    not_before: Option<when::OrNever>,
    /// When the key ends: a moment, the day at whose end it does, a duration from now, or `never`
    #[arg(long, value_name = "WHEN", value_parser = when::end)]
    expires: Option<when::OrNever>,
    /// Switches the key off
    #[arg(long)]
    disable: bool,
    /// Switches the key on again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    #[command(flatten)]
    condition: Condition,
}

/// The condition for a change.
#[derive(clap::Args)]
pub(crate) struct Condition {
    /// Only if the key still has this revision, as `show --json` has it
    #[arg(long, value_name = "NUMBER")]
    if_revision: Option<u64>,
}

impl Condition {
    /// The manager that changes a key only then.
    pub(crate) fn of(&self, manager: &KeyManager) -> KeyManager {
        self.if_revision.map_or_else(|| manager.clone(), |seen| manager.if_revision(seen))
    }
}

#[derive(clap::Args)]
pub(crate) struct Revoke {
    /// The key
    id: KeyId,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Together with the keys that its owner created with it, and with those
    #[arg(long)]
    descendants: bool,
    #[command(flatten)]
    condition: Condition,
}

#[derive(clap::Args)]
pub(crate) struct Delete {
    /// The key
    id: KeyId,
    #[command(flatten)]
    condition: Condition,
}

pub(crate) async fn update(
    args: Update,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    let limits = match args.limit {
        Some(limits) => Some(quota::limits(limits)?),
        None => args.no_limits.then(Default::default),
    };
    let patch = KeyPatch {
        name: args.name,
        description: args.description.map(none_if_empty),
        scopes: match args.scope {
            Some(scopes) => Some(scopes.into_iter().collect()),
            None => args.no_scopes.then(Default::default),
        },
        tier: args.tier.map(none_if_empty),
        limits,
        credits: args.credits.patch(args.no_refill).map(Some).or(args.no_credits.then_some(None)),
        metadata: args.metadata,
        allowed_addresses: args.allow.or(args.allow_anywhere.then(Vec::new)),
        not_before: args.not_before.map(Option::<Timestamp>::from),
        expires_at: args.expires.map(Option::<Timestamp>::from),
        disabled: if args.enable { Some(false) } else { args.disable.then_some(true) },
    };
    if patch == KeyPatch::default() {
        return Err(Failure::Usage("say what to change; `update --help` lists it".to_owned()));
    }
    let record = args.condition.of(&database.manager).update(args.id, patch).await?;
    list::tell(&record, database, out).await?;
    if args.disable {
        note_delay();
    }
    Ok(())
}

fn none_if_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

pub(crate) async fn revoke(
    args: &Revoke,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    let (manager, reason) = (args.condition.of(&database.manager), args.reason.as_deref());
    if args.descendants {
        let revoked = manager.revoke_with_descendants(args.id, reason).await?;
        out.say(&format!("Revoked {} keys.", revoked.len()))?;
        if out.is_json() {
            for record in &revoked {
                list::tell(record, database, out).await?;
            }
        }
        if !revoked.is_empty() {
            note_delay();
        }
        return Ok(());
    }
    let record = manager.revoke(args.id, reason).await?;
    out.say(&format!("Revoked the key {}.", record.id))?;
    if out.is_json() {
        list::tell(&record, database, out).await?;
    }
    note_delay();
    Ok(())
}

pub(crate) async fn delete(
    args: &Delete,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    args.condition.of(&database.manager).delete(args.id).await?;
    out.say(&format!("Deleted the key {}.", args.id))?;
    note_delay();
    Ok(())
}
