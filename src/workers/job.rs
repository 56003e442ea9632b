//! A connector on a thread of its own, feeding the main thread of the ingest worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};

use cvx_sources::{
    Delivery, ErrorKind, Position, Request, SharedProgress, SourceConfig, SourceError, Step, Stop,
};

use super::process::Bell;
use crate::ingest::reader::with_signals_blocked;

/// What comes from a connector's thread.
pub enum Event {
    Delivery(Box<Delivery>),
    /// There is nothing new now.
    Idle,
    End,
    Failed(SourceError),
}

/// Deliveries that may wait for the writer, beside the one that the connector fills.
const WAITING: usize = 1;

/// The receiving end, on the main thread. When it is dropped the thread ends by itself at the next occasion.
pub struct Reading {
    events: Receiver<Event>,
    committed: Sender<Vec<Position>>,
    stop: Stop,
    pub progress: SharedProgress,
}

impl Reading {
    /// Opens the source on a new thread.
    pub fn start(config: SourceConfig, request: Request, bell: Bell) -> Result<Self, SourceError> {
        let (sender, events) = sync_channel(WAITING);
        let (committed, acknowledged) = channel();
        let (stop, progress) = (request.stop.clone(), request.progress.clone());
        let spawned = with_signals_blocked(|| {
            std::thread::Builder::new()
                .name(String::from("cvx source"))
                .spawn(move || {
                    let feed = Feed { sender, bell };
                    run(&config, request, &feed, &acknowledged);
                })
        });
        spawned.map_err(|error| {
            let message = format!("could not start a thread to read with: {error}");
            SourceError::new(ErrorKind::Io, message)
        })?;
        Ok(Reading {
            events,
            committed,
            stop,
            progress,
        })
    }

    /// What has come, if anything has.
    pub fn next(&self) -> Option<Event> {
        match self.events.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Event::Failed(SourceError::new(
                ErrorKind::Internal,
                "the connector's thread ended unexpectedly",
            ))),
        }
    }

    /// Tells the connector what is durable.
    pub fn committed(&self, positions: Vec<Position>) {
        // A thread that has ended needs no telling.
        let _ = self.committed.send(positions);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.set();
    }
}

struct Feed {
    sender: SyncSender<Event>,
    bell: Bell,
}

impl Feed {
    /// Waits until there is room. False when nobody listens any more.
    fn send(&self, event: Event) -> bool {
        let sent = self.sender.send(event).is_ok();
        self.bell.ring();
        sent
    }
}

impl Drop for Feed {
    /// The main thread finds that the channel is closed.
    fn drop(&mut self) {
        self.bell.ring();
    }
}

fn run(config: &SourceConfig, request: Request, feed: &Feed, acknowledged: &Receiver<Vec<Position>>) {
    let stop = request.stop.clone();
    let read = AssertUnwindSafe(|| {
        let mut connector = config.open(request)?;
        let mut idle = false;
        while !stop.is_set() {
            for positions in acknowledged.try_iter() {
                connector.committed(&positions);
            }
            let event = match connector.next()? {
                // Once is enough.
                Step::Idle if idle => continue,
                Step::Idle => Event::Idle,
                Step::Delivery(delivery) => Event::Delivery(Box::new(delivery)),
                Step::End => Event::End,
            };
            idle = matches!(event, Event::Idle);
            let last = matches!(event, Event::End);
            if !feed.send(event) || last {
                break;
            }
        }
        for positions in acknowledged.try_iter() {
            connector.committed(&positions);
        }
        Ok(())
    });
    let done: Result<(), SourceError> = catch_unwind(read).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(SourceError::new(
            ErrorKind::Internal,
            format!("the connector broke down: {text}"),
        ))
    });
    if let Err(error) = done {
        feed.send(Event::Failed(error));
    }
}
