//! Logging to stderr, as `RUST_LOG` asks; `info` by default.

use std::{error::Error, io};

use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub(crate) fn init() {
    let asked_for =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    // Below INFO, h2 repeats the path of a request that it cannot parse, with the `api_key` in its
    // query. A filter of its own, because a more exact `RUST_LOG` would win over a directive.
    let without_keys = filter_fn(|metadata| {
        let (root, _) = metadata.target().split_once("::").unwrap_or((metadata.target(), ""));
        root != "h2" || *metadata.level() <= LevelFilter::INFO
    });
    tracing_subscriber::registry()
        .with(asked_for)
        .with(without_keys)
        .with(fmt::layer().with_writer(io::stderr))
        .init();
}

/// An error and its sources in a line. Many errors end with the text of their source: it is told
/// once.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
