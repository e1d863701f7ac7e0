//! `list` and `show`.

use std::sync::Arc;

use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    clock::{Clock, SystemClock},
    credits::Balance,
    key::{KeyRecord, KeyStatus},
    scope::Scope,
    store::KeyQuery,
};

use crate::{
    database::Database,
    failure::Failure,
    output::{Output, plain, table},
    view::{self, Shown, time_or_never},
    when,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
}

#[derive(clap::Args)]
pub(crate) struct Filter {
    /// Only keys of this owner
    #[arg(long)]
    owner: Option<OwnerId>,
    /// Only keys with this status
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only keys that were granted this very scope
    #[arg(long)]
    scope: Option<Scope>,
    /// Only keys whose name or first characters begin with this
    #[arg(long, value_name = "TEXT")]
    begins_with: Option<String>,
    /// Only keys that end before this: a moment, or how long until then, such as 30d
    #[arg(long, value_name = "WHEN", value_parser = when::ahead)]
    expires_before: Option<Timestamp>,
    /// Only keys that end, then or later
    #[arg(long, value_name = "WHEN", value_parser = when::ahead)]
    expires_after: Option<Timestamp>,
    /// Only keys that were last used before this, or never: a moment, or how long ago, such as 90d
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    last_used_before: Option<Timestamp>,
    /// Only keys that were last used then or later
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    last_used_after: Option<Timestamp>,
    /// Only keys that come after this one in the list: the last one of a list that was cut off
    #[arg(long, value_name = "ID")]
    after: Option<KeyId>,
    /// At most this many keys; all of them, if not given
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Active,
    Expired,
    NotYetValid,
    Disabled,
    Revoked,
}

impl From<Status> for KeyStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Expired => Self::Expired,
            Status::NotYetValid => Self::NotYetValid,
            Status::Disabled => Self::Disabled,
            Status::Revoked => Self::Revoked,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct One {
    /// The key
    pub(crate) id: KeyId,
}

/// As many as a page may have: fewer questions.
const PAGE: usize = 1000;

/// The keys of a list, page by page, so that a million of them need no more memory than a page.
pub(crate) struct Pages {
    query: KeyQuery,
    left: usize,
    done: bool,
}

impl Pages {
    pub(crate) fn all(owner: Option<OwnerId>) -> Self {
        let mut query = KeyQuery::new(PAGE);
        query.owner = owner;
        Self { query, left: usize::MAX, done: false }
    }

    fn new(filter: Filter) -> Self {
        let mut pages = Self::all(filter.owner);
        pages.query.status = filter.status.map(|status| (status.into(), SystemClock.now()));
        pages.query.scope = filter.scope;
        pages.query.prefix = filter.begins_with.map(Into::into);
        pages.query.expires_before = filter.expires_before;
        pages.query.expires_after = filter.expires_after;
        pages.query.last_used_before = filter.last_used_before;
        pages.query.last_used_after = filter.last_used_after;
        pages.query.after = filter.after;
        pages.left = filter.limit.unwrap_or(usize::MAX);
        pages
    }

    pub(crate) async fn next(
        &mut self,
        database: &Database,
    ) -> Result<Option<Vec<Arc<KeyRecord>>>, Failure> {
        if self.done || self.left == 0 {
            return Ok(None);
        }
        self.query.limit = self.left.min(PAGE);
        let page = database.manager.list(&self.query).await?;
        self.left -= page.items.len().min(self.left);
        self.query.after = page.next;
        self.done = page.next.is_none();
        Ok(Some(page.items))
    }
}

pub(crate) async fn run(args: Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    let mut pages = Pages::new(args.filter);
    let mut header: &[&str] =
        &["ID", "NAME", "START", "OWNER", "SCOPES", "STATUS", "EXPIRES", "LAST USED"];
    let mut widths = None;
    while let Some(records) = pages.next(database).await? {
        if out.is_json() {
            let balances = database.manager.balances_of(&records).await?;
            let page = records.iter().zip(&balances);
            out.objects(page.map(|(record, balance)| Shown::new(record, balance.as_ref())))?;
            continue;
        }
        if records.is_empty() && !header.is_empty() {
            return out.say("There are no such keys.");
        }
        let page = table(header, records.iter().map(|record| row(record)));
        out.table(&page.below(&mut widths))?;
        header = &[];
    }
    Ok(())
}

fn row(record: &KeyRecord) -> [String; 8] {
    [
        record.id.to_string(),
        plain(&record.name),
        plain(&record.start),
        record.owner.as_ref().map_or_else(|| "-".to_owned(), |owner| plain(owner.as_str())),
        if record.scopes.is_empty() { "-" } else { record.scopes.as_str() }.to_owned(),
        view::status(record).to_owned(),
        time_or_never(record.ends_at()),
        time_or_never(record.last_used_at),
    ]
}

pub(crate) async fn show(args: &One, database: &Database, out: &mut Output) -> Result<(), Failure> {
    let record = database.manager.get(args.id).await?;
    tell(&record, database, out).await
}

/// Everything about a key.
pub(crate) async fn tell(
    record: &Arc<KeyRecord>,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    let balance = database.balance(record).await?;
    tell_with(record, balance.as_ref(), out)
}

/// The same, where its balance is known.
pub(crate) fn tell_with(
    record: &KeyRecord,
    balance: Option<&Balance>,
    out: &mut Output,
) -> Result<(), Failure> {
    if out.is_json() {
        return out.object(&Shown::new(record, balance));
    }
    out.table(&view::fields(record, balance))
}
