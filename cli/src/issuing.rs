//! New secrets, shown once: for `create`, `rotate` and `generate`.

use serde::Serialize;
use tower_api_key::{IssuedKey, KeyFormat, KeyHasher};

use crate::{
    failure::Failure,
    output::{Output, note},
    seals,
    view::Shown,
};

#[derive(clap::Args)]
pub(crate) struct Format {
    /// How keys begin: lower-case letters and digits in words joined by `_`
    #[arg(long, env = "TOWER_API_KEY_PREFIX", value_name = "WORD", default_value = "key")]
    #[arg(value_parser = |text: &str| KeyFormat::new(text).map(|_| text.to_owned()))]
    pub(crate) prefix: String,
}

impl Format {
    /// The format of the service that stores digests like this: sealed, if it has issuer secrets.
    pub(crate) fn get(&self, hasher: &KeyHasher) -> Result<KeyFormat, Failure> {
        seals::of_environment(KeyFormat::new(&self.prefix)?, hasher)
    }
}

#[derive(clap::Args)]
pub(crate) struct Show {
    /// Prints the key as a header, for `curl -H @-`; `X-API-Key` if no other is given
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "X-API-Key")]
    #[arg(conflicts_with = "json", require_equals = true)]
    header: Option<String>,
}

/// Prints the key: alone on stdout, so that `KEY=$(tower-api-key create …)` works. `remark` is for
/// people.
pub(crate) fn show(
    issued: &IssuedKey,
    show: &Show,
    out: &mut Output,
    remark: &str,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Issued<'r> {
        #[serde(flatten)]
        view: Shown<'r>,
        key: &'r str,
    }
    let key = issued.secret.expose();
    let shown = match &show.header {
        _ if out.is_json() => {
            out.object(&Issued { view: Shown::new(&issued.record, issued.balance.as_ref()), key })
        }
        Some(name) => out.line(&format!("{name}: {key}")),
        None => out.line(key),
    };
    let id = issued.record.id;
    shown.map_err(|_| {
        // The secret is lost: only its digest is stored.
        Failure::Refused(format!(
            "the key {id} was made, but could not be shown; `rotate` it for another secret"
        ))
    })?;
    if !out.is_json() {
        note(&format!("{remark} This is the only time that it is shown."));
    }
    Ok(())
}
