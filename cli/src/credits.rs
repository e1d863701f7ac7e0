//! `top-up` and `deduct`.

use serde::Serialize;
use tower_api_key::{
    KeyId,
    credits::Balance,
    manage::{Deducted, Deduction, TopUp},
};

use crate::{database::Database, failure::Failure, list, output::Output, view::Shown};

#[derive(clap::Args)]
pub(crate) struct Add {
    /// The key, which spends credits already
    id: KeyId,
    /// How many to add to the balance
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Your name for this request: doing it again adds nothing
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Take {
    /// The key, which spends credits
    id: KeyId,
    /// How many to take from the balance
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Takes the whole balance where it is less; without it, nothing is taken then
    #[arg(long)]
    or_less: bool,
    /// Your name for this request: doing it again takes nothing
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

pub(crate) async fn top_up(
    args: Add,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut top_up = TopUp::new(args.count);
    top_up.request_id = args.request_id;
    let balance = database.manager.top_up(args.id, top_up).await?;
    show(args.id, &balance, database, out).await
}

pub(crate) async fn deduct(
    args: Take,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut deduction = Deduction::new(args.count);
    (deduction.or_less, deduction.request_id) = (args.or_less, args.request_id);
    let Deducted { amount, balance, .. } = database.manager.deduct(args.id, deduction).await?;
    if out.is_json() {
        #[derive(Serialize)]
        struct Taken<'r> {
            #[serde(flatten)]
            view: Shown<'r>,
            subtracted: u64,
        }
        let record = database.manager.get(args.id).await?;
        let view = Shown::new(&record, Some(&balance));
        return out.object(&Taken { view, subtracted: amount });
    }
    out.say(&format!("Took {amount} credits; {} are left.", balance.remaining))
}

/// The key, with this balance: a repetition repeats the first answer.
async fn show(
    id: KeyId,
    balance: &Balance,
    database: &Database,
    out: &mut Output,
) -> Result<(), Failure> {
    let record = database.manager.get(id).await?;
    list::tell_with(&record, Some(balance), out)
}
