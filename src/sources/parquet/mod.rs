//! A local Parquet file, or a folder of them. What is read and by which rules: README.md.
#![cfg_attr(
    not(feature = "s3"),
    allow(dead_code, reason = "what only sources of type s3_parquet use")
)]

mod bytes;
mod columns;
mod config;
mod error;
mod file;
mod files;
mod kind;
mod leaf;
mod levels;
mod object;
mod pages;
mod reader;
mod rows;
mod scalars;
mod select;
mod thrift;
mod vectors;

pub use config::{Config, DEFAULT_BATCH_SIZE, MAX_BATCH_SIZE};
pub use error::Error;

#[cfg(feature = "s3")]
pub(crate) use files::{Entry, is_after, walk};
#[cfg(feature = "s3")]
pub(crate) use object::{LocalObject, Object, room, tag};
pub(crate) use reader::FileReader;
pub(crate) use rows::Room;
#[cfg(feature = "s3")]
pub(crate) use select::RowFilter;
pub(crate) use select::Selection;

use crate::time::{EpochRange, EpochUnit};
use crate::{Batch, Connector, Delivery, Progress, SourceError, Step};
use config::MAX_BATCH_BYTES;
use file::OpenFile;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What the integers of the two time columns count.
#[derive(Debug, Clone, Copy)]
struct Units {
    ts: EpochUnit,
    produced_at: EpochUnit,
}

impl Units {
    /// The units of one file, told from it alone.
    fn of_file(file: &OpenFile, config: &Config) -> Result<Self, Error> {
        let mut survey = Survey::default();
        if config.timestamp_unit.is_none() {
            survey.add(file)?;
        }
        survey.units(config, &file.path)
    }
}

/// The integers of the two time columns, of as many files as share a unit.
#[derive(Default)]
struct Survey {
    ts: EpochRange,
    produced_at: EpochRange,
}

impl Survey {
    fn add(&mut self, file: &OpenFile) -> Result<(), Error> {
        file.survey(&file.columns.ts, &mut self.ts)?;
        match &file.columns.produced_at {
            Some(column) => file.survey(column, &mut self.produced_at),
            None => Ok(()),
        }
    }

    /// `path` is what an error names.
    fn units(&self, config: &Config, path: &Path) -> Result<Units, Error> {
        let unit = |range: EpochRange, column: Option<&String>| match config.timestamp_unit {
            Some(unit) => Ok(unit),
            None => range.unit().map_err(|(low, high)| Error::AmbiguousUnit {
                path: path.into(),
                column: column.cloned().unwrap_or_default(),
                low,
                high,
            }),
        };
        Ok(Units {
            ts: unit(self.ts, Some(&config.timestamp_column))?,
            produced_at: unit(self.produced_at, config.produced_at_column.as_ref())?,
        })
    }
}

/// Reads the rows of a file or of a folder's files, in the order of the files' names and of the rows in them.
pub struct ParquetConnector {
    config: Config,
    files: Vec<PathBuf>,
    units: Units,
    /// Files opened so far.
    opened: usize,
    current: Option<FileReader>,
    rows_read: u64,
    rows_total: u64,
    spent: bool,
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
        let (mut survey, mut rows_total) = (Survey::default(), 0u64);
        for path in &files {
            guard(path, || {
                let file = OpenFile::open(path, &config)?;
                rows_total = rows_total.saturating_add(file.rows()?);
                match config.timestamp_unit {
                    Some(_) => Ok(()),
                    None => survey.add(&file).map_err(|error| file.blame(error)),
                }
            })?;
        }
        let units = survey.units(&config, &config.path)?;
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

    /// The next rows in the source's order, None at its end. A batch may hold rejects only, but is never
    /// without rows.
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
                .map(|current| current.path().display().to_string()),
            parts_done: self.opened - usize::from(self.current.is_some()),
            parts_total: Some(self.files.len()),
            rows_read: self.rows_read,
            rows_total: Some(self.rows_total),
            ..Progress::default()
        }
    }

    /// Fills the batch from as many files as it takes.
    fn fill(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let room = Room {
            rows: self.config.rows_per_batch(),
            bytes: MAX_BATCH_BYTES,
        };
        while !room.is_full(batch) {
            let Some(current) = &mut self.current else {
                let Some(path) = self.files.get(self.opened) else {
                    return Ok(());
                };
                let open = || {
                    let file = OpenFile::open(path, &self.config)?;
                    FileReader::new(file, self.units, Selection::default())
                };
                self.current = Some(guard(path, open)?);
                self.opened += 1;
                continue;
            };
            if !current.read(room, batch)? {
                self.current = None;
            }
        }
        Ok(())
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
