//! Which files a path means.

use super::Error;
#[cfg(feature = "s3")]
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

/// Folders within folders that are entered; partitioned tables have a handful.
const MAX_DEPTH: usize = 32;

/// A file of any name, or the `*.parquet` files of a folder and of the folders in it, in the order of their
/// names (bytewise, folder by folder). Names that start with `.` or `_` are skipped, as Spark and Hive do.
/// The path itself may be a symbolic link; one inside the folder is an error where it could bring data (see
/// [`Error::SymbolicLink`]).
pub(super) fn list(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let metadata = fs::metadata(path).map_err(|e| Error::io(path, &e))?;
    if metadata.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !metadata.is_dir() {
        return Err(Error::NotRegular { path: path.into() });
    }
    let mut files = Vec::new();
    walk(path, &mut |entry| {
        if let Entry::File(path, _) = entry {
            files.push(path);
        }
        Ok(true)
    })?;
    if files.is_empty() {
        return Err(Error::EmptyFolder { path: path.into() });
    }
    Ok(files)
}

/// What is met in a folder.
pub(crate) enum Entry<'a> {
    /// A folder within, which is entered if the visitor says so.
    Folder(&'a Path),
    /// A file to read, which is no symbolic link.
    File(PathBuf, Metadata),
}

/// Visits the `*.parquet` files of a folder and of the folders in it, by the rules of [`list`].
pub(crate) fn walk<E: From<Error>>(
    folder: &Path,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<bool, E>,
) -> Result<(), E> {
    walk_at(folder, 0, visit)
}

/// The order in which [`walk`] meets paths.
#[cfg(feature = "s3")]
pub(crate) fn is_after(path: &Path, other: &Path) -> bool {
    path.iter()
        .map(OsStr::as_encoded_bytes)
        .gt(other.iter().map(OsStr::as_encoded_bytes))
}

fn walk_at<E: From<Error>>(
    folder: &Path,
    depth: usize,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<bool, E>,
) -> Result<(), E> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep { path: folder.into() }.into());
    }
    for name in names(folder)? {
        if matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_')) {
            continue;
        }
        let path = folder.join(&name);
        let is_parquet = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
        let metadata = fs::symlink_metadata(&path).map_err(|e| Error::io(&path, &e))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            if visit(Entry::Folder(&path))? {
                walk_at(&path, depth + 1, visit)?;
            }
        } else if kind.is_symlink() {
            if is_parquet || fs::metadata(&path).is_ok_and(|target| target.is_dir()) {
                return Err(Error::SymbolicLink { path }.into());
            }
        } else if is_parquet && kind.is_file() {
            visit(Entry::File(path, metadata))?;
        } else if is_parquet {
            return Err(Error::NotRegular { path }.into());
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<OsString>, Error> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, &e))?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Error::io(folder, &e))?;
    names.sort_unstable();
    Ok(names)
}
