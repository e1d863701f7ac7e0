//! The arguments of the programs here: flags, and options with a value.

/// Whether this flag was given.
pub fn flag(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

/// The value after this option.
pub fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// The number after this option.
///
/// # Panics
///
/// Where it is none.
pub fn number(name: &str) -> Option<usize> {
    option(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name} {value}: no number")))
}
