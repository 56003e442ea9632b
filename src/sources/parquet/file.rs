//! One open file: footer read and checked, columns found.

use super::bytes::FileBytes;
use super::columns::{Columns, ScalarColumn};
use super::kind::Scalar;
use super::leaf::Leaf;
use super::object::{LocalObject, Object};
use super::pages::Pages;
use super::scalars::integer_i64;
use super::{Config, Error, thrift};
use crate::time::EpochRange;
use ::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::reader::{ChunkReader, Length};
use ::parquet::file::statistics::Statistics;
use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8] = b"PAR1";
const ENCRYPTED_MAGIC: &[u8] = b"PARE";
/// Magic at both ends and the footer's length before the last.
const MIN_FILE_BYTES: u64 = 12;
/// Rows read at a time where only integers are looked through.
const SCAN_ROWS: usize = 1 << 16;

pub(super) struct OpenFile {
    /// What errors call the file.
    pub path: PathBuf,
    /// What the positions of its rows start with.
    pub label: String,
    pub columns: Columns,
    bytes: Arc<FileBytes>,
    metadata: ParquetMetaData,
    planned_bytes: Cell<u64>,
}

impl OpenFile {
    /// A file of the operating system.
    pub(super) fn open(path: &Path, config: &Config) -> Result<Self, Error> {
        let object = LocalObject::open(path)?;
        let label = path.display().to_string();
        Self::new(path.into(), label, Arc::new(object), config)
    }

    pub(super) fn new(
        path: PathBuf,
        label: String,
        object: Arc<dyn Object>,
        config: &Config,
    ) -> Result<Self, Error> {
        let bytes = FileBytes::new(object);
        let metadata = read_footer(&path, &bytes).map_err(|error| bytes.blame(error))?;
        let columns = Columns::resolve(metadata.file_metadata().schema_descr(), config, &path)?;
        Ok(Self {
            path,
            label,
            columns,
            bytes: Arc::new(bytes),
            metadata,
            planned_bytes: Cell::new(0),
        })
    }

    /// What was behind an error about this file.
    pub(super) fn blame(&self, error: Error) -> Error {
        self.bytes.blame(error)
    }

    pub(super) fn verify(&self) -> Result<(), Error> {
        self.bytes.verify()
    }

    /// Announces that these row groups will be read, in this order.
    pub(super) fn plan(&self, groups: impl Iterator<Item = usize>) -> Result<(), Error> {
        let mut planned = Vec::new();
        for group in groups {
            let ranges = self
                .columns
                .leaves()
                .map(|leaf| Ok(self.range(self.chunk(group, leaf)?)));
            planned.push(ranges.collect::<Result<Vec<_>, Error>>()?);
        }
        let lengths = planned.iter().flatten().map(|range| range.end - range.start);
        let bytes = lengths.fold(0u64, u64::saturating_add);
        self.planned_bytes.set(bytes);
        self.bytes.plan(planned);
        Ok(())
    }

    pub(super) fn planned_bytes(&self) -> u64 {
        self.planned_bytes.get()
    }

    pub(super) fn statistics(&self, group: usize, leaf: usize) -> Option<&Statistics> {
        self.metadata.row_group(group).columns().get(leaf)?.statistics()
    }

    /// Where a chunk that [`Self::chunk`] has checked stands.
    fn range(&self, chunk: &ColumnChunkMetaData) -> Range<u64> {
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset()) as u64;
        start..start + chunk.compressed_size() as u64
    }

    pub(super) fn groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// Rows of a row group, as its metadata says.
    pub(super) fn group_rows(&self, group: usize) -> Result<usize, Error> {
        usize::try_from(self.metadata.row_group(group).num_rows())
            .map_err(|_| Error::corrupt(&self.path, "a row group has a negative number of rows"))
    }

    /// Rows of all row groups.
    pub(super) fn rows(&self) -> Result<u64, Error> {
        (0..self.groups()).try_fold(0u64, |sum, group| {
            Ok(sum.saturating_add(self.group_rows(group)? as u64))
        })
    }

    /// A column of a row group, ready to be read from its start.
    pub(super) fn leaf(&self, group: usize, leaf: usize) -> Result<Leaf, Error> {
        let rows = self.group_rows(group)?;
        let chunk = self.chunk(group, leaf)?;
        let pages =
            Pages::new(Arc::clone(&self.bytes), chunk, rows).map_err(|e| Error::format(&self.path, e))?;
        Ok(Leaf::new(chunk.column_descr_ptr(), pages))
    }

    fn chunk(&self, group: usize, leaf: usize) -> Result<&ColumnChunkMetaData, Error> {
        let chunk = self.metadata.row_group(group).columns().get(leaf);
        let chunk =
            chunk.ok_or_else(|| Error::corrupt(&self.path, "a row group lacks columns of the schema"))?;
        if chunk.file_path().is_some() {
            let error = "its columns stand in other files".into();
            return Err(Error::Unsupported {
                path: self.path.clone(),
                error,
            });
        }
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let within = start >= 0
            && chunk.compressed_size() >= 0
            && start
                .checked_add(chunk.compressed_size())
                .is_some_and(|end| end as u64 <= self.bytes.len());
        if !within {
            return Err(Error::corrupt(&self.path, "a column lies outside of the file"));
        }
        Ok(chunk)
    }

    /// Adds a bare integer column's values to the range from which their unit is told: from the statistics of
    /// each row group, or from the values where it has none. Other columns say their unit themselves.
    pub(super) fn survey(&self, column: &ScalarColumn, range: &mut EpochRange) -> Result<(), Error> {
        if !matches!(column.kind, Scalar::Signed | Scalar::Unsigned) {
            return Ok(());
        }
        for group in 0..self.groups() {
            if self.group_rows(group)? == 0 {
                continue;
            }
            match bounds(self.chunk(group, column.leaf)?, column.kind) {
                Some((low, high)) => {
                    range.add(low);
                    range.add(high);
                }
                None => self.scan(group, column, range)?,
            }
        }
        Ok(())
    }

    fn scan(&self, group: usize, column: &ScalarColumn, range: &mut EpochRange) -> Result<(), Error> {
        self.bytes
            .plan(vec![vec![self.range(self.chunk(group, column.leaf)?)]]);
        let mut leaf = self.leaf(group, column.leaf)?;
        loop {
            let rows = leaf.read(SCAN_ROWS).map_err(|e| Error::format(&self.path, e))?;
            if rows == 0 {
                return Ok(());
            }
            leaf.indexes(rows)
                .flatten()
                .for_each(|index| range.add(integer_i64(&leaf, column.kind, index)));
        }
    }
}

/// The least and the greatest value of a chunk, where its statistics tell.
fn bounds(chunk: &ColumnChunkMetaData, kind: Scalar) -> Option<(i64, i64)> {
    match chunk.statistics()? {
        // Statistics of unsigned columns are ordered otherwise by old writers, and cut at 2^63 they would
        // mislead.
        _ if kind == Scalar::Unsigned => None,
        Statistics::Int32(s) => Some(((*s.min_opt()?).into(), (*s.max_opt()?).into())),
        Statistics::Int64(s) => Some((*s.min_opt()?, *s.max_opt()?)),
        _ => None,
    }
}

fn read_footer(path: &Path, bytes: &FileBytes) -> Result<ParquetMetaData, Error> {
    let size = bytes.len();
    let read = |start, length| bytes.get_bytes(start, length).map_err(|e| Error::format(path, e));
    let not_parquet = || Error::NotParquet {
        path: path.into(),
        size,
    };
    if size < MIN_FILE_BYTES {
        return Err(not_parquet());
    }
    let tail = read(size - 8, 8)?;
    // The start is looked at only where the end is wrong: in a bucket it is a request of its own.
    if &tail[4..] != MAGIC {
        let head = read(0, 4)?;
        if head == ENCRYPTED_MAGIC || &tail[4..] == ENCRYPTED_MAGIC {
            return Err(Error::Unsupported {
                path: path.into(),
                error: "its footer is encrypted".into(),
            });
        }
        if head != MAGIC {
            return Err(not_parquet());
        }
    }
    if &tail[4..] != MAGIC {
        return Err(Error::corrupt(
            path,
            "it starts as a Parquet file and does not end as one: it is cut off",
        ));
    }
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if length + MIN_FILE_BYTES > size {
        return Err(Error::corrupt(
            path,
            format!("its footer claims {length} of its {size} bytes"),
        ));
    }
    let footer = read(size - 8 - length, length as usize)?;
    thrift::check_schema(&footer).map_err(|error| Error::corrupt(path, error))?;
    ParquetMetaDataReader::decode_metadata(&footer).map_err(|e| Error::format(path, e))
}
