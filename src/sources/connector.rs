//! What every connector is to its caller.

use crate::Batch;
use std::fmt;

/// A place that embeddings are read from, pulled batch by batch.
///
/// The caller decides when to go on, so it can stop, wait, or check for interrupts between any two batches;
/// nothing is read ahead of a call, and memory is bounded by a batch. A connector is `Send`: the ingest runs
/// it on a thread of its own, which never touches PostgreSQL, and takes the batches from a bounded channel on
/// the main thread. Connectors that wait for a network fit behind the same call: their runtime fills such a
/// channel and `next_batch` waits on it.
pub trait Connector: Send {
    /// The next rows in the source's order, None at its end. A batch may hold rejects only, but is never
    /// without rows.
    ///
    /// # Errors
    /// What concerns the source as a whole. What is wrong with one row is among the batch's rejects instead.
    /// After an error the source is spent: further calls give an error again.
    fn next_batch(&mut self) -> Result<Option<Batch>, SourceError>;

    /// How far reading has come.
    fn progress(&self) -> Progress;
}

/// How far reading has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// What is being read, such as a file's path.
    pub current: Option<String>,
    /// Files (topics, pages) read to their end.
    pub parts_done: usize,
    /// How many there are, where that is known.
    pub parts_total: Option<usize>,
    /// Rows read so far, taken and refused.
    pub rows_read: u64,
    /// How many there are, where that is known.
    pub rows_total: Option<u64>,
}

/// What sort of failure it is: what the caller maps to an SQLSTATE, and whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// An argument that makes no sense whatever the source holds.
    Config,
    /// No such file, bucket, topic.
    NotFound,
    /// The source refused.
    PermissionDenied,
    /// There, but not what was asked for: no file in the folder, a column missing or of a wrong type.
    WrongSchema,
    /// Damaged, truncated, or not the format it claims.
    Corrupt,
    /// A valid source that needs something this build lacks.
    Unsupported,
    /// The operating system or the network failed; trying again may help.
    Io,
}

/// An error of any connector, ready to show: lower case, no full stop, the value in it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceError {
    pub kind: ErrorKind,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}
