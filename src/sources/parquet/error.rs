//! What can be wrong with a Parquet source as a whole.

use crate::{ErrorKind, SourceError};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why nothing is read (or no more): each names the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// An argument that no file could satisfy.
    Config { message: String, hint: String },
    /// No such file or folder.
    NotFound { path: PathBuf },
    /// The server's operating system user may not read it.
    PermissionDenied { path: PathBuf },
    /// Any other failure of the operating system.
    Io { path: PathBuf, error: String },
    /// A pipe, socket or device.
    NotRegular { path: PathBuf },
    /// A symbolic link inside a folder: following it could leave the folder, loop, or read a file twice.
    SymbolicLink { path: PathBuf },
    /// A folder without a single file to read.
    EmptyFolder { path: PathBuf },
    /// Folders nested deeper than anyone partitions by.
    TooDeep { path: PathBuf },
    /// The bytes are no Parquet file: wrong magic, or too short for one.
    NotParquet { path: PathBuf, size: u64 },
    /// A Parquet file that does not hold together.
    Corrupt { path: PathBuf, error: String },
    /// A valid file that needs what this build lacks, such as encryption.
    Unsupported { path: PathBuf, error: String },
    /// No column of that name at the top level of the schema.
    MissingColumn {
        path: PathBuf,
        role: &'static str,
        column: String,
        available: Vec<String>,
    },
    /// A column that cannot play its role.
    WrongType {
        path: PathBuf,
        role: &'static str,
        column: String,
        found: String,
        accepted: &'static str,
    },
    /// Integer timestamps whose unit cannot be told.
    AmbiguousUnit {
        path: PathBuf,
        column: String,
        low: i64,
        high: i64,
    },
    /// More than one column that a name and its aliases may mean.
    TwoColumns {
        path: PathBuf,
        role: &'static str,
        column: String,
        found: Vec<String>,
    },
    /// The file became another while it was read.
    Changed { path: PathBuf },
    /// The place that the file is in failed.
    Store(SourceError),
    /// A call after an earlier error.
    Spent { path: PathBuf },
}

impl Error {
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound { path },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path },
            _ => Self::Io {
                path,
                error: error.to_string(),
            },
        }
    }

    /// An error of the parquet crate about a file.
    pub(super) fn format(path: &Path, error: ::parquet::errors::ParquetError) -> Self {
        use ::parquet::errors::ParquetError as E;
        let path = path.to_path_buf();
        match error {
            E::NYI(error) => Self::Unsupported { path, error },
            E::General(error) if error.contains("encrypt") || error.contains("Disabled feature") => {
                Self::Unsupported { path, error }
            }
            E::General(error) | E::EOF(error) => Self::Corrupt { path, error },
            E::External(error) => Self::Corrupt {
                path,
                error: error.to_string(),
            },
            other => Self::Corrupt {
                path,
                error: other.to_string(),
            },
        }
    }

    pub(super) fn corrupt(path: &Path, error: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_path_buf(),
            error: error.into(),
        }
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } => ErrorKind::Config,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::PermissionDenied { .. } => ErrorKind::PermissionDenied,
            Self::Io { .. } | Self::Changed { .. } => ErrorKind::Io,
            Self::Store(error) => error.kind,
            Self::NotParquet { .. } | Self::Corrupt { .. } | Self::Spent { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::NotRegular { .. }
            | Self::SymbolicLink { .. }
            | Self::EmptyFolder { .. }
            | Self::TooDeep { .. }
            | Self::MissingColumn { .. }
            | Self::WrongType { .. }
            | Self::TwoColumns { .. }
            | Self::AmbiguousUnit { .. } => ErrorKind::WrongSchema,
        }
    }

    /// More than the message says, where there is more.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Io { error, .. } | Self::Corrupt { error, .. } | Self::Unsupported { error, .. } => {
                Some(error.clone())
            }
            Self::NotParquet { size: 0, .. } => Some("The file is empty.".into()),
            Self::NotParquet { size, .. } => Some(format!(
                "The file has {size} bytes and lacks Parquet's PAR1 at its start or end."
            )),
            Self::MissingColumn { available, .. } => Some(format!("The file has {}.", list(available))),
            Self::WrongType { accepted, .. } => Some(format!("Accepted: {accepted}.")),
            Self::TwoColumns { found, .. } => Some(format!("The file has {}.", list(found))),
            Self::Changed { .. } => Some("It was written or replaced while it was read.".into()),
            Self::Store(error) => error.detail.clone(),
            Self::AmbiguousUnit { low, high, .. } => Some(format!(
                "The smallest value is {low}, the largest {high}: their magnitudes speak for different units."
            )),
            _ => None,
        }
    }

    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config { hint, .. } => Some(hint.clone()),
            Self::NotFound { .. } => Some("The path is one on the server, not on the client.".into()),
            Self::PermissionDenied { .. } => {
                Some("The file must be readable by the operating system user that runs the server.".into())
            }
            Self::SymbolicLink { .. } => {
                Some("Give the link's target as the path of a call of its own.".into())
            }
            Self::EmptyFolder { .. } => {
                Some("Files must end in .parquet; names that start with . or _ are skipped.".into())
            }
            Self::NotParquet { .. } | Self::Corrupt { .. } => {
                Some("Check that the file was written and copied to its end, or write it anew.".into())
            }
            Self::Unsupported { .. } => {
                Some("Write the file anew with zstd or snappy compression, not encrypted.".into())
            }
            Self::MissingColumn {
                column, available, ..
            } => nearest(column, available).map(|name| format!("Perhaps you meant the column \"{name}\".")),
            Self::WrongType { .. } => Some("Cast the column when writing the file.".into()),
            Self::AmbiguousUnit { .. } => {
                Some("Say what the integers count: timestamp_unit is s, ms, us or ns.".into())
            }
            Self::TwoColumns { .. } => Some("Leave one of the names out of column_aliases.".into()),
            Self::Changed { .. } => {
                Some("Write files under another name, and rename them once they are whole.".into())
            }
            Self::Store(error) => error.hint.clone(),
            Self::Io { .. } | Self::NotRegular { .. } | Self::TooDeep { .. } | Self::Spent { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { message, .. } => f.write_str(message),
            Self::NotFound { path } => write!(f, "file or folder \"{}\" does not exist", path.display()),
            Self::PermissionDenied { path } => write!(f, "permission denied to read \"{}\"", path.display()),
            Self::Io { path, .. } => write!(f, "could not read \"{}\"", path.display()),
            Self::NotRegular { path } => {
                write!(f, "\"{}\" is neither a regular file nor a folder", path.display())
            }
            Self::SymbolicLink { path } => {
                write!(
                    f,
                    "symbolic link \"{}\" inside a folder is not followed",
                    path.display()
                )
            }
            Self::EmptyFolder { path } => write!(f, "folder \"{}\" holds no Parquet file", path.display()),
            Self::TooDeep { path } => write!(f, "folder \"{}\" is nested too deep", path.display()),
            Self::NotParquet { path, .. } => write!(f, "\"{}\" is not a Parquet file", path.display()),
            Self::Corrupt { path, .. } => write!(f, "Parquet file \"{}\" is damaged", path.display()),
            Self::Unsupported { path, .. } => {
                write!(
                    f,
                    "Parquet file \"{}\" uses a feature that is not supported",
                    path.display()
                )
            }
            Self::MissingColumn {
                path, role, column, ..
            } => {
                write!(
                    f,
                    "Parquet file \"{}\" has no column \"{column}\" ({role})",
                    path.display()
                )
            }
            Self::WrongType {
                path,
                role,
                column,
                found,
                ..
            } => {
                write!(
                    f,
                    "column \"{column}\" ({role}) of Parquet file \"{}\" is of type {found}",
                    path.display()
                )
            }
            Self::AmbiguousUnit { path, column, .. } => {
                write!(
                    f,
                    "the unit of integer column \"{column}\" of \"{}\" cannot be told",
                    path.display()
                )
            }
            Self::TwoColumns {
                path, role, column, ..
            } => {
                write!(
                    f,
                    "Parquet file \"{}\" has more than one column that \"{column}\" ({role}) may mean",
                    path.display()
                )
            }
            Self::Changed { path } => write!(f, "file \"{}\" changed while it was read", path.display()),
            Self::Store(error) => error.fmt(f),
            Self::Spent { path } => write!(f, "reading \"{}\" has failed before", path.display()),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for SourceError {
    fn from(error: Error) -> Self {
        let (kind, detail, hint) = (error.kind(), error.detail(), error.hint());
        Self {
            kind,
            message: error.to_string(),
            detail,
            hint,
        }
    }
}

/// Column names for a sentence, the first fifty.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 50;
    match names.len() {
        0 => "no columns".into(),
        n if n <= SHOWN => format!("the columns {}", names.join(", ")),
        n => format!("{n} columns, among them {}", names[..SHOWN].join(", ")),
    }
}

/// The name nearest to the one asked for, if it is near enough to be what was meant.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let score = |name: &str| {
        let name = name.to_lowercase();
        let within =
            !wanted.is_empty() && !name.is_empty() && (name.contains(&wanted) || wanted.contains(&name));
        edit_distance(&wanted, &name).min(if within { 1 } else { usize::MAX })
    };
    let (best, name) = names
        .iter()
        .take(1000)
        .map(|name| (score(name), name))
        .min_by_key(|(score, _)| *score)?;
    (best <= 1 + wanted.chars().count() / 3).then_some(name)
}

/// Levenshtein's distance in characters; names beyond 128 characters are no typo of each other.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > 128 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_column_is_a_typo_away_or_within() {
        let names = ["package", "uploaded_at", "Embedding"].map(String::from);
        assert_eq!(nearest("pakage", &names), Some("package"));
        assert_eq!(nearest("embedding", &names), Some("Embedding"));
        assert_eq!(nearest("uploaded", &names), Some("uploaded_at"));
        assert_eq!(nearest("vector", &names), None);
        assert_eq!(nearest("", &names), None);
    }
}
