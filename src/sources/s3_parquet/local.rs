//! A folder of the server, or a single file.

use super::partitions::Partitions;
use super::store::{Listed, Store, Visit, is_wanted};
use crate::parquet::{Entry, Error, LocalObject, Object, RowFilter, is_after, tag, walk};
use crate::{ErrorKind, SourceError, Stop};
use bytes::Bytes;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) struct LocalStore {
    folder: PathBuf,
    pruning: Option<(Partitions, Arc<RowFilter>)>,
    fetched: Arc<AtomicU64>,
    stop: Stop,
}

impl LocalStore {
    /// `pruning` is there when both a form of folders and a time filter are.
    pub(super) fn new(folder: PathBuf, pruning: Option<(Partitions, Arc<RowFilter>)>, stop: Stop) -> Self {
        Self {
            folder,
            pruning,
            fetched: Arc::default(),
            stop,
        }
    }

    /// The path below the folder, as positions have it.
    fn key(&self, path: &Path) -> Result<String, SourceError> {
        let relative = path.strip_prefix(&self.folder).unwrap_or(path);
        relative.to_str().map(String::from).ok_or_else(|| {
            SourceError::new(
                ErrorKind::WrongSchema,
                format!("the name of file \"{}\" is not UTF-8", path.display()),
            )
            .hint("Rename the file.")
        })
    }

    /// Whether a folder may hold wanted times.
    fn enters(&self, folder: &Path) -> Result<bool, SourceError> {
        let Some((partitions, filter)) = &self.pruning else {
            return Ok(true);
        };
        partitions.may_hold(&self.key(folder)?, filter, folder)
    }

    fn listed(&self, path: &Path, metadata: &fs::Metadata) -> Result<Listed, SourceError> {
        Ok(Listed {
            key: self.key(path)?,
            size: metadata.len(),
            etag: tag(metadata),
        })
    }
}

impl Store for LocalStore {
    fn list(&mut self, after: Option<&str>, visit: Visit<'_>) -> Result<ControlFlow<()>, SourceError> {
        let metadata = fs::metadata(&self.folder).map_err(|e| Error::io(&self.folder, &e))?;
        if metadata.is_file() {
            let file = Listed {
                key: file_name(&self.folder),
                size: metadata.len(),
                etag: tag(&metadata),
            };
            return match after {
                Some(_) => Ok(ControlFlow::Continue(())),
                None => visit(file),
            };
        }
        if !metadata.is_dir() {
            return Err(Error::NotRegular {
                path: self.folder.clone(),
            }
            .into());
        }
        let after = after.map(|key| self.folder.join(key));
        let mut flow = ControlFlow::Continue(());
        let walked = walk(&self.folder, &mut |entry| {
            if self.stop.is_set() {
                return Err(stopped());
            }
            match entry {
                Entry::Folder(path) => self.enters(path),
                Entry::File(path, metadata) => {
                    if let Some((partitions, _)) = &self.pruning {
                        partitions.check_depth(&self.key(&path)?, &path)?;
                    }
                    if after.as_ref().is_none_or(|after| is_after(&path, after)) {
                        flow = visit(self.listed(&path, &metadata)?)?;
                    }
                    match flow {
                        ControlFlow::Continue(()) => Ok(true),
                        // The only way out of the walk.
                        ControlFlow::Break(()) => Err(stopped()),
                    }
                }
            }
        });
        match walked {
            Err(_) if flow.is_break() => Ok(flow),
            walked => walked.map(|()| flow),
        }
    }

    fn find(&mut self, key: &str) -> Result<Option<Listed>, SourceError> {
        let found = |path: &Path| match fs::symlink_metadata(path).map_err(|e| Error::io(path, &e)) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(SourceError::from(error)),
        };
        if fs::metadata(&self.folder).is_ok_and(|metadata| metadata.is_file()) {
            if key != file_name(&self.folder) {
                return Ok(None);
            }
            let metadata = fs::metadata(&self.folder).map_err(|e| Error::io(&self.folder, &e))?;
            return Ok(Some(Listed {
                key: key.into(),
                size: metadata.len(),
                etag: tag(&metadata),
            }));
        }
        // A position is read from a table: it must not lead anywhere that a listing would not.
        if !is_wanted(key) {
            return Ok(None);
        }
        let mut path = self.folder.clone();
        let mut names = key.split('/').peekable();
        while let Some(name) = names.next() {
            path.push(name);
            let Some(metadata) = found(&path)? else {
                return Ok(None);
            };
            if names.peek().is_none() && metadata.is_file() {
                return self.listed(&path, &metadata).map(Some);
            }
            if !metadata.is_dir() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn open(&mut self, file: &Listed) -> Result<Arc<dyn Object>, Error> {
        let path = self.name(&file.key);
        let object = LocalObject::open(&path)?;
        if object.tag() != file.etag {
            return Err(Error::Changed { path });
        }
        Ok(Arc::new(Counted {
            object,
            fetched: Arc::clone(&self.fetched),
        }))
    }

    fn name(&self, key: &str) -> PathBuf {
        if file_name(&self.folder) == key && self.folder.is_file() {
            return self.folder.clone();
        }
        self.folder.join(key)
    }

    fn take_fetched(&mut self) -> u64 {
        self.fetched.swap(0, Ordering::Relaxed)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Why a listing ended early; nobody is told.
pub(super) fn stopped() -> SourceError {
    SourceError::new(ErrorKind::Io, "stopped")
}

/// A file of which the bytes read are counted.
struct Counted {
    object: LocalObject,
    fetched: Arc<AtomicU64>,
}

impl Object for Counted {
    fn size(&self) -> u64 {
        self.object.size()
    }

    fn read(&self, start: u64, length: usize) -> Result<Bytes, Error> {
        let bytes = self.object.read(start, length)?;
        self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    fn read_some(&self, start: u64, length: usize) -> Result<Bytes, Error> {
        self.object.read_some(start, length)
    }

    fn verify(&self) -> Result<(), Error> {
        self.object.verify()
    }
}
