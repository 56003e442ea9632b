//! A local Parquet file, or a folder of them. What is read and by which rules: README.md.

mod bytes;
mod columns;
mod config;
mod error;
mod file;
mod files;
mod kind;
mod leaf;
mod levels;
mod pages;
mod rows;
mod scalars;
mod thrift;
mod vectors;

pub use config::{Config, DEFAULT_BATCH_SIZE, MAX_BATCH_SIZE};
pub use error::Error;

use crate::time::{EpochRange, EpochUnit};
use crate::{Batch, Connector, Delivery, Progress, SourceError, Step};
use config::MAX_BATCH_BYTES;
use file::OpenFile;
use rows::Rows;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What the integers of the two time columns count.
#[derive(Debug, Clone, Copy)]
struct Units {
    ts: EpochUnit,
    produced_at: EpochUnit,
}

/// Reads the rows of a file or of a folder's files, in the order of the files' names and of the rows in them.
pub struct ParquetConnector {
    config: Config,
    files: Vec<PathBuf>,
    units: Units,
    /// Files opened so far.
    opened: usize,
    current: Option<Current>,
    rows_read: u64,
    rows_total: u64,
    spent: bool,
}

struct Current {
    file: OpenFile,
    rows: Option<Rows>,
    next_group: usize,
    next_row: u64,
}

impl ParquetConnector {
    /// Lists the files and looks at the footer of each: a missing file or column, a column of a wrong type
    /// and a damaged footer are found here, before the first row is read. No row is read, except integer
    /// timestamps that come without statistics, when their unit is to be told. In a folder of thousands of
    /// files this takes a while.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(config: Config) -> Result<Self, Error> {
        config.check()?;
        let files = files::list(&config.path)?;
        let (mut ts, mut produced_at, mut rows_total) = (EpochRange::default(), EpochRange::default(), 0u64);
        for path in &files {
            guard(path, || {
                let file = OpenFile::open(path, &config)?;
                rows_total = rows_total.saturating_add(file.rows()?);
                if config.timestamp_unit.is_none() {
                    file.survey(&file.columns.ts, &mut ts)?;
                    file.columns
                        .produced_at
                        .iter()
                        .try_for_each(|column| file.survey(column, &mut produced_at))?;
                }
                Ok(())
            })?;
        }
        let unit = |range: EpochRange, column: Option<&String>| match config.timestamp_unit {
            Some(unit) => Ok(unit),
            None => range.unit().map_err(|(low, high)| {
                let column = column.cloned().unwrap_or_default();
                Error::AmbiguousUnit {
                    path: config.path.clone(),
                    column,
                    low,
                    high,
                }
            }),
        };
        let units = Units {
            ts: unit(ts, Some(&config.timestamp_column))?,
            produced_at: unit(produced_at, config.produced_at_column.as_ref())?,
        };
        Ok(Self {
            config,
            files,
            units,
            opened: 0,
            current: None,
            rows_read: 0,
            rows_total,
            spent: false,
        })
    }

    /// The files that are read, in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The next rows in the source's order, None at its end. A batch may hold rejects only, but is never without rows.
    ///
    /// # Errors
    /// See [`Error`]; after one the connector is spent.
    pub fn read_batch(&mut self) -> Result<Option<Batch>, Error> {
        if self.spent {
            return Err(Error::Spent {
                path: self.config.path.clone(),
            });
        }
        let config = &self.config;
        let mut batch = Batch::new(config.dims, config.rows_per_batch(), config.registered.as_ref());
        let result = self.fill(&mut batch);
        self.spent = result.is_err();
        result?;
        self.rows_read += batch.rows_read() as u64;
        Ok((batch.rows_read() > 0).then_some(batch))
    }

    /// How far reading has come.
    pub fn progress(&self) -> Progress {
        Progress {
            phase: "reading rows",
            current: self
                .current
                .as_ref()
                .map(|current| current.file.path.display().to_string()),
            parts_done: self.opened - usize::from(self.current.is_some()),
            parts_total: Some(self.files.len()),
            rows_read: self.rows_read,
            rows_total: Some(self.rows_total),
            ..Progress::default()
        }
    }

    /// Fills the batch from as many files as it takes.
    fn fill(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let rows = self.config.rows_per_batch();
        while batch.rows_read() < rows && batch.bytes() < MAX_BATCH_BYTES {
            if self.current.is_none() {
                let Some(path) = self.files.get(self.opened) else {
                    return Ok(());
                };
                let file = guard(path, || OpenFile::open(path, &self.config))?;
                self.current = Some(Current {
                    file,
                    rows: None,
                    next_group: 0,
                    next_row: 0,
                });
                self.opened += 1;
            }
            if let Some(current) = &mut self.current {
                let path = current.file.path.clone();
                let more = guard(&path, || current.read(self.units, rows, batch))?;
                if !more {
                    self.current = None;
                }
            }
        }
        Ok(())
    }
}

impl Current {
    /// Reads rows of one row group until the batch has `limit`. Returns whether the file goes on.
    fn read(&mut self, units: Units, limit: usize, batch: &mut Batch) -> Result<bool, Error> {
        if self.rows.as_ref().is_none_or(Rows::is_done) {
            if self.next_group == self.file.groups() {
                return Ok(false);
            }
            self.rows = Some(Rows::open(&self.file, self.next_group, units)?);
            self.next_group += 1;
        }
        if let Some(rows) = &mut self.rows {
            self.next_row += rows.read(&self.file, self.next_row, limit, batch)? as u64;
        }
        Ok(true)
    }
}

impl Connector for ParquetConnector {
    fn next(&mut self) -> Result<Step, SourceError> {
        let batch = self.read_batch()?;
        Ok(batch.map_or(Step::End, |batch| {
            Step::Delivery(Delivery {
                batch,
                ..Delivery::default()
            })
        }))
    }
}

/// Runs what decodes a file. The parquet crate panics on some damaged input (an index out of range, an
/// assertion): that is an error of the file, and what was half decoded is dropped with the connector's
/// current file.
fn guard<T>(path: &Path, decode: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| Err(Error::corrupt(path, reason(&*panic))))
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    format!(
        "decoding failed: {}",
        crate::payload::cut(text.unwrap_or("no reason given"), 200)
    )
}
