//! How far reading has come, for whoever looks while it goes on.

use std::sync::{Arc, Mutex, PoisonError};

/// How far reading has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// What it does now, in the wording of PostgreSQL's progress views: `connecting`, `listing files`, `reading rows`.
    pub phase: &'static str,
    /// What is being read, such as a file's path.
    pub current: Option<String>,
    /// Files (partitions, pages) read to their end.
    pub parts_done: usize,
    /// How many there are in this run, where that is known.
    pub parts_total: Option<usize>,
    /// Rows read so far, taken and refused.
    pub rows_read: u64,
    /// How many this run has to read, where that is known.
    pub rows_total: Option<u64>,
    /// Bytes this run has to fetch, where that is known.
    pub bytes_total: Option<u64>,
    /// Records that the source holds and that have not been read yet, where that is known (a consumer's lag).
    pub lag: Option<u64>,
}

/// One progress, seen from the connector's thread and from the one that shows it.
#[derive(Debug, Clone, Default)]
pub struct SharedProgress(Arc<Mutex<Progress>>);

impl SharedProgress {
    pub fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn get(&self) -> Progress {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
