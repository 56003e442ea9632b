//! What to read, and how.

use super::Error;
use crate::time::EpochUnit;
use crate::{MAX_DIMS, Registered};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows a batch when the caller does not say.
pub const DEFAULT_BATCH_SIZE: usize = 1000;
/// Most rows a batch.
pub const MAX_BATCH_SIZE: usize = 100_000;
/// A batch takes at most about this many bytes, whatever its size in rows.
pub(super) const MAX_BATCH_BYTES: usize = 64 << 20;

/// A file or folder and the names of its columns. Names are matched exactly, at the top level of the schema.
#[derive(Debug, Clone)]
pub struct Config {
    /// A file of any name, or a folder whose `*.parquet` files are read.
    pub path: PathBuf,
    /// Dimensions of the space: rows with another length are rejected.
    pub dims: usize,
    /// The model of the space: rows that name another are rejected. None takes them all.
    pub registered: Option<Arc<Registered>>,
    pub entity_id_column: String,
    pub timestamp_column: String,
    pub vector_column: String,
    pub model_version_column: Option<String>,
    pub model_hash_column: Option<String>,
    pub input_hash_column: Option<String>,
    pub pipeline_hash_column: Option<String>,
    pub produced_at_column: Option<String>,
    /// A text column that holds JSON. Not together with `attrs_columns`.
    pub attrs_column: Option<String>,
    /// Scalar columns to pack into one JSON object, under their own names.
    pub attrs_columns: Vec<String>,
    /// What integer timestamps count; None decides by the stated rule (README).
    pub timestamp_unit: Option<EpochUnit>,
    /// Other names that a column goes by in some files.
    pub column_aliases: BTreeMap<String, Vec<String>>,
    /// Whether a file without a provenance column is read, with NULL in its place.
    pub optional_columns_may_lack: bool,
    /// Rows a batch, 1 to [`MAX_BATCH_SIZE`]. Wide vectors make it smaller: a batch's vectors take at most 64
    /// MB.
    pub batch_size: usize,
}

impl Config {
    /// The three columns that every record needs, no provenance, default batch size.
    pub fn new(
        path: impl Into<PathBuf>,
        dims: usize,
        entity_id: &str,
        timestamp: &str,
        vector: &str,
    ) -> Self {
        Self {
            path: path.into(),
            dims,
            registered: None,
            entity_id_column: entity_id.into(),
            timestamp_column: timestamp.into(),
            vector_column: vector.into(),
            model_version_column: None,
            model_hash_column: None,
            input_hash_column: None,
            pipeline_hash_column: None,
            produced_at_column: None,
            attrs_column: None,
            attrs_columns: Vec::new(),
            timestamp_unit: None,
            column_aliases: BTreeMap::new(),
            optional_columns_may_lack: false,
            batch_size: DEFAULT_BATCH_SIZE,
        }
    }

    /// Checks what can be checked without looking at a file.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_DIMS).contains(&self.dims) {
            return Err(Error::Config {
                message: format!("a space cannot have {} dimensions", self.dims),
                hint: format!("Use 1 to {MAX_DIMS} dimensions."),
            });
        }
        if !(1..=MAX_BATCH_SIZE).contains(&self.batch_size) {
            return Err(Error::Config {
                message: format!("batch size {} is out of range", self.batch_size),
                hint: format!("Use a batch size of 1 to {MAX_BATCH_SIZE} rows."),
            });
        }
        if self.attrs_column.is_some() && !self.attrs_columns.is_empty() {
            return Err(Error::Config {
                message: "both a JSON column and columns to pack are given for attrs".into(),
                hint: "Give one of the two.".into(),
            });
        }
        Ok(())
    }

    /// Rows to read at a time, so that the batch stays within its bounds.
    pub(super) fn rows_per_batch(&self) -> usize {
        self.batch_size
            .min(MAX_BATCH_BYTES / (self.dims * size_of::<f32>()))
            .max(1)
    }
}
