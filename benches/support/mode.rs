//! Whether a bench measures, or only shows that it still runs.

/// `cargo bench` asks for figures. `cargo test` does not: then little is enough.
pub(crate) fn measures() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
