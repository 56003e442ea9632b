//! A file's bytes for the parquet crate, read at offsets (no shared cursor) and never past what the file
//! holds.

use super::thrift;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Largest page, uncompressed, that is read. Writers make pages of 1 MB, some of up to 100 MB; the format
/// allows 2 GB, which a damaged header can claim.
pub(super) const MAX_PAGE_BYTES: i64 = 512 << 20;

/// The column chunks of an open file.
pub(super) struct FileBytes {
    file: Arc<File>,
    len: u64,
}

impl FileBytes {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            len,
        })
    }
}

impl Length for FileBytes {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for FileBytes {
    type T = PageHeader;

    fn get_read(&self, start: u64) -> Result<PageHeader> {
        // Headers take some 30 bytes, or a few hundred with statistics: a small buffer reads less of the page
        // twice.
        let tail = Tail {
            file: Arc::clone(&self.file),
            at: start,
        };
        Ok(PageHeader {
            reader: BufReader::with_capacity(512, tail),
            checked: false,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            let error = format!(
                "{length} bytes from byte {start} on were expected, the file has {}",
                self.len
            );
            return Err(ParquetError::EOF(error));
        }
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// A file from an offset on.
pub(super) struct Tail {
    file: Arc<File>,
    at: u64,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A page header about to be parsed, which is the only thing the crate reads as a stream. The size it
/// declares is checked before its first byte is handed out, since the crate allocates that much.
pub(super) struct PageHeader {
    reader: BufReader<Tail>,
    checked: bool,
}

impl Read for PageHeader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.checked {
            let size = thrift::uncompressed_page_size(self.reader.fill_buf()?);
            if !size.is_some_and(|size| (0..=MAX_PAGE_BYTES).contains(&size)) {
                let size = size.map_or("no size".into(), |size| format!("a size of {size} bytes"));
                return Err(io::Error::other(format!(
                    "a page header declares {size}, outside 0 to 512 MB"
                )));
            }
            self.checked = true;
        }
        self.reader.read(buffer)
    }
}
