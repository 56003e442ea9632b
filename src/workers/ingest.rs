//! The ingest worker of a database: all of its sources in one process. Connectors run on threads of their own; this,
//! the main thread, is the only one that touches PostgreSQL. States and transactions: README.md.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use cvx_sources::{ErrorKind, SourceError};
use pgrx::prelude::*;

use super::backoff;
use super::job::Event;
use super::process::{self, Bell, Failure, now};
use super::run::{Kind, Replayed, Run};
use super::shared::{self, Exit};
use crate::catalog::run::{self, Counts};
use crate::catalog::source::{self, Source};
use crate::catalog::{activation, dead_letter, position};
use crate::guc;
use crate::ingest::delivery;

/// What changes in this database wakes the worker; it looks by itself this often all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// Two looks at the sources are at least this far apart.
const BREATH: Duration = Duration::from_millis(100);
/// How often progress is written down while nothing else is.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Runs that end, at one time. Streams are not counted: they never give way.
const MOST_RUNS: usize = 4;
/// Times in a row that this process may end in the middle of a source's run, without anything written.
const MOST_CRASHES: i32 = 20;
/// Between two lines in the server's log on one source.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// What waits for a user's change is tried again this often.
const RETRY_PERMANENT: u32 = 16;

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

/// What became of an attempt to write.
enum Stored {
    Yes(Counts),
    /// The source was changed, paused or dropped.
    Changed,
    NoExtension,
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

    /// Closes the runs of a worker that ended in their middle, and has them begin again. Whether that succeeded.
    fn recover(&mut self) -> bool {
        let asked = shared::slot(self.index).is_some_and(|slot| slot.after_asked);
        let recovered = process::transaction(|| {
            if !process::has_extension() {
                return Ok(());
            }
            let orphans = run::close_orphans()?;
            for it in source::all()? {
                let of_source = orphans
                    .iter()
                    .find(|orphan| orphan.source == it.declared.name && orphan.kind != "replay");
                let Some(orphan) = of_source else { continue };
                // An end that somebody asked for, or that of the whole server, is not the run's doing.
                let crashes = it.state.crashes + i32::from(orphan.of_this_server && !asked);
                let set = "status = 'waiting', crashes = $2, requested = COALESCE(requested, $3)";
                source::set_state(
                    it.source_id,
                    set,
                    vec![crashes.into(), orphan.kind.as_str().into()],
                )?;
                if crashes >= MOST_CRASHES {
                    let reason = format!(
                        "the worker crashed {MOST_CRASHES} times in the middle of a run of {:?}",
                        orphan.source
                    );
                    source::set_paused(it.source_id, true, Some(&reason))?;
                }
            }
            Ok(())
        });
        if let Err(failure) = &recovered {
            self.note_error(&failure.message);
        }
        recovered.is_ok()
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
            if ending >= MOST_RUNS && source.declared.source_type != "kafka" {
                return;
            }
            self.start(&source, kind);
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
                None if it.declared.source_type == "kafka" => kinds.push(Kind::Sync),
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

    /// Writes what is pending: rows, dead letters, watermark and counts in one transaction.
    fn store(&mut self, key: (i32, bool)) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        let Some(delivery) = run.pending.take() else {
            return;
        };
        let progress = run.progress();
        let stored = process::transaction(|| {
            if !process::has_extension() {
                return Ok(Stored::NoExtension);
            }
            if !source::hold(run.source.source_id, run.source.revision)? {
                return Ok(Stored::Changed);
            }
            let counts = delivery::store(&mut run.target, &delivery)?;
            let total = run.counts.plus(&counts);
            run.rate.note(total.read);
            run::update(run.target.run_id, &total, &progress, run.rate.per_second())?;
            if !run.has_progressed {
                let set = "failures = 0, crashes = 0, next_attempt_at = NULL, status = 'running'";
                source::set_state(run.source.source_id, set, vec![])?;
            }
            Ok(Stored::Yes(counts))
        });
        match stored {
            Ok(Stored::Yes(counts)) => {
                run.counts = run.counts.plus(&counts);
                run.reported = (progress, Instant::now());
                run.has_progressed = true;
                run.attempts = 0;
                // A file that cannot be read is one dead letter and says nothing of records.
                let parts: HashSet<&str> = delivery.positions.iter().map(|it| it.part.as_str()).collect();
                let rejects = delivery.batch.rejects().iter();
                let lost = rejects.filter(|it| parts.contains(it.position.as_str())).count() as i64;
                let opened = run
                    .circuit
                    .count(counts.read - lost, counts.rejected - lost, false);
                if let Some(reading) = &run.reading {
                    reading.committed(delivery.positions);
                }
                if let Some((rejected, read)) = opened {
                    self.open_circuit(key, rejected, read);
                }
            }
            Ok(Stored::Changed) => self.stop(key, "the source was changed, paused or dropped"),
            Ok(Stored::NoExtension) => process::finish(self.index, Exit::NoExtension),
            Err(failure) => {
                run.pending = Some(delivery);
                self.write_failed(key, failure);
            }
        }
    }

    /// The database did not take what is pending: it is kept and offered again, unless that cannot help.
    fn write_failed(&mut self, key: (i32, bool), failure: Failure) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        if !failure.may_pass() {
            if let Some(run) = self.runs.remove(&key) {
                self.fail(run, failure.into());
            }
            return;
        }
        run.attempts += 1;
        let delay = backoff::delay(run.attempts, random());
        run.not_before = Some(Instant::now() + delay);
        let source = run.source.clone();
        let error: SourceError = failure.into();
        self.note_state(&source, "backing off", &run_error(&error));
        self.log(&source, &error, delay);
    }

    /// The source has been read to its end.
    fn finish_run(&mut self, key: (i32, bool)) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        if run.kind == Kind::Replay {
            return self.finish_replay(key);
        }
        if let Some((rejected, read)) = run.circuit.count(0, 0, true) {
            return self.open_circuit(key, rejected, read);
        }
        let progress = run.progress();
        let done = process::transaction(|| {
            if !process::has_extension() {
                return Ok(false);
            }
            run::update(run.target.run_id, &run.counts, &progress, run.average_rate())?;
            let after = position::summary(&position::load(run.source.source_id)?);
            run::end(run.target.run_id, "done", Some(after), None)?;
            let set = "status = 'waiting', failures = 0, crashes = 0, next_attempt_at = NULL,
                last_success_at = pg_catalog.clock_timestamp()";
            source::set_state(run.source.source_id, set, vec![])?;
            Ok(true)
        });
        self.close(key, done);
    }

    /// All that was asked for has been answered: what waited is replaced by what came of it, in one transaction.
    fn finish_replay(&mut self, key: (i32, bool)) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        let done = process::transaction(|| {
            if !process::has_extension() {
                return Ok(false);
            }
            if !source::hold(run.source.source_id, run.source.revision)? {
                return Ok(true);
            }
            let Replayed {
                ids,
                whole,
                deliveries,
            } = &run.replayed;
            dead_letter::delete(ids.clone())?;
            let mut total = Counts::default();
            for batch in whole.iter().chain(deliveries.iter().map(|it| &it.batch)) {
                total = total.plus(&delivery::store_batch(&mut run.target, batch)?);
            }
            total.bytes = deliveries.iter().map(|it| it.bytes as i64).sum();
            run::update(run.target.run_id, &total, &Default::default(), 0.0)?;
            run::end(run.target.run_id, "done", None, None)?;
            Ok(true)
        });
        if done.is_ok() {
            // There may be more than one run takes.
            if let Some(it) = self.sources.iter_mut().find(|it| it.source_id == key.0) {
                it.state.replay = true;
            }
        }
        self.close(key, done);
    }

    fn close(&mut self, key: (i32, bool), done: Result<bool, Failure>) {
        match done {
            Ok(true) => {
                self.runs.remove(&key);
                self.looked_at = None;
            }
            Ok(false) => process::finish(self.index, Exit::NoExtension),
            Err(failure) if failure.may_pass() => {
                if let Some(run) = self.runs.get_mut(&key) {
                    run.attempts += 1;
                    run.not_before = Some(Instant::now() + backoff::delay(run.attempts, random()));
                    run.reading = None;
                }
            }
            Err(failure) => {
                if let Some(run) = self.runs.remove(&key) {
                    self.fail(run, failure.into());
                }
            }
        }
    }

    /// Ends a run that nobody wants any more.
    fn stop(&mut self, key: (i32, bool), why: &str) {
        let Some(run) = self.runs.remove(&key) else { return };
        let stopped = process::transaction(|| {
            if !process::has_extension() {
                return Ok(());
            }
            run::end(run.target.run_id, "stopped", None, Some(why))?;
            // One that was changed begins again, with what it was asked for.
            let update = "UPDATE cvx.source_state SET status = 'waiting', requested = COALESCE(requested, $2)
                WHERE source_id OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'running'";
            if run.kind != Kind::Replay {
                Spi::run_with_args(update, &[run.source.source_id.into(), run.kind.name().into()])
                    .map_err(crate::catalog::internal)?;
            }
            Ok(())
        });
        if let Err(failure) = stopped {
            self.note_error(&failure.message);
        }
        self.looked_at = None;
    }

    /// Too much of what comes is refused.
    fn open_circuit(&mut self, key: (i32, bool), rejected: i64, read: i64) {
        let Some(run) = self.runs.remove(&key) else { return };
        let name = &run.source.declared.name;
        let reason = format!(
            "{rejected} of {read} records were rejected, more than max_reject_ratio allows; see cvx.dead_letter, \
             mend the source or its configuration, then cvx.resume_source and cvx.replay_dead_letters"
        );
        ereport!(
            PgLogLevel::LOG,
            PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
            format!("cvx: source {name:?} is paused: {reason}")
        );
        self.pause(&run, &reason);
    }

    fn pause(&mut self, run: &Run, reason: &str) {
        let paused = process::transaction(|| {
            source::set_paused(run.source.source_id, true, Some(reason))?;
            run::end(run.target.run_id, "failed", None, Some(reason))?;
            let set = "status = 'waiting', last_error = $2, last_error_at = pg_catalog.clock_timestamp(),
                requested = COALESCE(requested, $3)";
            source::set_state(
                run.source.source_id,
                set,
                vec![reason.into(), run.kind.name().into()],
            )
        });
        if let Err(failure) = paused {
            self.note_error(&failure.message);
        }
        self.looked_at = None;
    }

    /// A run failed.
    fn fail(&mut self, run: Run, error: SourceError) {
        if error.kind == ErrorKind::Gap {
            let reason = run_error(&error);
            return self.pause(&run, &reason);
        }
        self.fail_source(&run.source, run.kind, Some(&run), &error);
    }

    fn fail_source(&mut self, source: &Source, kind: Kind, run: Option<&Run>, error: &SourceError) {
        let progressed = run.is_some_and(|run| run.has_progressed);
        let failures = if progressed {
            1
        } else {
            source.state.failures.max(0) as u32 + 1
        };
        let (status, delay) = if error.kind.is_transient() {
            ("backing off", backoff::delay(failures, random()))
        } else {
            ("error", backoff::delay(RETRY_PERMANENT, random()))
        };
        let text = run_error(error);
        let noted = process::transaction(|| {
            if !process::has_extension() {
                return Ok(());
            }
            if let Some(run) = run {
                run::end(run.target.run_id, "failed", None, Some(&text))?;
            }
            let next = now().saturating_add(delay.as_micros() as i64);
            let next = TimestampWithTimeZone::try_from(next).ok();
            let set = "status = $2, failures = $3, next_attempt_at = $4, last_error = $5,
                last_error_at = pg_catalog.clock_timestamp(),
                requested = CASE WHEN $6 OPERATOR(pg_catalog.=) 'replay' THEN requested ELSE COALESCE(requested, $6) END";
            let arguments = vec![
                status.into(),
                (failures as i32).into(),
                next.into(),
                text.as_str().into(),
                kind.name().into(),
            ];
            source::set_state(source.source_id, set, arguments)
        });
        if let Err(failure) = noted {
            self.note_error(&failure.message);
        }
        self.log(source, error, delay);
        // The state on disk is what tells when to go on.
        self.looked_at = None;
        if let Some(it) = self
            .sources
            .iter_mut()
            .find(|it| it.source_id == source.source_id)
        {
            it.state.next_attempt_at = Some(now().saturating_add(delay.as_micros() as i64));
            it.state.failures = failures as i32;
        }
    }

    fn note_state(&mut self, source: &Source, status: &str, error: &str) {
        let noted = process::transaction(|| {
            let set = "status = $2, last_error = $3, last_error_at = pg_catalog.clock_timestamp()";
            source::set_state(source.source_id, set, vec![status.into(), error.into()])
        });
        if let Err(failure) = noted {
            self.note_error(&failure.message);
        }
    }

    fn log(&mut self, source: &Source, error: &SourceError, delay: Duration) {
        self.note_error(&error.message);
        let last = self.logged.get(&source.source_id);
        if last.is_some_and(|at| at.elapsed() < LOG_EVERY) {
            return;
        }
        self.logged.insert(source.source_id, Instant::now());
        let name = &source.declared.name;
        let seconds = delay.as_secs_f64();
        ereport!(
            PgLogLevel::LOG,
            PgSqlErrorCode::ERRCODE_CONNECTION_EXCEPTION,
            format!(
                "cvx: source {name:?} failed and is tried again in {seconds:.0} s: {}",
                error.message
            )
        );
    }

    fn note_error(&self, message: &str) {
        shared::update_slot(self.index, |slot| slot.error.set(message));
    }

    /// Shows how far all runs have come, in the database and in the list of processes.
    fn report(&mut self) {
        if self.reported_at.elapsed() < REPORT_EVERY {
            return;
        }
        self.reported_at = Instant::now();
        let keys: Vec<(i32, bool)> = self.runs.keys().copied().collect();
        for key in keys {
            if let Some(run) = self.runs.get_mut(&key) {
                run.rate.note(run.counts.read);
            }
            self.write_progress(key);
        }
        self.show();
    }

    /// Shows what goes on in the list of processes.
    fn show(&self) {
        let mut parts: Vec<String> = self
            .runs
            .values()
            .map(|run| {
                let name = &run.source.declared.name;
                let (read, rate) = (run.counts.read, run.rate.per_second());
                format!("{name}: {}, {read} records, {rate:.0}/s", run.progress().phase)
            })
            .collect();
        parts.sort();
        process::report(self.index, &parts.join("; "), !self.runs.is_empty());
    }

    /// Writes down progress that no delivery has written.
    fn write_progress(&mut self, key: (i32, bool)) {
        let Some(run) = self.runs.get_mut(&key) else {
            return;
        };
        let progress = run.progress();
        let rate = run.rate.per_second();
        let is_known = progress == run.reported.0 && (rate == run.reported_rate);
        if is_known || run.reported.1.elapsed() < REPORT_EVERY {
            return;
        }
        let written = process::transaction(|| {
            if process::has_extension() {
                run::update(run.target.run_id, &run.counts, &progress, rate)?;
            }
            Ok(())
        });
        run.reported = (progress, Instant::now());
        run.reported_rate = rate;
        if let Err(failure) = written {
            self.note_error(&failure.message);
        }
    }
}

/// Whether a source is, for a run in progress, what it was.
fn is_same(now: &Source, then: &Source) -> bool {
    now.source_id == then.source_id && now.revision == then.revision && !now.paused
}

/// An error as it is shown to users.
fn run_error(error: &SourceError) -> String {
    let mut text = error.message.clone();
    if let Some(detail) = &error.detail {
        text = format!("{text}: {detail}");
    }
    if let Some(hint) = &error.hint {
        text = format!("{text} ({hint})");
    }
    text
}

/// Any number: jitter need not be hard to guess.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

impl Failure {
    /// Whether the same transaction may succeed a moment later.
    fn may_pass(&self) -> bool {
        use PgSqlErrorCode::*;
        matches!(
            self.sqlstate,
            ERRCODE_LOCK_NOT_AVAILABLE
                | ERRCODE_QUERY_CANCELED
                | ERRCODE_T_R_SERIALIZATION_FAILURE
                | ERRCODE_T_R_DEADLOCK_DETECTED
                | ERRCODE_DISK_FULL
                | ERRCODE_OUT_OF_MEMORY
                | ERRCODE_TOO_MANY_CONNECTIONS
                | ERRCODE_INSUFFICIENT_RESOURCES
        )
    }
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> Self {
        let kind = if failure.may_pass() {
            ErrorKind::Io
        } else {
            ErrorKind::Config
        };
        SourceError {
            kind,
            message: failure.message,
            detail: failure.detail,
            hint: failure.hint,
        }
    }
}
