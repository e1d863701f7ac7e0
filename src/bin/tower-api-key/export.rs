//! `export`.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;
use tower_api_key::{Balance, KeyRecord, Limits, Metadata, OwnerId, Refill, Timestamp};

use crate::{database::Database, failure::Failure, list::Pages, output::Output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only keys of this owner
    #[arg(long)]
    owner: Option<OwnerId>,
    /// Prints the digests of the keys, too
    #[arg(long)]
    with_digests: bool,
}

#[derive(Serialize)]
struct Exported<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hash: Option<String>,
    key_prefix: &'r str,
    name: &'r str,
    user_id: Option<&'r OwnerId>,
    scopes: Vec<&'r str>,
    is_active: bool,
    /// The end of a grace after a rotation, too: it must not become longer by coming here.
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    created_at: Timestamp,
    description: Option<&'r str>,
    tier: Option<&'r str>,
    limits: &'r Limits,
    credits: Option<Credits>,
    not_before: Option<Timestamp>,
    allowed_addresses: Vec<String>,
    metadata: &'r Metadata,
    revoked_at: Option<Timestamp>,
}

/// As [`NewCredits`](tower_api_key::NewCredits) are read.
#[derive(Serialize)]
struct Credits {
    remaining: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refill: Option<Refill>,
}

const COLUMNS: [&str; 17] = [
    "key_hash",
    "key_prefix",
    "name",
    "user_id",
    "scopes",
    "is_active",
    "expires_at",
    "last_used_at",
    "created_at",
    "description",
    "tier",
    "limits",
    "credits",
    "not_before",
    "allowed_addresses",
    "metadata",
    "revoked_at",
];

impl<'r> Exported<'r> {
    fn new(record: &'r KeyRecord, balance: Option<&Balance>, with_digest: bool) -> Self {
        let details = &*record.details;
        let hash = || match &details.legacy_hash {
            Some(hash) => hash.expose().to_owned(),
            None => record.digest.to_hex(),
        };
        Self {
            key_hash: with_digest.then(hash),
            key_prefix: &record.start,
            name: &record.name,
            user_id: record.owner.as_ref(),
            scopes: record.scopes.iter().collect(),
            is_active: !record.disabled,
            expires_at: record.ends_at(),
            last_used_at: record.last_used_at,
            created_at: record.created_at,
            description: details.description.as_deref(),
            tier: details.tier.as_deref(),
            limits: &details.limits,
            credits: balance.map(|Balance { remaining, refill, .. }| Credits {
                remaining: *remaining,
                refill: *refill,
            }),
            not_before: record.not_before,
            allowed_addresses: details.allowed_addresses.iter().map(ToString::to_string).collect(),
            metadata: &details.metadata,
            revoked_at: record.revoked_at,
        }
    }

    /// In the order of `COLUMNS`.
    fn csv(&self) -> io::Result<Vec<String>> {
        let time = |time: Option<Timestamp>| time.map_or_else(String::new, |time| time.to_string());
        let mut row: Vec<String> = self.key_hash.clone().into_iter().collect();
        row.extend([
            self.key_prefix.to_owned(),
            self.name.to_owned(),
            self.user_id.map_or_else(String::new, ToString::to_string),
            self.scopes.join(" "),
            self.is_active.to_string(),
            time(self.expires_at),
            time(self.last_used_at),
            self.created_at.to_string(),
            self.description.unwrap_or_default().to_owned(),
            self.tier.unwrap_or_default().to_owned(),
            if self.limits.is_empty() {
                String::new()
            } else {
                serde_json::to_string(self.limits)?
            },
            self.credits.as_ref().map_or(Ok(String::new()), serde_json::to_string)?,
            time(self.not_before),
            self.allowed_addresses.join(" "),
            serde_json::to_string(self.metadata)?,
            time(self.revoked_at),
        ]);
        Ok(row)
    }
}

enum Writer {
    Csv(Box<csv::Writer<StdoutLock<'static>>>),
    Json(BufWriter<StdoutLock<'static>>),
}

pub(crate) async fn run(args: &Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    let stdout = io::stdout().lock();
    let mut writer = if out.is_json() {
        Writer::Json(BufWriter::new(stdout))
    } else {
        let mut writer = csv::Writer::from_writer(stdout);
        let columns = if args.with_digests { &COLUMNS[..] } else { &COLUMNS[1..] };
        writer.write_record(columns).map_err(io_error)?;
        Writer::Csv(Box::new(writer))
    };
    let mut pages = Pages::all(args.owner.clone());
    while let Some(records) = pages.next(database).await? {
        let balances = database.manager.balances_of(&records).await?;
        for (record, balance) in records.iter().zip(&balances) {
            writer.write(&Exported::new(record, balance.as_ref(), args.with_digests))?;
        }
    }
    Ok(writer.flush()?)
}

impl Writer {
    fn write(&mut self, row: &Exported<'_>) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.write_record(row.csv()?).map_err(io_error),
            Self::Json(writer) => {
                serde_json::to_writer(&mut *writer, row)?;
                writer.write_all(b"\n")
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.flush(),
            Self::Json(writer) => writer.flush(),
        }
    }
}

/// The error itself: wrapped up, it would not say that the reader has left.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
