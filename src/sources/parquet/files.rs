//! Which files a path means.

use super::Error;
use std::fs;
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
    walk(path, 0, &mut files)?;
    if files.is_empty() {
        return Err(Error::EmptyFolder { path: path.into() });
    }
    Ok(files)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep { path: folder.into() });
    }
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, &e))?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Error::io(folder, &e))?;
    names.sort_unstable();
    for name in names {
        if matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_')) {
            continue;
        }
        let path = folder.join(&name);
        let is_parquet = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
        let kind = fs::symlink_metadata(&path)
            .map_err(|e| Error::io(&path, &e))?
            .file_type();
        if kind.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if kind.is_symlink() {
            if is_parquet || fs::metadata(&path).is_ok_and(|target| target.is_dir()) {
                return Err(Error::SymbolicLink { path });
            }
        } else if is_parquet && kind.is_file() {
            files.push(path);
        } else if is_parquet {
            return Err(Error::NotRegular { path });
        }
    }
    Ok(())
}
