//! `rotate`.

use std::time::Duration;

use tower_api_key::{
    KeyId,
    manage::{RotateKey, RotationGrace},
};

use crate::{
    change::Condition,
    database::Database,
    failure::Failure,
    issuing::{self, Format, Show},
    output::{Output, note_delay},
    when,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The key to replace
    id: KeyId,
    /// How long the old key lives on, such as 24h; without it, it is refused at once
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    grace: Option<Duration>,
    /// The grace begins when the new key is first used, instead of now
    #[arg(long, requires = "grace")]
    from_first_use: bool,
    /// Your name for this request: doing it again makes no second key
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    show: Show,
}

pub(crate) async fn run(args: &Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    let grace = match args.grace {
        None => RotationGrace::NONE,
        Some(grace) if args.from_first_use => RotationGrace::FromFirstUse(grace),
        Some(grace) => RotationGrace::FromNow(grace),
    };
    let manager =
        args.condition.of(&database.manager).with_format(args.format.get(&database.hasher)?);
    let mut rotation = RotateKey::new(grace);
    rotation.request_id.clone_from(&args.request_id);
    let issued = manager.rotate(args.id, rotation).await?;
    let end = match grace {
        RotationGrace::NONE => "is refused from now on",
        RotationGrace::FromFirstUse(_) => {
            "lives on until its grace after the first use of the new one"
        }
        _ => "lives on through its grace",
    };
    let remark =
        format!("Created the key {} in place of {}, which {end}.", issued.record.id, args.id);
    issuing::show(&issued, &args.show, out, &remark)?;
    if grace == RotationGrace::NONE {
        note_delay();
    }
    Ok(())
}
