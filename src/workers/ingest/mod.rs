//! The ingest worker of a database: all of its sources in one process. Connectors run on threads of their own; this,
//! the main thread, is the only one that touches PostgreSQL. States and transactions: README.md.

mod end;
mod show;
mod store;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cvx_sources::config::is_stream;
use pgrx::prelude::*;

use super::job::Event;
use super::process::{self, Bell, now};
use super::run::{Kind, Run};
use super::shared::{self, Exit};
use crate::catalog::activation;
use crate::catalog::source::{self, Source};
use crate::guc;

/// What changes in this database wakes the worker; it looks by itself this often all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// Two looks at the sources are at least this far apart.
const BREATH: Duration = Duration::from_millis(100);
/// How often progress is written down while nothing else is.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Runs that end, at one time. Streams are not counted: they never give way.
const MOST_RUNS: usize = 4;

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cvx_ingest_main(argument: pg_sys::Datum) {
    let index = argument.value();
    let Some(slot) = shared::slot(index) else { return };
    process::begin(Some(slot.database));
    if process::enter_slot(index).is_none() {
        return;
    }
    // A source waits for a lock no longer than the others can wait for it.
    process::set(c"lock_timeout", c"500ms");
    // Rows and watermark become durable together, if a moment later: a crash loses both, and they are read again.
    process::set(c"synchronous_commit", c"off");
    process::set(c"client_encoding", c"UTF8");
    let bell = match Bell::new() {
        Ok(bell) => bell,
        Err(error) => {
            pgrx::error!("could not create an eventfd: {error}");
        }
    };
    Ingest::new(index, bell).work()
}

struct Ingest {
    index: usize,
    bell: Bell,
    sources: Vec<Source>,
    runs: HashMap<(i32, bool), Run>,
    logged: HashMap<i32, Instant>,
    looked_at: Option<Instant>,
    reported_at: Instant,
}

impl Ingest {
    fn new(index: usize, bell: Bell) -> Self {
        Ingest {
            index,
            bell,
            sources: Vec::new(),
            runs: HashMap::new(),
            logged: HashMap::new(),
            looked_at: None,
            reported_at: Instant::now(),
        }
    }

    fn work(mut self) -> ! {
        let mut recovered = false;
        let mut was_woken = true;
        loop {
            if !recovered {
                recovered = self.recover();
            }
            let stale = self.looked_at.is_none_or(|at| at.elapsed() >= PATIENCE);
            let rested = self.looked_at.is_none_or(|at| at.elapsed() >= BREATH);
            if (was_woken && rested) || stale {
                self.look();
                was_woken = false;
            }
            self.start_due();
            let busy = self.step_all();
            self.report();
            if busy {
                process::take_signals();
            } else {
                let patience = if was_woken { BREATH } else { self.patience() };
                was_woken |= process::wait(Some(&self.bell), patience);
            }
        }
    }

    /// How long nothing needs a look.
    fn patience(&self) -> Duration {
        let now_micros = now();
        let attempts = self.sources.iter().filter_map(|it| it.state.next_attempt_at);
        let next = attempts.filter(|at| *at > now_micros).min();
        let next = next.map_or(PATIENCE, |at| {
            Duration::from_micros((at - now_micros).unsigned_abs())
        });
        let retries = self.runs.values().filter_map(|run| run.not_before);
        let retry = retries
            .map(|at| at.saturating_duration_since(Instant::now()))
            .min();
        let report = if self.runs.is_empty() {
            PATIENCE
        } else {
            REPORT_EVERY
        };
        next.min(retry.unwrap_or(PATIENCE)).min(report).min(PATIENCE)
    }

    /// Reads the sources anew; ends the runs of those that were changed, and this worker when there are none.
    fn look(&mut self) {
        self.looked_at = Some(Instant::now());
        let looked = process::transaction(|| {
            if !process::has_extension() {
                return Ok(None);
            }
            Ok(Some((activation::is_enabled()?, source::all()?)))
        });
        match looked {
            Ok(Some((enabled, sources))) => {
                self.sources = sources;
                let wanted = enabled && self.sources.iter().any(|it| !it.paused);
                let changed: Vec<(i32, bool)> = self
                    .runs
                    .iter()
                    .filter(|(_, run)| !enabled || !self.sources.iter().any(|it| is_same(it, &run.source)))
                    .map(|(key, _)| *key)
                    .collect();
                for key in changed {
                    self.stop(key, "the source was changed, paused or dropped");
                }
                if !wanted {
                    self.leave();
                }
            }
            Ok(None) => process::finish(self.index, Exit::NoExtension),
            Err(failure) => self.note_error(&failure.message),
        }
    }

    /// Nothing is wanted of this worker: the launcher is told before it could start another.
    fn leave(&self) -> ! {
        if let Some(own) = shared::slot(self.index) {
            for (index, slot) in shared::slots() {
                if slot.database == own.database && slot.role == shared::Role::Scheduler {
                    shared::update_slot(index, |slot| slot.wants_ingest = false);
                    shared::wake(slot.pid);
                }
            }
        }
        process::finish(self.index, Exit::NotWanted)
    }

    fn start_due(&mut self) {
        let now = now();
        let due: Vec<(Source, Kind)> = self
            .sources
            .iter()
            .flat_map(|it| self.due(it, now).into_iter().map(|kind| (it.clone(), kind)))
            .collect();
        for (source, kind) in due {
            let ending = self.runs.values().filter(|run| !run.is_stream).count();
            if ending < MOST_RUNS || is_stream(&source.declared.source_type) {
                self.start(&source, kind);
            }
        }
    }

    /// What is to be done with a source now.
    fn due(&self, it: &Source, now: i64) -> Vec<Kind> {
        let mut kinds = Vec::new();
        if it.paused || it.state.next_attempt_at.is_some_and(|at| at > now) {
            return kinds;
        }
        if !self.runs.contains_key(&(it.source_id, false)) {
            match it.state.requested.as_deref() {
                Some("full") => kinds.push(Kind::Full),
                Some(_) => kinds.push(Kind::Sync),
                None if is_stream(&it.declared.source_type) => kinds.push(Kind::Sync),
                None => {}
            }
        }
        if it.state.replay && !self.runs.contains_key(&(it.source_id, true)) {
            kinds.push(Kind::Replay);
        }
        kinds
    }

    fn start(&mut self, source: &Source, kind: Kind) {
        let active = self.sources.iter().filter(|it| !it.paused).count().clamp(1, 16);
        // Of each run a delivery is being made, one waits, one is written, and its connector reads ahead.
        let memory = (guc::ingest_memory() / (4 * active)).max(64 << 10);
        let opened = process::transaction(|| {
            if !source::hold(source.source_id, source.revision)? {
                return Ok(None);
            }
            Run::open(source, kind, memory)
        });
        self.forget_request(source.source_id, kind);
        match opened {
            Ok(Some((mut run, opening))) => {
                if opening.asks_source() {
                    match opening.start(&self.bell) {
                        Ok(reading) => run.reading = Some(reading),
                        Err(error) => return self.fail(run, error),
                    }
                }
                self.runs.insert((source.source_id, kind == Kind::Replay), run);
                self.show();
            }
            Ok(None) => {}
            Err(failure) => self.fail_source(source, kind, None, &failure.into()),
        }
    }

    /// What was asked for is being done: the next look will tell what is asked for then.
    fn forget_request(&mut self, source_id: i32, kind: Kind) {
        if let Some(it) = self.sources.iter_mut().find(|it| it.source_id == source_id) {
            match kind {
                Kind::Replay => it.state.replay = false,
                Kind::Sync | Kind::Full => it.state.requested = None,
            }
        }
    }

    /// One step of each run. Whether any had something to do.
    fn step_all(&mut self) -> bool {
        let keys: Vec<(i32, bool)> = self.runs.keys().copied().collect();
        let mut busy = false;
        for key in keys {
            busy |= self.step(key);
        }
        busy
    }

    fn step(&mut self, key: (i32, bool)) -> bool {
        let Some(run) = self.runs.get_mut(&key) else {
            return false;
        };
        if run.not_before.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        run.not_before = None;
        if run.pending.is_some() {
            self.store(key);
            return true;
        }
        let Some(reading) = &run.reading else {
            self.finish_run(key);
            return true;
        };
        match reading.next() {
            None => return false,
            Some(Event::Idle) => {
                run.rate.note(run.counts.read);
                self.write_progress(key);
            }
            Some(Event::Delivery(delivery)) if run.kind == Kind::Replay => {
                run.replayed.deliveries.push(*delivery);
            }
            Some(Event::Delivery(delivery)) => {
                run.pending = Some(delivery);
                self.store(key);
            }
            Some(Event::End) => self.finish_run(key),
            Some(Event::Failed(error)) => {
                if let Some(run) = self.runs.remove(&key) {
                    self.fail(run, error);
                }
            }
        }
        true
    }
}

/// Whether a source is, for a run in progress, what it was.
fn is_same(now: &Source, then: &Source) -> bool {
    now.source_id == then.source_id && now.revision == then.revision && !now.paused
}
