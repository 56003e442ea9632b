//! The wanted rows of one file, a batch at a time.

use super::file::OpenFile;
use super::object::Object;
use super::rows::{Room, Rows};
use super::select::Selection;
use super::{Config, Error, Units, guard};
use crate::Batch;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

/// A file that is being read.
pub(crate) struct FileReader {
    file: OpenFile,
    units: Units,
    selection: Selection,
    /// Row groups still to be read: number, and the number of the first row.
    groups: VecDeque<(usize, u64)>,
    rows: Option<Rows>,
    /// The number in the file of the row that comes next.
    next_row: u64,
    rows_total: u64,
    skipped: u64,
}

impl FileReader {
    /// Reads the footer, finds the columns, tells the unit of integer times from this file alone unless it is
    /// configured, and leaves out the row groups whose statistics say that nothing in them is wanted.
    ///
    /// `label` names the file in the positions of rejects, `path` in errors.
    pub(crate) fn open(
        path: PathBuf,
        label: String,
        object: Arc<dyn Object>,
        config: &Config,
        selection: Selection,
    ) -> Result<Self, Error> {
        let named = path.clone();
        guard(&named, || {
            let file = OpenFile::new(path, label, object, config)?;
            let units = Units::of_file(&file, config).map_err(|error| file.blame(error))?;
            Self::new(file, units, selection)
        })
    }

    pub(super) fn new(file: OpenFile, units: Units, selection: Selection) -> Result<Self, Error> {
        let (mut first, mut groups) = (0u64, VecDeque::new());
        for group in 0..file.groups() {
            let rows = file.group_rows(group)? as u64;
            if rows > 0 && selection.wants_group(&file, group, first, rows, units) {
                groups.push_back((group, first));
            }
            first = first.saturating_add(rows);
        }
        file.plan(groups.iter().map(|(group, _)| *group))?;
        Ok(Self {
            file,
            units,
            next_row: selection.first_row.min(first),
            selection,
            groups,
            rows: None,
            rows_total: first,
            skipped: 0,
        })
    }

    /// Adds some rows to the batch, a fraction of a millisecond's work. Returns whether the file goes on.
    pub(crate) fn read(&mut self, room: Room, batch: &mut Batch) -> Result<bool, Error> {
        let path = self.file.path.clone();
        let read = guard(&path, || self.step(room, batch));
        read.map_err(|error| self.file.blame(error))
    }

    fn step(&mut self, room: Room, batch: &mut Batch) -> Result<bool, Error> {
        if self.rows.as_ref().is_none_or(Rows::is_done) {
            let Some((group, first)) = self.groups.pop_front() else {
                self.next_row = self.rows_total;
                return Ok(false);
            };
            self.rows = Some(Rows::open(&self.file, group, self.units)?);
            self.next_row = first;
        }
        if let Some(rows) = &mut self.rows {
            let taken = rows.read(&self.file, self.next_row, &self.selection, room, batch)?;
            self.next_row += taken.rows;
            self.skipped += taken.skipped;
        }
        Ok(true)
    }

    /// Whether every wanted row is in a batch.
    pub(crate) fn is_done(&self) -> bool {
        self.groups.is_empty() && self.rows.as_ref().is_none_or(Rows::is_done)
    }

    /// Where reading goes on.
    pub(crate) fn next_row(&self) -> u64 {
        self.next_row.max(self.selection.first_row)
    }

    /// Rows of the whole file.
    pub(crate) fn rows_total(&self) -> u64 {
        self.rows_total
    }

    /// Rows that the filter left out since this was last asked.
    pub(crate) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.file.path
    }

    /// Bytes of the columns that are read, in the row groups that are.
    pub(crate) fn planned_bytes(&self) -> u64 {
        self.file.planned_bytes()
    }

    /// Whether the file is still the one that was opened.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        self.file.verify()
    }
}
