//! What a run has to read: the files that are new since the watermark, or the rows that are asked for again.

use super::store::{Listed, Store, is_wanted};
use crate::{ErrorKind, Request, SourceError, Work};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

/// Longest name of a part of a source.
const MAX_PART_BYTES: usize = 2000;
/// Most files that wait to be read; the listing goes on when they are. Some 20 MB.
const MAX_LISTED: usize = 100_000;

/// A file and what is wanted of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Task {
    /// From this row on to its end.
    Read(Listed, u64),
    /// What earlier runs refused.
    Again(String, Again),
}

/// Rows by number, the whole file, or both.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Again {
    pub rows: BTreeSet<u64>,
    pub whole: bool,
}

impl Again {
    /// The positions asked for from a row on.
    pub(super) fn positions(&self, key: &str, from: u64) -> Vec<String> {
        let rows = self.rows.range(from..).map(|row| format!("{key}#{row}"));
        rows.chain(self.whole.then(|| key.to_owned())).collect()
    }
}

/// What is still to do, some of it not listed yet.
#[derive(Default)]
pub(super) struct Tasks {
    queue: VecDeque<Task>,
    /// The last file of the listing, when it was broken off to bound the memory it takes.
    broken_off: Option<String>,
}

impl Tasks {
    /// The tasks of a run. `seen` is told how many files were listed so far.
    ///
    /// # Errors
    /// Those of the listing; [`ErrorKind::WrongSchema`] for a name too long to be a part of a source.
    pub(super) fn of(
        request: &Request,
        store: &mut dyn Store,
        seen: &mut dyn FnMut(usize),
    ) -> Result<Self, SourceError> {
        let mut tasks = Self::default();
        match &request.work {
            Work::Replay(positions) => tasks.queue = again(positions),
            Work::Incremental | Work::Full => tasks.list(None, request, store, seen)?,
        }
        Ok(tasks)
    }

    fn list(
        &mut self,
        after: Option<&str>,
        request: &Request,
        store: &mut dyn Store,
        seen: &mut dyn FnMut(usize),
    ) -> Result<(), SourceError> {
        let (queue, mut files, mut last) = (&mut self.queue, 0, String::new());
        let flow = store.list(after, &mut |file| {
            files += 1;
            seen(files);
            check_name(&file)?;
            let row = match &request.work {
                Work::Full => Some(0),
                _ => unread(&file, request.watermark.get(&file.key)),
            };
            let Some(row) = row else {
                return Ok(ControlFlow::Continue(()));
            };
            if queue.len() + 1 == MAX_LISTED {
                last.clone_from(&file.key);
            }
            queue.push_back(Task::Read(file, row));
            Ok(match queue.len() {
                MAX_LISTED.. => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        })?;
        self.broken_off = flow.is_break().then_some(last);
        Ok(())
    }

    /// The next task, for which listing may have to go on.
    pub(super) fn next(
        &mut self,
        request: &Request,
        store: &mut dyn Store,
    ) -> Result<Option<Task>, SourceError> {
        if self.queue.is_empty()
            && let Some(after) = self.broken_off.take()
        {
            self.list(Some(&after), request, store, &mut |_| ())?;
        }
        Ok(self.queue.pop_front())
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Task> {
        self.queue.iter()
    }

    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.is_listed()
    }

    /// Whether no more files will be listed.
    pub(super) fn is_listed(&self) -> bool {
        self.broken_off.is_none()
    }
}

fn check_name(file: &Listed) -> Result<(), SourceError> {
    if file.key.len() <= MAX_PART_BYTES {
        return Ok(());
    }
    let error = format!("the name of file {:?} has {} bytes", file.key, file.key.len());
    Err(SourceError::new(ErrorKind::WrongSchema, error)
        .detail(format!("At most {MAX_PART_BYTES} can be remembered.")))
}

/// The row that reading a file begins at, None where it was read to its end or failed for good.
fn unread(file: &Listed, position: Option<&Value>) -> Option<u64> {
    let same = |position: &&Value| position["etag"] == file.etag.as_str();
    match position.filter(same) {
        Some(position) => position.get("row").map(|row| row.as_u64().unwrap_or(0)),
        None => Some(0),
    }
}

/// Where a file is left: at a row, or at its end.
pub(super) fn position(file: &Listed, row: Option<u64>) -> Value {
    match row {
        Some(row) => json!({"etag": file.etag, "size": file.size, "row": row}),
        None => json!({"etag": file.etag, "size": file.size}),
    }
}

/// Where a file is left that cannot be read: it is tried again when its content changes.
pub(super) fn failed_position(file: &Listed) -> Value {
    json!({"etag": file.etag, "size": file.size, "failed": true})
}

/// Positions `key#row` and `key`, by file.
fn again(positions: &[String]) -> VecDeque<Task> {
    let mut files: BTreeMap<&str, Again> = BTreeMap::new();
    for position in positions {
        let row = position
            .rsplit_once('#')
            .and_then(|(key, row)| Some((key, row.parse::<u64>().ok()?)));
        match row.filter(|_| !is_wanted(position)) {
            Some((key, row)) => drop(files.entry(key).or_default().rows.insert(row)),
            None => files.entry(position).or_default().whole = true,
        }
    }
    files
        .into_iter()
        .map(|(key, again)| Task::Again(key.into(), again))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet::{Error, Object};
    use crate::s3_parquet::store::Visit;
    use std::path::PathBuf;
    use std::sync::Arc;

    fn listed(etag: &str) -> Listed {
        Listed {
            key: "a.parquet".into(),
            size: 7,
            etag: etag.into(),
        }
    }

    #[test]
    fn only_what_is_new_is_read() {
        let file = listed("x");
        assert_eq!(unread(&file, None), Some(0));
        assert_eq!(unread(&file, Some(&position(&file, None))), None);
        assert_eq!(unread(&file, Some(&position(&file, Some(12)))), Some(12));
        assert_eq!(unread(&file, Some(&failed_position(&file))), None);
        assert_eq!(unread(&listed("y"), Some(&position(&file, Some(12)))), Some(0));
        assert_eq!(unread(&listed("y"), Some(&failed_position(&file))), Some(0));
        assert_eq!(unread(&file, Some(&json!("garbage"))), Some(0));
    }

    /// Files that exist as numbers only.
    struct Many(usize);

    impl Store for Many {
        fn list(&mut self, after: Option<&str>, visit: Visit<'_>) -> Result<ControlFlow<()>, SourceError> {
            let first = after.map_or(0, |key| key.parse::<usize>().unwrap() + 1);
            for i in first..self.0 {
                let file = Listed {
                    key: format!("{i:07}"),
                    ..listed("x")
                };
                if visit(file)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        }

        fn find(&mut self, _: &str) -> Result<Option<Listed>, SourceError> {
            Ok(None)
        }

        fn open(&mut self, _: &Listed) -> Result<Arc<dyn Object>, Error> {
            unreachable!()
        }

        fn name(&self, key: &str) -> PathBuf {
            key.into()
        }

        fn take_fetched(&mut self) -> u64 {
            0
        }
    }

    #[test]
    fn a_listing_beyond_what_memory_may_hold_goes_on_later() {
        for files in [0, 1, MAX_LISTED, 2 * MAX_LISTED + 7] {
            let mut store = Many(files);
            let mut request = Request {
                dims: 1,
                registered: None,
                work: Work::Incremental,
                watermark: BTreeMap::new(),
                limits: Default::default(),
                secrets: Default::default(),
                progress: Default::default(),
                stop: Default::default(),
            };
            let read = position(&listed("x"), None);
            request
                .watermark
                .extend((0..files).step_by(3).map(|i| (format!("{i:07}"), read.clone())));
            let mut tasks = Tasks::of(&request, &mut store, &mut |_| ()).unwrap();
            for i in (0..files).filter(|i| i % 3 != 0) {
                assert!(!tasks.is_done() && tasks.iter().len() <= MAX_LISTED);
                let Some(Task::Read(file, 0)) = tasks.next(&request, &mut store).unwrap() else {
                    panic!("{i} of {files}");
                };
                assert_eq!(file.key, format!("{i:07}"));
            }
            assert_eq!(tasks.next(&request, &mut store), Ok(None));
            assert!(tasks.is_done());
        }
    }

    #[test]
    fn positions_are_grouped_by_file() {
        let asked = [
            "b/c.parquet#3",
            "a#1.parquet",
            "b/c.parquet#1",
            "b/c.parquet",
            "a#1.parquet#0",
        ];
        let tasks = again(&asked.map(String::from));
        let one = Again {
            rows: BTreeSet::from([0]),
            whole: true,
        };
        let two = Again {
            rows: BTreeSet::from([1, 3]),
            whole: true,
        };
        assert_eq!(two.positions("k", 2), ["k#3", "k"]);
        assert_eq!(
            Vec::from(tasks),
            [
                Task::Again("a#1.parquet".into(), one),
                Task::Again("b/c.parquet".into(), two)
            ]
        );
    }
}
