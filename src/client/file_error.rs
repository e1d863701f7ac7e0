//! [`KeyFileError`]: why a file with a client's key cannot be used.

use std::{error::Error, fmt, io, path::Path, sync::Arc};

use super::credential::NoKey;
use crate::runtime::watched_file::ReadFault;

/// Why a file with a client's key cannot be used. Shows nothing of what the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFileError {
    pub(super) path: Arc<Path>,
    pub(super) kind: KeyFileErrorKind,
}

/// The kind of fault in a file with a client's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyFileErrorKind {
    /// It is a directory, a pipe or the like.
    NotAFile,
    /// It is missing, or may not be read.
    Unreadable {
        /// The error of the operating system.
        cause: io::ErrorKind,
    },
    /// It is larger than 8 KiB.
    TooLarge,
    /// It holds nothing but white space.
    Empty,
    /// It holds something else than one key of 8 to 4096 bytes of visible ASCII, or one of another
    /// [format](super::ClientKey::with_format).
    NotAKey,
    /// It was not read for ten seconds: readings hang, or no runtime runs them.
    NotRead,
}

impl KeyFileError {
    /// The file, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of fault.
    pub fn kind(&self) -> KeyFileErrorKind {
        self.kind
    }
}

impl From<ReadFault> for KeyFileErrorKind {
    fn from(fault: ReadFault) -> Self {
        match fault {
            ReadFault::NotAFile => Self::NotAFile,
            ReadFault::Unreadable(cause) => Self::Unreadable { cause },
            ReadFault::TooLarge => Self::TooLarge,
        }
    }
}

impl From<NoKey> for KeyFileErrorKind {
    fn from(fault: NoKey) -> Self {
        match fault {
            NoKey::Empty => Self::Empty,
            NoKey::NotAKey => Self::NotAKey,
        }
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match self.kind {
            KeyFileErrorKind::NotAFile => f.write_str("this is not a file"),
            KeyFileErrorKind::Unreadable { cause } => {
                write!(f, "the file cannot be read: {cause}")
            }
            KeyFileErrorKind::TooLarge => f.write_str("the file is larger than 8 KiB"),
            KeyFileErrorKind::Empty => f.write_str("the file is empty"),
            KeyFileErrorKind::NotAKey => f.write_str(
                "the file must hold one key of 8 to 4096 bytes of visible ASCII, and nothing else",
            ),
            KeyFileErrorKind::NotRead => f.write_str("the file was not read for ten seconds"),
        }
    }
}

impl Error for KeyFileError {}
