//! The connector: file after file, batch after batch, with where each file is left.

use super::local::stopped;
use super::store::{Listed, Store};
use super::tasks::{Again, Task, Tasks, failed_position, position};
use crate::parquet::{self, Error, FileReader, Object, Room, RowFilter, Selection};
use crate::{
    Batch, Connector, Delivery, ErrorKind, Payload, Position, RejectReason, Request, SourceError, Step,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Files of which the ends are fetched ahead of the one being read.
const FILES_AHEAD: usize = 3;
/// Most files whose positions a delivery carries.
const MAX_POSITIONS: usize = 1000;

pub(super) struct S3Parquet {
    store: Box<dyn Store>,
    columns: parquet::Config,
    filter: Option<Arc<RowFilter>>,
    room: Room,
    request: Request,
    /// None before the files are listed.
    tasks: Option<Tasks>,
    ahead: VecDeque<Opening>,
    current: Option<Current>,
    /// Rows of the files opened so far, without those read in earlier runs.
    rows_opened: u64,
    spent: bool,
}

/// What of a file is asked for.
enum Asked {
    From(u64),
    Again(Again),
}

/// A file that is next, of which the end may be on its way.
struct Opening {
    file: Listed,
    asked: Asked,
    object: Result<Arc<dyn Object>, Error>,
}

struct Current {
    file: Listed,
    asked: Asked,
    reader: FileReader,
    /// The row at the last position that was delivered.
    delivered: u64,
}

impl Connector for S3Parquet {
    fn next(&mut self) -> Result<Step, SourceError> {
        if self.spent {
            return Err(SourceError::new(
                ErrorKind::Internal,
                "reading the source has failed before",
            ));
        }
        match self.step() {
            Err(_) if self.request.stop.is_set() => Ok(Step::Idle),
            Err(error) => {
                self.spent = true;
                Err(SourceError {
                    message: self.request.secrets.mask(&error.message),
                    detail: error.detail.map(|text| self.request.secrets.mask(&text)),
                    ..error
                })
            }
            step => step,
        }
    }
}

impl S3Parquet {
    pub(super) fn new(
        store: Box<dyn Store>,
        columns: parquet::Config,
        filter: Option<Arc<RowFilter>>,
        room: Room,
        request: Request,
    ) -> Self {
        Self {
            store,
            columns,
            filter,
            room,
            request,
            tasks: None,
            ahead: VecDeque::new(),
            current: None,
            rows_opened: 0,
            spent: false,
        }
    }

    fn step(&mut self) -> Result<Step, SourceError> {
        self.list()?;
        let started = Instant::now();
        let mut delivery = Delivery {
            batch: Batch::new(
                self.request.dims,
                self.room.rows,
                self.request.registered.as_ref(),
            ),
            ..Delivery::default()
        };
        while !self.is_due(&delivery, started) {
            if self.request.stop.is_set() {
                return Err(stopped());
            }
            if self.current.is_some() {
                self.read(&mut delivery)?;
            } else if let Some(opening) = self.next_file()? {
                self.open_file(opening, &mut delivery)?;
            } else {
                break;
            }
        }
        self.leave(&mut delivery)?;
        let nothing =
            delivery.batch.rows_read() == 0 && delivery.positions.is_empty() && delivery.skipped == 0;
        self.show(&delivery);
        if nothing && self.current.is_none() {
            return Ok(Step::End);
        }
        delivery.bytes = self.store.take_fetched();
        Ok(Step::Delivery(delivery))
    }

    /// Whether a delivery is to be handed over as it is.
    fn is_due(&self, delivery: &Delivery, started: Instant) -> bool {
        let moved = |current: &Current| current.reader.next_row() > current.delivered;
        let has_something = delivery.batch.rows_read() > 0
            || !delivery.positions.is_empty()
            || self.current.as_ref().is_some_and(moved);
        self.room.is_full(&delivery.batch)
            || delivery.positions.len() >= MAX_POSITIONS
            || has_something && started.elapsed() >= self.request.limits.linger
    }

    fn list(&mut self) -> Result<(), SourceError> {
        if self.tasks.is_some() {
            return Ok(());
        }
        let progress = self.request.progress.clone();
        progress.update(|it| it.phase = "listing files");
        let tasks = Tasks::of(&self.request, &mut *self.store, &mut |seen| {
            if seen % 1000 == 0 {
                progress.update(|it| it.current = Some(format!("{seen} files seen")));
            }
        })?;
        if tasks.is_listed() {
            // It is not asked again, and of a bucket of many files it is large.
            self.request.watermark.clear();
        }
        let bytes = tasks.iter().map(|task| match task {
            Task::Read(file, _) => file.size,
            Task::Again(..) => 0,
        });
        let bytes = bytes.fold(0u64, u64::saturating_add);
        progress.update(|it| {
            it.phase = "reading rows";
            it.current = None;
            it.parts_total = tasks.is_listed().then_some(tasks.iter().len());
            it.bytes_total = tasks.is_listed().then_some(bytes);
            it.rows_total = (tasks.iter().len() == 0).then_some(0);
        });
        self.tasks = Some(tasks);
        Ok(())
    }

    /// The next file, those after it being opened already. None when there is no more.
    fn next_file(&mut self) -> Result<Option<Opening>, SourceError> {
        while self.ahead.len() < FILES_AHEAD {
            let tasks = self.tasks.get_or_insert_default();
            let Some(task) = tasks.next(&self.request, &mut *self.store)? else {
                break;
            };
            let (file, asked) = match task {
                Task::Read(file, row) => (file, Asked::From(row)),
                Task::Again(key, again) => {
                    let Some(file) = self.store.find(&key)? else {
                        let path = self.store.name(&key);
                        self.ahead.push_back(Opening {
                            file: Listed {
                                key,
                                ..Listed::default()
                            },
                            asked: Asked::Again(again),
                            object: Err(Error::NotFound { path }),
                        });
                        continue;
                    };
                    (file, Asked::Again(again))
                }
            };
            let object = self.store.open(&file);
            self.ahead.push_back(Opening { file, asked, object });
        }
        Ok(self.ahead.pop_front())
    }

    fn open_file(&mut self, opening: Opening, delivery: &mut Delivery) -> Result<(), SourceError> {
        let Opening { file, asked, object } = opening;
        let filter = match &asked {
            Asked::Again(again) if !again.rows.is_empty() => None,
            _ => self.filter.clone(),
        };
        let (first_row, only) = match &asked {
            Asked::From(row) => (*row, None),
            Asked::Again(again) => (0, (!again.whole).then(|| again.rows.clone())),
        };
        let selection = Selection {
            first_row,
            only,
            filter,
        };
        let path = self.store.name(&file.key);
        let reader = object
            .and_then(|object| FileReader::open(path, file.key.clone(), object, &self.columns, selection));
        match reader {
            Ok(reader) => {
                self.foresee(&reader, &file, first_row);
                self.current = Some(Current {
                    file,
                    asked,
                    reader,
                    delivered: first_row,
                });
                Ok(())
            }
            // Deleted since it was listed: there is nothing that could be read.
            Err(Error::NotFound { .. }) => {
                if let Asked::Again(again) = &asked {
                    gone(&again.positions(&file.key, 0), delivery);
                }
                self.done();
                Ok(())
            }
            Err(error) => self.refuse(&file, &asked, 0, error, delivery),
        }
    }

    fn read(&mut self, delivery: &mut Delivery) -> Result<(), SourceError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let read = current.reader.read(self.room, &mut delivery.batch);
        delivery.skipped += current.reader.take_skipped();
        match read {
            Ok(_) if !current.reader.is_done() => Ok(()),
            Ok(_) => {
                current.reader.verify()?;
                if let Some(Current {
                    file, asked, reader, ..
                }) = self.current.take()
                {
                    match asked {
                        Asked::From(_) => delivery.positions.push(Position {
                            value: Some(position(&file, None)),
                            part: file.key,
                        }),
                        Asked::Again(again) => {
                            let rows = Again {
                                whole: false,
                                ..again
                            };
                            gone(&rows.positions(&file.key, reader.rows_total()), delivery);
                        }
                    }
                }
                self.done();
                Ok(())
            }
            Err(Error::NotFound { path }) => Err(Error::Changed { path }.into()),
            Err(error) => match self.current.take() {
                Some(Current {
                    file, asked, reader, ..
                }) => self.refuse(&file, &asked, reader.next_row(), error, delivery),
                None => Err(error.into()),
            },
        }
    }

    /// Makes a dead letter of a file that cannot be read (from `row` on), so that neither do those after it
    /// wait for it nor is it forgotten. What concerns more than the file is an error of the run.
    fn refuse(
        &mut self,
        file: &Listed,
        asked: &Asked,
        row: u64,
        error: Error,
        delivery: &mut Delivery,
    ) -> Result<(), SourceError> {
        let reason = refusal(error)?;
        let positions = match asked {
            Asked::From(_) => vec![file.key.clone()],
            Asked::Again(again) => again.positions(&file.key, row),
        };
        for position in positions {
            let mut payload = Payload::default();
            payload
                .text("file", Some(file.key.as_bytes()))
                .text("size", Some(file.size.to_string().as_bytes()))
                .text("etag", Some(file.etag.as_bytes()));
            delivery.batch.reject(position, reason.clone(), payload);
        }
        if let Asked::From(_) = asked {
            delivery.positions.push(Position {
                part: file.key.clone(),
                value: Some(failed_position(file)),
            });
        }
        self.done();
        Ok(())
    }

    /// Adds where the file in hand is left.
    fn leave(&mut self, delivery: &mut Delivery) -> Result<(), SourceError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let row = current.reader.next_row();
        if let Asked::From(_) = current.asked
            && row > current.delivered
        {
            current.reader.verify()?;
            current.delivered = row;
            delivery.positions.push(Position {
                part: current.file.key.clone(),
                value: Some(position(&current.file, Some(row))),
            });
        }
        Ok(())
    }

    /// Makes what is known of the run's size more exact: of a listed file its size, of an open one what is
    /// read of it.
    fn foresee(&mut self, reader: &FileReader, file: &Listed, first_row: u64) {
        self.rows_opened += reader.rows_total().saturating_sub(first_row);
        let is_last = self.ahead.is_empty() && self.tasks.as_ref().is_none_or(Tasks::is_done);
        let rows = (is_last && self.filter.is_none()).then_some(self.rows_opened);
        self.request.progress.update(|it| {
            it.rows_total = rows;
            it.bytes_total = it
                .bytes_total
                .map(|bytes| bytes.saturating_sub(file.size) + reader.planned_bytes());
        });
    }

    fn done(&self) {
        self.request.progress.update(|it| it.parts_done += 1);
    }

    fn show(&self, delivery: &Delivery) {
        let file = self
            .current
            .as_ref()
            .map(|current| current.reader.path().display().to_string());
        let read = delivery.batch.rows_read() as u64;
        self.request.progress.update(|it| {
            it.current = file;
            it.rows_read += read;
        });
    }
}

/// Refuses what was asked for again and is not there any more.
fn gone(positions: &[String], delivery: &mut Delivery) {
    for position in positions {
        delivery
            .batch
            .reject(position.clone(), RejectReason::Gone, Payload::default());
    }
}

/// What a dead letter says of a file that cannot be read.
///
/// # Errors
/// The error itself where it may pass, or where it is none of this file.
fn refusal(error: Error) -> Result<RejectReason, SourceError> {
    match error {
        Error::MissingColumn { ref column, .. } => Ok(RejectReason::MissingField {
            field: column.clone(),
        }),
        Error::WrongType {
            column,
            found,
            accepted,
            ..
        } => Ok(RejectReason::WrongType {
            field: column,
            found,
            expected: accepted,
        }),
        Error::NotParquet { .. }
        | Error::Corrupt { .. }
        | Error::Unsupported { .. }
        | Error::TwoColumns { .. }
        | Error::AmbiguousUnit { .. } => {
            let error = match error.detail() {
                Some(detail) => format!("{error}: {detail}"),
                None => error.to_string(),
            };
            Ok(RejectReason::Malformed { error })
        }
        error => Err(error.into()),
    }
}
