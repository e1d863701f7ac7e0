//! `announce`.

use tower_api_key::store::Announcement;

use crate::{database::Database, failure::Failure, output::Output};

/// The thing that services are told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// That the store was put back to an earlier state, as by restoring a backup: what they have heard since no
    /// longer counts, and they look every key up anew
    #[arg(long, required = true)]
    reset: bool,
}

pub(crate) async fn run(args: &Args, database: &Database, out: &mut Output) -> Result<(), Failure> {
    debug_assert!(args.reset, "there is nothing else to announce");
    if database.buses.is_empty() {
        let text = "there is no bus: set REDIS_URL as for the services";
        return Err(Failure::Usage(text.to_owned()));
    }
    let identity = database.repository.identity().await;
    let identity = identity.map_err(|error| Failure::store("", &error))?;
    let announcement = Announcement::reset().of_store(identity);
    for bus in &database.buses {
        let published = bus.publish(&announcement).await;
        published.map_err(|error| Failure::store("cannot announce it: ", &error))?;
    }
    out.say("Told the services that listen.")
}
