//! `create`.

use ipnet::IpNet;
use tower_api_key::{NewKey, OwnerId, Timestamp, key::Metadata, limit::Limit, scope::Scope};

use crate::{
    database::Database,
    failure::Failure,
    issuing::{self, Format, Show},
    output::Output,
    quota::{self, Credits},
    when,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The purpose of the key: 1 to 100 characters
    #[arg(long)]
    name: String,
    /// A longer explanation
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The owner of the key
    #[arg(long)]
    owner: Option<OwnerId>,
    /// A scope of the key, such as orders:read; more than one with commas between them, or again
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scope: Vec<Scope>,
    /// The name of a set of limits
    #[arg(long)]
    tier: Option<String>,
    /// A rate limit, such as minute=100/60s,burst=20; may be given again. Then those of the tier
    /// do not count
    ///
    /// A name, requests and the time in which they come back (ms, s, m, h or d), and how many may
    /// come at once, if not all.
    #[arg(long, value_name = "NAME=COUNT/TIME", value_parser = quota::limit)]
    limit: Vec<Limit>,
    #[command(flatten)]
    credits: Credits,
    /// The application's own data: a JSON object
    #[arg(long, value_name = "JSON", value_parser = metadata)]
    metadata: Option<Metadata>,
    /// A network that the key may be used from, such as 10.0.0.0/8; may be given again
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    allow: Vec<IpNet>,
    /// When the key begins to work: a moment, or a duration from now
    #[arg(long, value_name = "WHEN", value_parser = when::ahead)]
    not_before: Option<Timestamp>,
    /// When the key ends: a moment such as 2030-01-31T12:00:00Z, the day at whose end it does, or a
    /// duration such as 30d
    #[arg(long, value_name = "WHEN", value_parser = when::end)]
    expires: Option<when::OrNever>,
    /// Your name for this request: doing it again creates no second key
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    show: Show,
}

pub(crate) async fn run(args: Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    let new = NewKey {
        name: args.name,
        description: args.description,
        owner: args.owner,
        scopes: args.scope.into_iter().collect(),
        tier: args.tier,
        limits: quota::limits(args.limit)?,
        credits: args.credits.get()?,
        metadata: args.metadata.unwrap_or_default(),
        allowed_addresses: args.allow,
        not_before: args.not_before,
        expires_at: args.expires.and_then(Option::from),
        request_id: args.request_id,
    };
    let manager = database.manager.clone().with_format(args.format.get(&database.hasher)?);
    let issued = manager.create(new).await?;
    let remark = format!("Created the key {}.", issued.record.id);
    issuing::show(&issued, &args.show, out, &remark)
}

pub(crate) fn metadata(text: &str) -> Result<Metadata, String> {
    serde_json::from_str(text).map_err(|error| format!("must be a JSON object: {error}"))
}

/// A network, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse().ok().or_else(|| text.parse().ok().map(std::net::IpAddr::into));
    net.ok_or_else(|| "must be a network such as 10.0.0.0/8, or an address".to_owned())
}
