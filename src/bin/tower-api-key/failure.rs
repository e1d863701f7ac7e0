//! How a command fails: what it says, and what it exits with.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use tower_api_key::{ConfigError, ManageError, store::ConnectError};

/// What `--help` says about the numbers below.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 done or good; 1 refused; 2 bad arguments or input; 3 the store cannot tell. \
`--help` says more.";

/// Why a command did not do what it was asked. None of the texts holds a secret.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The answer is no: a key that is not good, a change that may not be.
    Refused(String),
    /// The same, and it is on stdout already.
    Answered,
    /// The arguments, the environment or the input cannot be used.
    Usage(String),
    /// The store cannot be reached, or something else that is needed.
    Unavailable(String),
    /// Nothing more can be printed.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn unavailable(what: &str, error: &(dyn Error + 'static)) -> Self {
        Self::Unavailable(format!("{what}: {}", causes(error)))
    }

    /// Says on stderr what went wrong, and gives the number for it.
    pub(crate) fn tell(self) -> ExitCode {
        let (code, text) = match self {
            Self::Answered => return ExitCode::from(1),
            // Whoever read the output has seen enough, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Self::Refused(text) => (1, text),
            Self::Usage(text) => (2, text),
            Self::Unavailable(text) => (3, text),
            Self::Output(error) => (3, format!("the output cannot be written: {error}")),
        };
        // There is nobody to tell when this fails.
        let _ = writeln!(io::stderr(), "tower-api-key: {text}");
        ExitCode::from(code)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ManageError> for Failure {
    fn from(error: ManageError) -> Self {
        let text = causes(&error);
        match error {
            ManageError::Invalid(_) => Self::Usage(text),
            ManageError::Generate(_) | ManageError::Store(_) => Self::Unavailable(text),
            _ => Self::Refused(text),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let text = format!("DATABASE_URL: {}", causes(&error));
        match error {
            ConnectError::Config(_) => Self::Usage(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// An error and what caused it, in a line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
