//! A connector on a thread of its own, so that reading and decoding overlap with writing.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use cvx_sources::parquet::ParquetConnector;
use cvx_sources::{Batch, ErrorKind, Progress, SourceError};

/// Batches that may wait, decoded, for the writer: memory is bounded by this many plus the two in hand.
const BATCHES_AHEAD: usize = 2;
/// How long the main thread waits between two looks at interrupts.
const PATIENCE: Duration = Duration::from_millis(50);

type Item = Result<(Option<Batch>, Progress), SourceError>;

/// The receiving end, on the main thread.
pub struct Reader {
    batches: Option<Receiver<Item>>,
    thread: Option<JoinHandle<()>>,
    pub progress: Progress,
}

impl Reader {
    /// Opens the connector on the new thread: looking at a source may take as long as reading it.
    pub fn start(
        open: impl FnOnce() -> Result<ParquetConnector, SourceError> + Send + 'static,
    ) -> Result<Self, SourceError> {
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        let spawned = with_signals_blocked(|| {
            std::thread::Builder::new()
                .name(String::from("cvx reader"))
                .spawn(move || run(open, &sender))
        });
        let thread = spawned.map_err(|error| SourceError {
            kind: ErrorKind::Io,
            message: format!("could not start a thread to read with: {error}"),
            detail: None,
            hint: None,
        })?;
        Ok(Reader {
            batches: Some(batches),
            thread: Some(thread),
            progress: Progress::default(),
        })
    }

    /// The next batch, None at the end. Takes interrupts while it waits.
    pub fn next(&mut self) -> Result<Option<Batch>, SourceError> {
        let Some(batches) = &self.batches else {
            return Ok(None);
        };
        loop {
            match batches.recv_timeout(PATIENCE) {
                Ok(item) => {
                    let (batch, progress) = item?;
                    self.progress = progress;
                    return Ok(batch);
                }
                Err(RecvTimeoutError::Timeout) => {
                    pgrx::check_for_interrupts!();
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SourceError {
                        kind: ErrorKind::Corrupt,
                        message: String::from("the reader ended unexpectedly"),
                        detail: None,
                        hint: Some(String::from("The server's log holds what it said last.")),
                    });
                }
            }
        }
    }
}

impl Drop for Reader {
    /// Hangs up first, so that the thread's next send fails, then waits for it: no thread outlives its call.
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(open: impl FnOnce() -> Result<ParquetConnector, SourceError>, sender: &SyncSender<Item>) {
    let mut connector = match open() {
        Ok(connector) => connector,
        // The main thread may have hung up already; then nobody asks why.
        Err(error) => return drop(sender.send(Err(error))),
    };
    loop {
        let item = connector
            .read_batch()
            .map(|batch| (batch, connector.progress()))
            .map_err(SourceError::from);
        let last = !matches!(item, Ok((Some(_), _)));
        if sender.send(item).is_err() || last {
            return;
        }
    }
}

/// Runs `start` with every signal blocked, so that a thread it spawns inherits that and PostgreSQL's signal handlers
/// run on the main thread only.
pub fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: sets are local and initialised by sigfillset and pthread_sigmask; `start` cannot unwind past the
    // restoration, as Builder::spawn returns its errors.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let started = start();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        started
    }
}
