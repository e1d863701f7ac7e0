//! `top-up`.

use tower_api_key::KeyId;

use crate::{database::Database, failure::Failure, list, output::Output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The key, which spends credits already
    id: KeyId,
    /// How many come on top of what is left
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

pub(crate) async fn top_up(
    args: &Args,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    database.manager.top_up(args.id, args.count).await?;
    list::tell(&database.manager.get(args.id).await?, database, out).await
}
