//! Where the bytes of a file are.

use super::Error;
use bytes::Bytes;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One file, of the operating system or of a bucket, read at offsets.
pub(crate) trait Object: Send + Sync {
    /// Its size, which is checked against what is asked for before anything is read.
    fn size(&self) -> u64;

    /// Exactly these bytes, which lie within the file.
    fn read(&self, start: u64, length: usize) -> Result<Bytes, Error>;

    /// At most `length` bytes from a place within the file on, at least one: fewer where more would have to
    /// be fetched beyond what is planned.
    fn read_some(&self, start: u64, length: usize) -> Result<Bytes, Error>;

    /// What will be read next, so that it can be fetched ahead: of each row group in turn the columns, side
    /// by side. Replaces what was planned before.
    fn plan(&self, groups: Vec<Vec<Range<u64>>>) {
        let _ = groups;
    }

    /// Whether the file is still the one that was listed, for those that do not know it from each read.
    fn verify(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A file of the operating system.
pub(crate) struct LocalObject {
    path: PathBuf,
    file: File,
    size: u64,
    tag: String,
}

impl LocalObject {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            Ok(Self {
                path: path.into(),
                file,
                size: metadata.len(),
                tag: tag(&metadata),
            })
        };
        open().map_err(|e| Error::io(path, &e))
    }

    /// What [`tag`] says of the open file.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }
}

/// What tells one content of a file from another: size, time of the last change in nanoseconds, inode.
pub(crate) fn tag(metadata: &Metadata) -> String {
    let nanos = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    format!("{}-{nanos}-{}", metadata.len(), metadata.ino())
}

impl Object for LocalObject {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, start: u64, length: usize) -> Result<Bytes, Error> {
        let mut buffer = room(length).map_err(|e| Error::io(&self.path, &e))?;
        buffer.resize(length, 0);
        self.file
            .read_exact_at(&mut buffer, start)
            .map_err(|e| Error::io(&self.path, &e))?;
        Ok(buffer.into())
    }

    fn read_some(&self, start: u64, length: usize) -> Result<Bytes, Error> {
        let mut buffer = room(length).map_err(|e| Error::io(&self.path, &e))?;
        buffer.resize(length, 0);
        let read = self
            .file
            .read_at(&mut buffer, start)
            .map_err(|e| Error::io(&self.path, &e))?;
        buffer.truncate(read);
        Ok(buffer.into())
    }

    fn verify(&self) -> Result<(), Error> {
        let now = self.file.metadata().map_err(|e| Error::io(&self.path, &e))?;
        if tag(&now) == self.tag {
            Ok(())
        } else {
            Err(Error::Changed {
                path: self.path.clone(),
            })
        }
    }
}

/// An empty buffer for this many bytes, or an error: to abort for want of memory would end the whole server.
pub(crate) fn room(length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(length)?;
    Ok(buffer)
}
