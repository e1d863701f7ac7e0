//! `generate`.

use serde::Serialize;

use crate::{
    database,
    failure::{Failure, causes},
    issuing::Format,
    output::{Output, note},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args, out: &mut Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Generated<'r> {
        key: &'r str,
        digest: &'r str,
        start: &'r str,
    }
    let hasher = database::hashing()?.hasher;
    let format = args.format.get(&hasher)?;
    let key = format.generate().map_err(|error| Failure::Unavailable(causes(&error)))?;
    let digest = hasher.digest(key.expose()).to_hex();
    if out.is_json() {
        let start = format.start(key.expose());
        return out.object(&Generated { key: key.expose(), digest: &digest, start });
    }
    out.line(&format!("key = \"{}\"\ndigest = \"{digest}\"", key.expose()))?;
    note("The key is for its user, and is shown this once. The digest is for the file.");
    Ok(())
}
