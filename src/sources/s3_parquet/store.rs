//! A place that files are in: what the bucket and the folder have in common.

use crate::SourceError;
use crate::parquet::{Error, Object};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// A file as it was listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Listed {
    /// What it is called in positions: the key in the bucket, the path below the folder.
    pub key: String,
    pub size: u64,
    /// Changes when the content does.
    pub etag: String,
}

/// Takes one file of a listing and says whether to go on.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Listed) -> Result<ControlFlow<()>, SourceError>;

pub(super) trait Store: Send {
    /// Visits the Parquet files in the order of their names, from the first one after `after` on, without
    /// those that the filter leaves out by their folder. Returns whether the visitor broke it off.
    fn list(&mut self, after: Option<&str>, visit: Visit<'_>) -> Result<ControlFlow<()>, SourceError>;

    /// One file that a listing would bring; None where there is none.
    fn find(&mut self, key: &str) -> Result<Option<Listed>, SourceError>;

    /// Opens a file; a bucket starts to fetch its end.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is gone since it was listed, [`Error::Changed`] where it is another now;
    /// a bucket may tell both only at the first read.
    fn open(&mut self, file: &Listed) -> Result<Arc<dyn Object>, Error>;

    /// What errors call a file.
    fn name(&self, key: &str) -> PathBuf;

    /// Bytes that were fetched since this was last asked.
    fn take_fetched(&mut self) -> u64;
}

/// Whether a key below the prefix names a file to read: `*.parquet` in any case, and no name on the way that
/// starts with `.` or `_`.
pub(super) fn is_wanted(path: &str) -> bool {
    let is_parquet = path.len() > ".parquet".len()
        && path
            .get(path.len() - ".parquet".len()..)
            .is_some_and(|end| end.eq_ignore_ascii_case(".parquet"));
    is_parquet && path.split('/').all(|name| !is_skipped(name))
}

/// Whether a file or folder of this name is skipped, as Spark and Hive do.
pub(super) fn is_skipped(name: &str) -> bool {
    name.is_empty() || name.starts_with(['.', '_'])
}
