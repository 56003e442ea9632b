//! What every connector is to its caller.

use crate::Batch;
use serde_json::Value;
use std::fmt;

/// A place that embeddings are read from, pulled step by step.
///
/// The caller decides when to go on, so it can stop or wait between any two steps, and memory is bounded by what one
/// step brings. A connector is `Send`: it runs on a thread of its own, which never touches PostgreSQL, and its
/// deliveries travel to the main thread through a bounded channel. Connectors that wait for a network keep their
/// runtime to themselves. How it is opened, and with what, is [`crate::SourceConfig::open`] and [`crate::Request`].
pub trait Connector: Send {
    /// The next step, in the source's order. Returns within a second when there is nothing ([`Step::Idle`]), and soon
    /// after [`crate::Stop`] was set.
    ///
    /// # Errors
    /// What concerns the source as a whole. What is wrong with one record is among the batch's rejects instead.
    /// After an error the connector is spent: further calls give an error again.
    fn next(&mut self) -> Result<Step, SourceError>;

    /// Told, in order, of the positions whose records are durable now, for connectors that tell others (a consumer
    /// group's offsets). Nothing depends on its success.
    fn committed(&mut self, positions: &[Position]) {
        let _ = positions;
    }
}

/// One step of a connector.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are deliveries, each a batch"
)]
pub enum Step {
    Delivery(Delivery),
    /// Nothing new now, and more may come: a stream that has been read to its end.
    Idle,
    /// Everything that was asked for has been delivered.
    End,
}

/// Records and how far they bring the watermark: what the caller commits in one transaction.
#[derive(Debug, Default)]
pub struct Delivery {
    pub batch: Batch,
    /// The positions that hold once the batch is stored. May be all that a delivery has: a file without new rows.
    pub positions: Vec<Position>,
    /// Records that were read and are no concern of this source: filtered out, tombstones.
    pub skipped: u64,
    /// Bytes that the source sent for this delivery.
    pub bytes: u64,
}

/// How far one part of a source has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// The part: a file, a topic's partition, a table. At most 2000 bytes.
    pub part: String,
    /// Where reading goes on, in the connector's own terms; None forgets the part.
    pub value: Option<Value>,
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
    /// Records that were to be read next are gone for good: expired in the source. Going on would skip them.
    Gap,
    /// The operating system or the network failed; trying again may help.
    Io,
    /// The connector itself broke down, which should not happen.
    Internal,
}

impl ErrorKind {
    /// Whether the same run may succeed a moment later, without anybody changing anything.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Io)
    }
}

/// An error of any connector, ready to show: lower case, no full stop, the value in it, and never a secret.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceError {
    pub kind: ErrorKind,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl SourceError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}
