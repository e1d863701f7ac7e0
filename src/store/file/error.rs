//! [`FileError`]: why a file of keys cannot be used.

use std::{error::Error, fmt, io, path::Path, sync::Arc};

use super::entry::FIELDS;
use crate::runtime::watched_file::ReadFault;

/// Why a file of keys cannot be used, and where in it the trouble is.
///
/// Shows nothing of what the file holds but the names of fields, so it is safe to log whatever was
/// pasted into the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    pub(super) path: Arc<Path>,
    pub(super) fault: Fault,
}

/// A fault and its place. Apart from [`FileError`] because only the store knows the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FileErrorKind,
    pub(super) position: Option<Position>,
    pub(super) key: Option<usize>,
    pub(super) field: Option<Box<str>>,
}

/// A line and a column, both from 1. Columns count characters or bytes, as the parser does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// The kind of fault in a file of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// Its name ends in none of `.toml`, `.json`, `.yaml` and `.yml`.
    Extension,
    /// This program was built without a feature of this crate that the format needs.
    Feature {
        /// The feature.
        feature: &'static str,
    },
    /// It is a directory, a pipe or the like.
    NotAFile,
    /// It is missing, or may not be read.
    Unreadable {
        /// The error of the operating system.
        cause: io::ErrorKind,
    },
    /// It is larger than 16 MiB.
    TooLarge,
    /// It is not TOML, JSON or YAML, whichever it should be.
    Syntax,
    /// It is not a list `keys` of tables.
    Shape,
    /// A field that a key does not have.
    UnknownField,
    /// A field that a key must have is not there.
    MissingField,
    /// A field is there twice.
    RepeatedField,
    /// A field holds something it may not hold.
    InvalidField {
        /// The rule for it: `must be …`.
        message: &'static str,
    },
    /// A digest is that of an earlier key, too.
    DuplicateDigest {
        /// The number of that key, from 1.
        earlier: usize,
    },
    /// A name is that of an earlier key, too, and neither key has an id of its own.
    DuplicateName {
        /// The number of that key, from 1.
        earlier: usize,
    },
    /// An id is that of an earlier key, too.
    DuplicateId {
        /// The number of that key, from 1.
        earlier: usize,
    },
}

impl FileError {
    /// The file, as it was given to the store.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of fault.
    pub fn kind(&self) -> FileErrorKind {
        self.fault.kind
    }

    /// The line where reading stopped, from 1.
    pub fn line(&self) -> Option<u64> {
        self.fault.position.map(|position| position.line)
    }

    /// The column where reading stopped, from 1.
    pub fn column(&self) -> Option<u64> {
        self.fault.position.map(|position| position.column)
    }

    /// The number of the key, from 1: its place in the list.
    pub fn key(&self) -> Option<usize> {
        self.fault.key
    }

    /// The name of the field. An unknown one of 16 bytes or more is not told: it could be a key.
    pub fn field(&self) -> Option<&str> {
        self.fault.field.as_deref()
    }
}

impl From<FileErrorKind> for Fault {
    fn from(kind: FileErrorKind) -> Self {
        Self { kind, position: None, key: None, field: None }
    }
}

impl From<ReadFault> for Fault {
    fn from(fault: ReadFault) -> Self {
        let kind = match fault {
            ReadFault::NotAFile => FileErrorKind::NotAFile,
            ReadFault::Unreadable(cause) => FileErrorKind::Unreadable { cause },
            ReadFault::TooLarge => FileErrorKind::TooLarge,
        };
        kind.into()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { kind, position, key, field } = &self.fault;
        write!(f, "{}", self.path.display())?;
        if let Some(Position { line, column }) = position {
            write!(f, ", line {line}, column {column}")?;
        }
        if let Some(key) = key {
            write!(f, ", key {key}")?;
        }
        f.write_str(": ")?;
        let field = field.as_deref();
        match kind {
            FileErrorKind::Extension => {
                f.write_str("the name of a file of keys ends in .toml, .json, .yaml or .yml")
            }
            FileErrorKind::Feature { feature } => {
                write!(f, "this file needs the feature `{feature}` of tower-api-key")
            }
            FileErrorKind::NotAFile => f.write_str("this is not a file"),
            FileErrorKind::Unreadable { cause } => write!(f, "the file cannot be read: {cause}"),
            FileErrorKind::TooLarge => f.write_str("the file is larger than 16 MiB"),
            FileErrorKind::Syntax => f.write_str("this cannot be read; check the syntax"),
            FileErrorKind::Shape => f.write_str("the file must hold a list `keys` of tables"),
            FileErrorKind::UnknownField => {
                match field {
                    Some(name) => write!(f, "unknown field {name:?}")?,
                    None => f.write_str("unknown field, too long to be shown")?,
                }
                if key.is_none() {
                    return f.write_str("; there is only `keys`");
                }
                f.write_str("; a key has")?;
                let mut before = " ";
                for (name, _) in FIELDS {
                    write!(f, "{before}{name}")?;
                    before = ", ";
                }
                Ok(())
            }
            FileErrorKind::MissingField => write!(f, "{} is missing", field.unwrap_or("a field")),
            FileErrorKind::RepeatedField => {
                write!(f, "{} is there twice", field.unwrap_or("a field"))
            }
            FileErrorKind::InvalidField { message } => {
                write!(f, "{} {message}", field.unwrap_or("a field"))
            }
            FileErrorKind::DuplicateDigest { earlier } => {
                write!(f, "digest is that of key {earlier}, too")
            }
            FileErrorKind::DuplicateName { earlier } => {
                write!(f, "name is that of key {earlier}, too; give one of them an `id`")
            }
            FileErrorKind::DuplicateId { earlier } => write!(f, "id is that of key {earlier}, too"),
        }
    }
}

impl Error for FileError {}
