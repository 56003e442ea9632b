//! Many requests at a time, each on a thread.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender as Feed, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ureq::Agent;

use crate::{Outcome, Policy, Request, send};

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(30);

struct Job {
    key: i64,
    request: Request,
    agent: Agent,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job.
    waiting: usize,
    threads: usize,
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing can fail while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Called from any thread.
type Notify = Arc<dyn Fn() + Send + Sync>;

/// Sends requests on threads of its own, which start as they are needed.
pub struct Sender {
    shared: Arc<Shared>,
    feed: Feed<(i64, Outcome)>,
    outcomes: Receiver<(i64, Outcome)>,
    notify: Notify,
    capacity: usize,
    in_flight: usize,
    client: Option<Client>,
    lookups: Arc<AtomicUsize>,
}

/// What requests are made with until a setting changes; with it go the connections that were made under other rules.
struct Client {
    policy: Arc<Policy>,
    timeout: Duration,
    agent: Agent,
}

impl Sender {
    /// Up to so many requests at a time. `notify` is called from a thread when there is an outcome.
    pub fn new(capacity: usize, notify: impl Fn() + Send + Sync + 'static) -> Self {
        let (feed, outcomes) = channel();
        Sender {
            shared: Arc::default(),
            feed,
            outcomes,
            notify: Arc::new(notify),
            capacity,
            in_flight: 0,
            client: None,
            lookups: Arc::default(),
        }
    }

    /// Takes on a request, to be made under this policy and to end within `timeout`. New threads inherit what signals
    /// the caller has blocked.
    ///
    /// # Errors
    /// There is no room, or no thread could be started: it was not taken on.
    pub fn submit(
        &mut self,
        key: i64,
        policy: &Arc<Policy>,
        timeout: Duration,
        request: Request,
    ) -> io::Result<()> {
        if self.in_flight >= self.capacity {
            return Err(io::Error::other("too many requests at a time"));
        }
        let agent = self.agent(policy, timeout);
        self.want_thread()?;
        let mut queue = self.shared.lock();
        queue.jobs.push_back(Job { key, request, agent });
        drop(queue);
        self.shared.changed.notify_one();
        self.in_flight += 1;
        Ok(())
    }

    /// What became of a request, if there is news.
    pub fn try_recv(&mut self) -> Option<(i64, Outcome)> {
        let outcome = self.outcomes.try_recv().ok()?;
        self.in_flight -= 1;
        Some(outcome)
    }

    /// Requests that were taken on and whose outcome has not been received.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn agent(&mut self, policy: &Arc<Policy>, timeout: Duration) -> Agent {
        if let Some(it) = &self.client
            && it.policy == *policy
            && it.timeout == timeout
        {
            return it.agent.clone();
        }
        let policy = Arc::clone(policy);
        let agent = send::agent(
            Arc::clone(&policy),
            timeout,
            self.capacity,
            Arc::clone(&self.lookups),
        );
        self.client = Some(Client {
            policy,
            timeout,
            agent: agent.clone(),
        });
        agent
    }

    /// Starts a thread unless one is free for another job.
    fn want_thread(&self) -> io::Result<()> {
        let mut queue = self.shared.lock();
        if queue.waiting > queue.jobs.len() || queue.threads >= self.capacity {
            return Ok(());
        }
        let worker = Worker {
            shared: Arc::clone(&self.shared),
            feed: self.feed.clone(),
            notify: Arc::clone(&self.notify),
        };
        thread::Builder::new()
            .name(String::from("cvx webhook"))
            .spawn(move || worker.work())?;
        queue.threads += 1;
        Ok(())
    }
}

impl Drop for Sender {
    /// Threads end when they are done with what they do.
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_closed = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.changed.notify_all();
    }
}

struct Worker {
    shared: Arc<Shared>,
    feed: Feed<(i64, Outcome)>,
    notify: Notify,
}

impl Worker {
    fn work(self) {
        while let Some(job) = self.next() {
            let sent = AssertUnwindSafe(|| send::send(&job.agent, &job.request));
            let outcome = catch_unwind(sent).unwrap_or_else(|_| Outcome::Retry {
                status: None,
                error: String::from("the request broke down"),
                after: None,
            });
            // Nobody listens any more when the sender is gone.
            let _ = self.feed.send((job.key, outcome));
            (self.notify)();
        }
    }

    /// Waits for a job; None ends the thread.
    fn next(&self) -> Option<Job> {
        let mut queue = self.shared.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.is_closed {
                return None;
            }
            queue.waiting += 1;
            let waited = self.shared.changed.wait_timeout(queue, IDLE);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.waiting -= 1;
            if timeout.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return None;
            }
        }
    }
}
