//! A file of a bucket, read by ranges of one version of it.

use super::failure;
use super::pieces::{Pieces, Slot};
use super::remote::{Asker, LOOK, Remote};
use crate::parquet::{Error, Object, room};
use crate::s3_parquet::local::stopped;
use crate::s3_parquet::store::Listed;
use crate::{ErrorKind, SourceError};
use bytes::Bytes;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// What is fetched of a file's end before anything is known of it: most footers are shorter.
const TAIL_BYTES: u64 = 64 << 10;
/// Pieces are no longer than this, and not shorter without need: servers take their time for each request.
const MAX_PIECE_BYTES: u64 = 8 << 20;
const MIN_PIECE_BYTES: u64 = 512 << 10;
/// Columns of a row group from which on a piece of their own is reckoned with.
const LARGE_COLUMN_BYTES: u64 = 1 << 20;
/// Pieces that are fetched at once.
const MAX_IN_FLIGHT: usize = 4;
/// How often an answer that breaks off is asked for.
const ATTEMPTS: u32 = 3;

pub(super) struct S3Object {
    remote: Arc<Remote>,
    shared: Arc<Shared>,
}

struct Shared {
    asker: Arc<Asker>,
    file: Listed,
    path: PathBuf,
    fetched: Arc<AtomicU64>,
    /// Bytes that pieces may take: those that are here and those on their way.
    budget: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    tail: Slot,
    pieces: Pieces,
    held: usize,
    in_flight: usize,
    /// Of the plan: what arrives for an earlier one is dropped.
    generation: u64,
}

impl S3Object {
    /// Starts to fetch the file's end.
    pub(super) fn open(
        remote: Arc<Remote>,
        file: &Listed,
        path: PathBuf,
        fetched: Arc<AtomicU64>,
        budget: usize,
    ) -> Self {
        let shared = Arc::new(Shared {
            asker: Arc::clone(&remote.asker),
            file: file.clone(),
            path,
            fetched,
            budget,
            state: Mutex::new(State {
                tail: Slot::Waiting,
                pieces: Pieces::default(),
                held: 0,
                in_flight: 0,
                generation: 0,
            }),
            arrived: Condvar::new(),
        });
        let range = shared.tail_start()..file.size;
        if !range.is_empty() {
            let here = Arc::clone(&shared);
            let task = remote.worker.handle.spawn(async move {
                let bytes = here.get(range).await;
                here.state().tail = slot(bytes);
                here.arrived.notify_all();
            });
            let mut state = shared.state();
            if matches!(state.tail, Slot::Waiting) {
                state.tail = Slot::Fetching(task.abort_handle());
            }
        }
        Self { remote, shared }
    }

    /// Bytes from a place on, up to `end` or fewer.
    fn segment(&self, at: u64, end: u64) -> Result<Bytes, Error> {
        let shared = &self.shared;
        let mut state = shared.state();
        loop {
            if self.remote.worker.stop.is_set() {
                return Err(Error::Store(stopped()));
            }
            let (start, slot) = if at >= shared.tail_start() {
                (shared.tail_start(), &state.tail)
            } else if let Some(i) = state.pieces.at(at) {
                let piece = state.pieces.get(i);
                (piece.range.start, &piece.slot)
            } else {
                let next = state
                    .pieces
                    .next_start(at)
                    .unwrap_or(end)
                    .min(shared.tail_start());
                drop(state);
                return self.unplanned(at..end.min(next).min(at + MAX_PIECE_BYTES));
            };
            match slot {
                Slot::Here(bytes) => {
                    let from = (at - start) as usize;
                    let to = bytes.len().min((end - start) as usize);
                    return Ok(bytes.slice(from..to));
                }
                Slot::Failed(error) => return Err(error.clone()),
                Slot::Fetching(_) => {}
                Slot::Waiting | Slot::Done => {
                    if let Some(i) = state.pieces.at(at) {
                        self.fetch(&mut state, i);
                    }
                }
            }
            let waited = shared.arrived.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What nobody planned: a long footer, or a read of a damaged file.
    fn unplanned(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let shared = Arc::clone(&self.shared);
        let got = self.remote.worker.wait(async move { shared.get(range).await });
        got.map_err(Error::Store)?
    }

    fn fetch(&self, state: &mut State, i: usize) {
        let piece = state.pieces.get_mut(i);
        let (range, length) = (piece.range.clone(), piece.len());
        let (shared, generation) = (Arc::clone(&self.shared), state.generation);
        let task = self.remote.worker.handle.spawn(async move {
            let bytes = shared.get(range).await;
            let mut state = shared.state();
            if state.generation == generation {
                state.in_flight -= 1;
                let piece = state.pieces.get_mut(i);
                // Whoever let it go meanwhile has counted it out.
                if matches!(piece.slot, Slot::Fetching(_)) {
                    piece.slot = slot(bytes);
                }
            }
            shared.arrived.notify_all();
        });
        piece.slot = Slot::Fetching(task.abort_handle());
        state.in_flight += 1;
        state.held += length;
    }

    /// Fetches ahead as far as memory allows.
    fn fetch_ahead(&self, state: &mut State) {
        while state.in_flight < MAX_IN_FLIGHT
            && let Some(i) = state.pieces.next_waiting()
            && state.held + state.pieces.get(i).len() <= self.shared.budget
        {
            self.fetch(state, i);
        }
    }

    fn was_read(&self, start: u64, end: u64) {
        let mut state = self.shared.state();
        let freed = state.pieces.read(start, end);
        state.held = state.held.saturating_sub(freed);
        self.fetch_ahead(&mut state);
    }
}

impl Object for S3Object {
    fn size(&self) -> u64 {
        self.shared.file.size
    }

    fn read(&self, start: u64, length: usize) -> Result<Bytes, Error> {
        let end = start + length as u64;
        let first = self.segment(start, end)?;
        if first.len() == length {
            self.was_read(start, end);
            return Ok(first);
        }
        let mut whole = room(length).map_err(|e| Error::io(&self.shared.path, &e))?;
        whole.extend_from_slice(&first);
        while whole.len() < length {
            let at = start + whole.len() as u64;
            let next = self.segment(at, end)?;
            whole.extend_from_slice(&next);
            self.was_read(start, at);
        }
        self.was_read(start, end);
        Ok(whole.into())
    }

    fn read_some(&self, start: u64, length: usize) -> Result<Bytes, Error> {
        let column_end = self.shared.state().pieces.column_end(start);
        let end = (start + length as u64).min(self.size());
        let end = column_end.map_or(end, |it| it.min(end));
        let first = self.segment(start, end)?;
        if start + first.len() as u64 == end {
            return Ok(first);
        }
        // A page's header is looked at whole, also where it stands across two pieces.
        let mut both = first.to_vec();
        both.extend_from_slice(&self.segment(start + first.len() as u64, end)?);
        Ok(both.into())
    }

    fn plan(&self, groups: Vec<Vec<Range<u64>>>) {
        let is_large = |range: &&Range<u64>| range.end - range.start > LARGE_COLUMN_BYTES;
        let large = groups
            .iter()
            .map(|columns| columns.iter().filter(is_large).count());
        let columns = large.max().unwrap_or(0) as u64;
        let size = (self.shared.budget as u64 / (columns + 1)).clamp(MIN_PIECE_BYTES, MAX_PIECE_BYTES);
        let mut state = self.shared.state();
        state.pieces = Pieces::cut(groups, self.shared.tail_start(), size);
        state.generation += 1;
        (state.held, state.in_flight) = (0, 0);
        self.fetch_ahead(&mut state);
    }
}

impl Drop for S3Object {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.generation += 1;
        state.pieces = Pieces::default();
        if let Slot::Fetching(task) = &state.tail {
            task.abort();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail_start(&self) -> u64 {
        self.file.size.saturating_sub(TAIL_BYTES)
    }

    /// Exactly these bytes of the version that was listed. An answer that breaks off is asked for again;
    /// requests that get no answer were repeated by the SDK already.
    async fn get(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let mut pause = Duration::from_millis(200);
        for _ in 1..ATTEMPTS {
            match self.try_get(range.clone()).await? {
                Ok(bytes) => return Ok(bytes),
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        self.try_get(range)
            .await?
            .map_err(|error| Error::Store(self.asker.masked(error)))
    }

    /// The inner error is that of an answer that began and broke off.
    async fn try_get(&self, range: Range<u64>) -> Result<Result<Bytes, SourceError>, Error> {
        let answer = self
            .asker
            .client
            .get_object()
            .bucket(&self.asker.bucket)
            .key(&self.file.key)
            .if_match(&self.file.etag)
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .send()
            .await;
        let answer = answer.map_err(|error| {
            match failure::file_error(&self.asker.bucket, self.path.clone(), &error) {
                Error::Store(error) => Error::Store(self.asker.masked(error)),
                error => error,
            }
        })?;
        if answer.e_tag().is_some_and(|etag| etag != self.file.etag) {
            return Err(Error::Changed {
                path: self.path.clone(),
            });
        }
        let length = (range.end - range.start) as usize;
        let patience = self.asker.patience.read;
        let body = timeout(10 * patience, self.take(answer.body, length, patience)).await;
        Ok(body.unwrap_or_else(|_| Err(self.broken("its bytes come too slowly"))))
    }

    async fn take(
        &self,
        mut body: aws_sdk_s3::primitives::ByteStream,
        length: usize,
        patience: Duration,
    ) -> Result<Bytes, SourceError> {
        let mut bytes = room(length).map_err(|error| self.broken(&error.to_string()))?;
        loop {
            let part = timeout(patience, body.next()).await;
            match part.map_err(|_| self.broken("the server stopped sending"))? {
                Some(Ok(part)) => {
                    self.fetched.fetch_add(part.len() as u64, Ordering::Relaxed);
                    if part.len() > length - bytes.len() {
                        return Err(self.broken("the server sends more than it was asked for"));
                    }
                    bytes.extend_from_slice(&part);
                }
                Some(Err(error)) => return Err(self.broken(&failure::causes(&error))),
                None if bytes.len() < length => {
                    return Err(self.broken("the server sent less than it was asked for"));
                }
                None => return Ok(bytes.into()),
            }
        }
    }

    fn broken(&self, why: &str) -> SourceError {
        let what = format!("reading \"{}\" broke off", self.path.display());
        SourceError::new(ErrorKind::Io, what).detail(format!("{why}."))
    }
}

fn slot(bytes: Result<Bytes, Error>) -> Slot {
    bytes.map_or_else(Slot::Failed, Slot::Here)
}
