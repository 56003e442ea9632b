//! The thread on which requests run, so that fetching goes on while rows are decoded.

use super::client::{Patience, client};
use super::failure::{self, Place};
use crate::s3_parquet::Config;
use crate::s3_parquet::local::stopped;
use crate::{ErrorKind, Request, Secrets, SourceError, Stop};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How often a wait looks whether it is to stop.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// A client of one bucket, and the thread that its requests run on.
pub(super) struct Remote {
    pub asker: Arc<Asker>,
    pub worker: Worker,
}

/// What a request needs. Requests hold this and not [`Remote`]: the worker is not to be ended from within.
pub(super) struct Asker {
    pub client: Client,
    pub bucket: String,
    pub patience: Patience,
    secrets: Secrets,
}

impl Remote {
    pub(super) fn start(
        config: &Config,
        bucket: String,
        request: &Request,
        patience: Patience,
    ) -> Result<Self, SourceError> {
        let worker = Worker::start(request.stop.clone())?;
        let secrets = request.secrets.clone();
        let client = worker.wait(client(config.clone(), secrets.clone(), patience))??;
        let asker = Arc::new(Asker {
            client,
            bucket,
            patience,
            secrets,
        });
        Ok(Self { asker, worker })
    }
}

impl Asker {
    /// What an SDK's error means.
    pub(super) fn failure<E>(&self, place: &Place, error: &SdkError<E, HttpResponse>) -> SourceError
    where
        E: std::error::Error + ProvideErrorMetadata + RequestId + Send + Sync + 'static,
    {
        self.masked(failure::source_error(&self.bucket, place, error))
    }

    /// The same with every secret in it replaced.
    pub(super) fn masked(&self, error: SourceError) -> SourceError {
        SourceError {
            message: self.secrets.mask(&error.message),
            detail: error.detail.map(|text| self.secrets.mask(&text)),
            ..error
        }
    }
}

/// A thread with a runtime. Ends when it is dropped, with all that it does.
pub(super) struct Worker {
    pub handle: Handle,
    pub stop: Stop,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(stop: Stop) -> Result<Self, SourceError> {
        let cannot = |error: std::io::Error| {
            SourceError::new(ErrorKind::Io, "could not start a thread to fetch with")
                .detail(error.to_string())
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(cannot)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("cvx s3".into()).spawn(move || {
            // Ends by a word, or because nobody is left to say one.
            let _ = runtime.block_on(ended);
            // A name that is being looked up cannot be interrupted, and is not waited for.
            runtime.shutdown_background();
        });
        Ok(Self {
            handle,
            stop,
            end: Some(end),
            thread: Some(thread.map_err(cannot)?),
        })
    }

    /// Waits for what a future brings, or for the order to stop, upon which the future is dropped.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, SourceError> {
        let (sender, receiver) = sync_channel(1);
        let task = self.handle.spawn(async move {
            // Nobody may be waiting any more.
            let _ = sender.send(future.await);
        });
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(value) => return Ok(value),
                Err(RecvTimeoutError::Timeout) if self.stop.is_set() => {
                    task.abort();
                    return Err(stopped());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SourceError::new(ErrorKind::Internal, "a request broke down"));
                }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
