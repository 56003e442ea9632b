//! A file's bytes for the parquet crate, read at offsets (no shared cursor) and never past what the file
//! holds.

use super::object::Object;
use super::{Error, thrift};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::{Buf, Bytes};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Largest page, compressed or not, that is read. Writers make pages of 1 MB, some of up to 100 MB; the
/// format allows 2 GB, which a damaged header can claim.
pub(super) const MAX_PAGE_BYTES: i64 = 512 << 20;

/// The column chunks of an open file.
pub(super) struct FileBytes {
    shared: Arc<Shared>,
}

struct Shared {
    object: Arc<dyn Object>,
    /// Why the first read that failed did: the parquet crate passes on a text at most, from which a network
    /// that is down and a file that is damaged cannot be told.
    failure: Mutex<Option<Error>>,
}

impl Shared {
    fn keep(&self, result: std::result::Result<Bytes, Error>) -> io::Result<Bytes> {
        result.map_err(|error| {
            let text = error.to_string();
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
            io::Error::other(text)
        })
    }
}

impl FileBytes {
    pub(super) fn new(object: Arc<dyn Object>) -> Self {
        Self {
            shared: Arc::new(Shared {
                object,
                failure: Mutex::new(None),
            }),
        }
    }

    /// What was behind an error: the read that failed, or else the error itself.
    pub(super) fn blame(&self, error: Error) -> Error {
        let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take().unwrap_or(error)
    }

    pub(super) fn plan(&self, groups: Vec<Vec<Range<u64>>>) {
        self.shared.object.plan(groups);
    }

    pub(super) fn verify(&self) -> std::result::Result<(), Error> {
        self.shared.object.verify()
    }
}

impl Length for FileBytes {
    fn len(&self) -> u64 {
        self.shared.object.size()
    }
}

impl ChunkReader for FileBytes {
    type T = PageHeader;

    fn get_read(&self, start: u64) -> Result<PageHeader> {
        // Headers take some 30 bytes, or a few hundred with statistics: a small buffer reads less of the page
        // twice.
        let tail = Tail {
            shared: Arc::clone(&self.shared),
            at: start,
        };
        Ok(PageHeader {
            reader: BufReader::with_capacity(512, tail),
            checked: false,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let size = self.len();
        if start.checked_add(length as u64).is_none_or(|end| end > size) {
            let error = format!("{length} bytes from byte {start} on were expected, the file has {size}");
            return Err(ParquetError::EOF(error));
        }
        if length as u64 > MAX_PAGE_BYTES as u64 {
            let error = format!("{length} bytes in one piece, more than 512 MB");
            return Err(ParquetError::General(error));
        }
        if length == 0 {
            return Ok(Bytes::new());
        }
        Ok(self.shared.keep(self.shared.object.read(start, length))?)
    }
}

/// A file from an offset on.
pub(super) struct Tail {
    shared: Arc<Shared>,
    at: u64,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.shared.object.size().saturating_sub(self.at);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(0);
        }
        let mut bytes = self.shared.keep(self.shared.object.read_some(self.at, length))?;
        let read = bytes.len().min(length);
        bytes.copy_to_slice(&mut buffer[..read]);
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
