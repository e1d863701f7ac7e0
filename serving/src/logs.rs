//! [`log_to_stderr`].

use std::io;

use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, filter_fn},
    fmt::{self, format::FmtSpan},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Logs to stderr, as `RUST_LOG` asks; `info` by default. Does nothing where a subscriber is installed
/// already.
///
/// A span of `tower-api-key` is a line when it closes. Those of other crates are left out.
pub fn log_to_stderr() {
    let asked_for =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    // Below INFO, h2 repeats the path of a request that it cannot parse, with the `api_key` in its
    // query. A filter of its own, because a more exact `RUST_LOG` would win over a directive.
    let without_keys = filter_fn(|metadata| {
        let (root, _) = metadata.target().split_once("::").unwrap_or((metadata.target(), ""));
        if metadata.is_span() {
            return root == "tower_api_key";
        }
        root != "h2" || *metadata.level() <= LevelFilter::INFO
    });
    let subscriber = tracing_subscriber::registry()
        .with(asked_for)
        .with(without_keys)
        .with(fmt::layer().with_span_events(FmtSpan::CLOSE).with_writer(io::stderr));
    // An error says that there is another one.
    let _ = subscriber.try_init();
}
