//! A bucket: listing, and objects read by ranges.

mod client;
mod failure;
mod object;
mod pieces;
mod remote;

use super::Config;
use super::partitions::Partitions;
use super::store::{Listed, Store, Visit, is_skipped, is_wanted};
use crate::parquet::{Error, Object, RowFilter};
use crate::{ErrorKind, Request, SourceError};
use client::Patience;
use failure::Place;
use object::S3Object;
use remote::Remote;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) struct BucketStore {
    remote: Arc<Remote>,
    /// Empty, or ends with `/`, or is the key of a file.
    prefix: String,
    pruning: Option<(Partitions, Arc<RowFilter>)>,
    fetched: Arc<AtomicU64>,
    /// Bytes that a file's pieces may take.
    budget: usize,
}

/// What one page of a listing brings.
struct Page {
    folders: Vec<String>,
    files: Vec<Listed>,
    next: Option<String>,
}

impl BucketStore {
    /// Prepares the client; asks nothing of the server yet, except that the default chain may look for
    /// credentials.
    pub(super) fn open(
        config: &Config,
        bucket: String,
        prefix: String,
        pruning: Option<(Partitions, Arc<RowFilter>)>,
        request: &Request,
    ) -> Result<Self, SourceError> {
        let prefix = match prefix.is_empty() || prefix.ends_with('/') || is_file(&prefix) {
            true => prefix,
            false => prefix + "/",
        };
        let remote = Remote::start(config, bucket, request, Patience::default())?;
        Ok(Self::at(remote, prefix, pruning, request))
    }

    fn at(
        remote: Remote,
        prefix: String,
        pruning: Option<(Partitions, Arc<RowFilter>)>,
        request: &Request,
    ) -> Self {
        Self {
            remote: Arc::new(remote),
            prefix,
            pruning,
            fetched: Arc::default(),
            budget: request.limits.bytes.saturating_mul(2),
        }
    }

    /// What of a key is looked at to choose files: what stands below the prefix.
    fn below<'a>(&self, key: &'a str) -> &'a str {
        match key.strip_prefix(self.prefix.as_str()) {
            // The prefix is the file itself.
            Some("") => key.rsplit('/').next().unwrap_or(key),
            Some(rest) => rest.trim_start_matches('/'),
            None => "",
        }
    }

    fn is_chosen(&self, key: &str) -> bool {
        let of_prefix =
            !is_file(&self.prefix) || key == self.prefix || key[self.prefix.len()..].starts_with('/');
        of_prefix && is_wanted(self.below(key))
    }

    /// Lists all keys below a prefix, of which the form of folders says nothing any more.
    fn flat(
        &self,
        prefix: &str,
        after: Option<&str>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, SourceError> {
        let mut token = None;
        loop {
            let page = self.page(prefix, false, after, token.take())?;
            for file in page.files {
                if after.is_none_or(|after| file.key.as_str() > after)
                    && self.is_chosen(&file.key)
                    && visit(file)?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match page.next {
                Some(next) => token = Some(next),
                None => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// Lists folder by folder, entering only those that may hold wanted times. `level` is how many of the
    /// form's levels lie above.
    fn pruned(
        &self,
        prefix: &str,
        level: usize,
        after: Option<&str>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, SourceError> {
        let Some((partitions, filter)) = self.pruning.as_ref().filter(|it| level < it.0.depth()) else {
            return self.flat(prefix, after, visit);
        };
        let mut token = None;
        loop {
            let page = self.page(prefix, true, None, token.take())?;
            if let Some(stray) = page.files.iter().find(|file| self.is_chosen(&file.key)) {
                partitions.check_depth(self.below(&stray.key), &self.name(&stray.key))?;
            }
            for folder in page.folders {
                let below = self.below(&folder).trim_end_matches('/');
                let name = below.rsplit('/').next().unwrap_or(below);
                // Keys in the folder are greater than its name and less than its name with a last character
                // more.
                let is_before =
                    after.is_some_and(|after| folder.as_str() < after && !after.starts_with(&folder));
                if is_skipped(name)
                    || is_before
                    || !partitions.may_hold(below, filter, &self.name(&folder))?
                {
                    continue;
                }
                if self.pruned(&folder, level + 1, after, visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match page.next {
                Some(next) => token = Some(next),
                None => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    fn page(
        &self,
        prefix: &str,
        by_folder: bool,
        after: Option<&str>,
        token: Option<String>,
    ) -> Result<Page, SourceError> {
        let request = self
            .remote
            .asker
            .client
            .list_objects_v2()
            .bucket(&self.remote.asker.bucket)
            .prefix(prefix)
            .set_delimiter(by_folder.then(|| String::from("/")))
            .set_start_after(after.filter(|_| token.is_none()).map(String::from))
            .set_continuation_token(token.clone());
        let answer = self
            .remote
            .worker
            .wait(async move { request.send().await })?
            .map_err(|error| self.remote.asker.failure(&Place::Bucket, &error))?;
        let next = match answer.is_truncated() {
            Some(true) => answer.next_continuation_token().map(String::from),
            _ => None,
        };
        if next.is_some() && next == token {
            return Err(self.odd("repeats a page of its listing"));
        }
        let folders = answer.common_prefixes().iter().filter_map(|it| it.prefix());
        let folders: Vec<String> = folders.map(String::from).collect();
        if folders.iter().any(|folder| !folder.starts_with(prefix)) {
            return Err(self.odd("lists folders that were not asked for"));
        }
        let mut files = Vec::with_capacity(answer.contents().len());
        for object in answer.contents.unwrap_or_default() {
            let (Some(key), Some(etag)) = (object.key, object.e_tag) else {
                return Err(self.odd("lists a file without a key or an etag"));
            };
            if !key.starts_with(prefix) {
                return Err(self.odd("lists files that were not asked for"));
            }
            let size = object.size.and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| self.odd("lists a file without a size"))?;
            files.push(Listed { key, size, etag });
        }
        Ok(Page { folders, files, next })
    }

    fn odd(&self, what: &str) -> SourceError {
        SourceError::new(
            ErrorKind::Io,
            format!("the server of bucket {:?} {what}", self.remote.asker.bucket),
        )
    }
}

impl Store for BucketStore {
    fn list(&mut self, after: Option<&str>, visit: Visit<'_>) -> Result<ControlFlow<()>, SourceError> {
        self.pruned(&self.prefix, 0, after, visit)
    }

    fn find(&mut self, key: &str) -> Result<Option<Listed>, SourceError> {
        if !key.starts_with(&self.prefix) || !self.is_chosen(key) {
            return Ok(None);
        }
        let request = self
            .remote
            .asker
            .client
            .head_object()
            .bucket(&self.remote.asker.bucket)
            .key(key);
        match self.remote.worker.wait(async move { request.send().await })? {
            Ok(answer) => {
                let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
                let (Some(size), Some(etag)) = (size, answer.e_tag) else {
                    return Err(self.odd("names neither size nor etag of a file"));
                };
                Ok(Some(Listed {
                    key: key.into(),
                    size,
                    etag,
                }))
            }
            Err(error) if failure::status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.remote.asker.failure(&Place::File(self.name(key)), &error)),
        }
    }

    fn open(&mut self, file: &Listed) -> Result<Arc<dyn Object>, Error> {
        let object = S3Object::open(
            Arc::clone(&self.remote),
            file,
            self.name(&file.key),
            Arc::clone(&self.fetched),
            self.budget,
        );
        Ok(Arc::new(object))
    }

    fn name(&self, key: &str) -> PathBuf {
        PathBuf::from(format!("s3://{}/{key}", self.remote.asker.bucket))
    }

    fn take_fetched(&mut self) -> u64 {
        self.fetched.swap(0, Ordering::Relaxed)
    }
}

/// Whether a prefix names a file rather than a folder.
fn is_file(prefix: &str) -> bool {
    is_wanted(prefix.rsplit('/').next().unwrap_or(prefix))
}

#[cfg(test)]
mod tests;
