//! The ways in which a command fails, with their texts and exit codes.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use tower_api_key::{
    ConfigError,
    manage::ManageError,
    store::{ConnectError, StoreError, StoreErrorKind},
};

/// The text of `--help` about the exit codes below.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 done or good; 1 refused; 2 cannot work, do not repeat it; 3 may work later. \
`--help` says more.";

/// Why a command did not do what it was asked. None of the texts holds a secret.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The answer is no: a key that is not good, a change that may not be.
    Refused(String),
    /// The same, and it is on stdout already.
    Answered,
    /// The arguments, the environment, the input or the store cannot be used: the same command never
    /// works.
    Usage(String),
    /// The table that a setting names cannot be used. The caller knows which setting it is: by default the
    /// argument.
    Table(String),
    /// The store cannot be reached, or something else that is needed: the same command may work
    /// later.
    Unavailable(String),
    /// Nothing more can be printed.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn unavailable(what: &str, error: &(dyn Error + 'static)) -> Self {
        Self::Unavailable(format!("{what}: {}", causes(error)))
    }

    /// An act that the store could not do.
    pub(crate) fn store(what: &str, error: &StoreError) -> Self {
        let text = format!("{what}{}", causes(error));
        match error.kind() {
            StoreErrorKind::Duplicate => Self::Refused(text),
            StoreErrorKind::Unsupported | StoreErrorKind::Corrupt => Self::Usage(text),
            _ if is_misconfigured(error) => Self::Usage(text),
            _ => Self::Unavailable(text),
        }
    }

    /// A store that could not be opened, whose URL is the value of `setting`.
    pub(crate) fn connect(setting: &str, error: ConnectError) -> Self {
        match error {
            ConnectError::Store(error) => Self::store(&format!("{setting}: "), &error),
            error => Self::Usage(format!("{setting}: {}", causes(&error))),
        }
    }

    /// Says the failure on stderr, and returns its exit code.
    pub(crate) fn tell(self) -> ExitCode {
        let (code, text) = match self {
            Self::Answered => return ExitCode::from(1),
            // The reader of the output has seen enough, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Self::Refused(text) => (1, text),
            Self::Usage(text) => (2, text),
            Self::Table(text) => (2, format!("--table: {text}")),
            Self::Unavailable(text) => (3, text),
            Self::Output(error) => (3, format!("the output cannot be written: {error}")),
        };
        // Nothing is left to tell it on when this fails.
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
            ManageError::Store(error) => Self::store("", &error),
            ManageError::Invalid(_) => Self::Usage(text),
            ManageError::Generate(_) => Self::Unavailable(text),
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
        Self::connect("DATABASE_URL", error)
    }
}

/// Whether a URL or a setting is to blame, which stays as it is.
fn is_misconfigured(error: &StoreError) -> bool {
    error.source().is_some_and(|source| {
        source.is::<ConfigError>()
            || source.downcast_ref().is_some_and(is_for_ever)
            || source.downcast_ref().is_some_and(is_login_refused)
    })
}

/// Whether it is no use to try again: the database refused the login, knows no such database, table
/// or column, or the file is none.
pub(crate) fn is_for_ever(error: &sqlx::Error) -> bool {
    const SQLITE: [&str; 4] = ["1", "14", "23", "26"];
    match error {
        sqlx::Error::Configuration(_) => true,
        // The URL asks for what this program cannot do. Certificates may be renewed.
        sqlx::Error::Tls(error) => error.to_string().contains("without TLS support"),
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // The classes of SQLSTATE (ISO 9075) for logins, databases, and syntax or access rules.
            // MySQL has its unknown databases in the last.
            let is_sqlstate = code.len() == 5 && ["28", "3D", "42"].contains(&&code[..2]);
            is_sqlstate || SQLITE.contains(&&*code)
        }),
        _ => false,
    }
}

/// Whether Redis wants another password, or another user.
fn is_login_refused(error: &redis::RedisError) -> bool {
    error.kind() == redis::ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
        // What it says to a long command before any login, as scripts are.
        || error.detail().is_some_and(|detail| detail.contains("unauthenticated"))
}

/// An error and its causes, in a line. Many errors end with the text of their cause, and some
/// wrap another of their own kind: each text is told once.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()) {
        let cause = cause.to_string();
        let own = last.strip_suffix(&cause);
        if own.is_some_and(|own| cause.starts_with(own)) {
            text.truncate(text.len() - last.len());
            text.push_str(&cause);
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        last = cause;
    }
    text
}
