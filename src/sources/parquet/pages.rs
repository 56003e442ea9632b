//! The pages of one column chunk, each checked before it is decoded: what the crate would allocate for must
//! be bounded by what the page holds. The crate's own checks make decoding memory-safe; these keep it from
//! asking for terabytes.

use super::bytes::FileBytes;
use super::levels::RowLengths;
use ::parquet::basic::{Encoding, Type};
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::serialized_reader::SerializedPageReader;
use std::sync::Arc;

/// Most values of a page whose encoding (DELTA_*_BYTE_ARRAY) lists all lengths before the first value.
const MAX_DELTA_VALUES: u32 = 1 << 24;

pub(super) struct Pages {
    inner: SerializedPageReader<FileBytes>,
    physical: Type,
    type_length: usize,
    max_def: i16,
    row_lengths: Option<RowLengths>,
}

impl Pages {
    pub(super) fn new(file: Arc<FileBytes>, chunk: &ColumnChunkMetaData, rows: usize) -> Result<Self> {
        let column = chunk.column_descr();
        Ok(Self {
            inner: SerializedPageReader::new(file, chunk, rows, None)?,
            physical: column.physical_type(),
            type_length: usize::try_from(column.type_length()).unwrap_or(0),
            max_def: column.max_def_level(),
            row_lengths: (column.max_rep_level() > 0).then(RowLengths::default),
        })
    }

    fn check(&mut self, page: &Page) -> Result<()> {
        match page {
            Page::DictionaryPage { buf, num_values, .. } => {
                let width = match self.physical {
                    Type::INT64 | Type::DOUBLE => 8,
                    Type::INT96 => 12,
                    Type::FIXED_LEN_BYTE_ARRAY => self.type_length.max(1),
                    _ => 4,
                };
                if *num_values as usize > buf.len() / width {
                    return Err(damaged("a dictionary page declares more values than it holds"));
                }
            }
            Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                ..
            } => {
                let mut rest = buf.as_ref();
                if self.row_lengths.is_some() {
                    let levels;
                    (levels, rest) = split_levels(rest, *rep_level_encoding)?;
                    self.check_rows(levels, *num_values)?;
                }
                if self.max_def > 0 {
                    (_, rest) = split_levels(rest, *def_level_encoding)?;
                }
                check_delta(*encoding, rest, *num_values)?;
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let (reps, defs) = (*rep_levels_byte_len as usize, *def_levels_byte_len as usize);
                if reps + defs > buf.len() {
                    return Err(damaged("a page's levels are longer than the page"));
                }
                if self.row_lengths.is_some() {
                    self.check_rows(&buf[..reps], *num_values)?;
                }
                check_delta(*encoding, &buf[reps + defs..], *num_values)?;
            }
        }
        Ok(())
    }

    /// Passes over data pages without values, which pyarrow writes: the crate takes one for the column's end.
    fn skip_empty(&mut self) -> Result<()> {
        while let Some(next) = self.inner.peek_next_page()?
            && !next.is_dict
            && next.num_levels == Some(0)
        {
            self.inner.skip_next_page()?;
        }
        Ok(())
    }

    fn check_rows(&mut self, levels: &[u8], values: u32) -> Result<()> {
        self.row_lengths
            .as_mut()
            .map_or(Ok(()), |lengths| lengths.add_page(levels, values))
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.skip_empty()?;
        let page = self.inner.get_next_page()?;
        if let Some(page) = &page {
            self.check(page)?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.skip_empty()?;
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.skip_empty()?;
        self.inner.at_record_boundary()
    }
}

fn damaged(message: &str) -> ParquetError {
    ParquetError::General(message.into())
}

/// The levels of a version 1 page, which stand behind their length in four bytes, and what follows them.
fn split_levels(page: &[u8], encoding: Encoding) -> Result<(&[u8], &[u8])> {
    if encoding != Encoding::RLE {
        return Err(ParquetError::NYI(
            "levels encoded as BIT_PACKED, deprecated since 2014".into(),
        ));
    }
    let split = || {
        let (length, rest) = page.split_first_chunk::<4>()?;
        rest.split_at_checked(u32::from_le_bytes(*length) as usize)
    };
    split().ok_or_else(|| damaged("a page's levels are longer than the page"))
}

/// The delta encodings of strings announce how many lengths follow, and room for them is made at once: the
/// announced number must be no more than the page's values. DELTA_BYTE_ARRAY announces prefixes first, then
/// suffixes.
fn check_delta(encoding: Encoding, values: &[u8], num_values: u32) -> Result<()> {
    let streams = match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        Encoding::DELTA_BYTE_ARRAY => 2,
        _ => return Ok(()),
    };
    if num_values > MAX_DELTA_VALUES {
        return Err(damaged(
            "a page of delta-encoded texts declares more than 16 million values",
        ));
    }
    let mut rest = values;
    for stream in 0..streams {
        rest = delta_stream(rest, num_values, stream + 1 == streams)
            .ok_or_else(|| damaged("a page of delta-encoded texts declares more values than it holds"))?;
    }
    Ok(())
}

/// Checks the count of one DELTA_BINARY_PACKED stream and, unless it is the last to look at, finds its end.
fn delta_stream(bytes: &[u8], num_values: u32, last: bool) -> Option<&[u8]> {
    let mut rest = bytes;
    let block_size = varint(&mut rest)?;
    let miniblocks = varint(&mut rest)?;
    let count = varint(&mut rest)?;
    varint(&mut rest)?;
    if count > u64::from(num_values) || miniblocks == 0 || block_size > 1 << 20 {
        return None;
    }
    if last {
        return Some(rest);
    }
    let per_miniblock = block_size / miniblocks;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        varint(&mut rest)?;
        let (widths, packed) = rest.split_at_checked(usize::try_from(miniblocks).ok()?)?;
        rest = packed;
        for &width in widths {
            if left == 0 {
                break;
            }
            let bytes = u64::from(width) * per_miniblock / 8;
            rest = rest.split_at_checked(usize::try_from(bytes).ok()?)?.1;
            left = left.saturating_sub(per_miniblock.max(1));
        }
    }
    Some(rest)
}

pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
