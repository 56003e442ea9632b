//! The refresh worker of a database: keeps views up to date, in batches that end by themselves.

use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::backoff::{self, random};
use super::monitor::note_failure;
use super::process::{self, Failure, now};
use super::shared::{self, Exit};
use crate::catalog::monitor::{self, Monitor};
use crate::catalog::view::{self, View};
use crate::catalog::{activation, detector};
use crate::monitors::condition::Condition;
use crate::monitors::{declare, detect};
use crate::views::compact;
use crate::views::refresh::{Done, Which, step};

/// Without a word from anybody the log is looked at this often: prepared transactions wake nobody.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a wake-up more is gathered for so long: one batch then serves many small transactions.
const GATHER: Duration = Duration::from_millis(50);
/// What a batch should take, and the bounds of what it holds.
const BATCH_TIME: Duration = Duration::from_millis(250);
const LEAST: i64 = 50;
const MOST: i64 = 20_000;

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cvx_refresh_main(argument: pg_sys::Datum) {
    let index = argument.value();
    let Some(slot) = shared::slot(index) else { return };
    process::begin(Some(slot.database));
    if process::enter_slot(index).is_none() {
        return;
    }
    process::set(c"lock_timeout", c"500ms");
    // Whatever the database sets for its sessions.
    process::set(c"default_transaction_isolation", c"read committed");
    process::set(c"default_transaction_read_only", c"off");
    // What a crash takes back, marks and results alike, is computed again.
    process::set(c"synchronous_commit", c"off");
    Refresh {
        index,
        batch: 1000,
        followed: detect::STEP,
    }
    .run()
}

struct Refresh {
    index: usize,
    /// Entities in a batch, as many as BATCH_TIME allows.
    batch: i64,
    /// And in one of a monitor.
    followed: i64,
}

impl Refresh {
    fn run(&mut self) -> ! {
        loop {
            let patience = self.pass();
            if process::wait(None, patience) {
                process::wait(None, GATHER);
            }
        }
    }

    /// Compacts the log and works until nothing is out of date. Returns for how long nothing needs another pass.
    fn pass(&mut self) -> Duration {
        loop {
            // Before the look: what comes after it wakes this worker again.
            shared::update_slot(self.index, |slot| slot.has_work = false);
            let Look { views, monitors } = match process::transaction(look) {
                Ok(Some(look)) if look.views.is_empty() && look.monitors.is_empty() => self.leave(),
                Ok(Some(look)) => look,
                Ok(None) => process::finish(self.index, Exit::NoExtension),
                Err(failure) => {
                    self.note_error(&failure.message);
                    return backoff::delay(1, random());
                }
            };
            let mut busy = false;
            // Somebody waits for what they find.
            for it in &monitors {
                busy |= self.follow(it);
                process::take_signals();
            }
            for it in views.iter().filter(|it| is_due(it)) {
                busy |= self.work(it);
                process::take_signals();
            }
            if !busy {
                self.report("idle", false);
                return next_attempt(&views).min(PATIENCE);
            }
        }
    }

    /// A batch of one view. Whether there is more to do.
    fn work(&mut self, it: &View) -> bool {
        self.report(&format!("refreshing {:?}", it.name), true);
        let (started, batch) = (Instant::now(), self.batch);
        let done = process::transaction(|| {
            // Somebody else computes it: he will be done, or it is looked at again.
            if !view::lock(it.view_id, false)? {
                return Ok(None);
            }
            let done = step(it, Which::All, batch)?;
            if !done.more && it.requested {
                view::set_state(it.view_id, "requested = false", vec![])?;
            }
            Ok(Some(done))
        });
        match done {
            Ok(Some(done)) => {
                self.adapt(&done, started.elapsed());
                done.more
            }
            Ok(None) => false,
            Err(failure) => {
                self.fail(it, &failure);
                false
            }
        }
    }

    /// A batch of the entities that a monitor of change points follows. Whether there is more to do.
    fn follow(&mut self, it: &Monitor) -> bool {
        if !it.is_marked || it.state.next_check_at.is_some_and(|at| at > now()) {
            return false;
        }
        self.report(&format!("following {:?}", it.declared.name), true);
        let (started, batch) = (Instant::now(), self.followed);
        let done = process::transaction(|| {
            let owner = declare::owner_of(it)?;
            let condition = Condition::parse(&it.declared.condition)?;
            let step = detect::step(it, &condition, owner, batch, false)?;
            if it.state.next_check_at.is_some() {
                monitor::set_state(it.monitor_id, "next_check_at = NULL", vec![])?;
            }
            Ok(step.more)
        });
        let noted = match done {
            Ok(more) => {
                if more {
                    self.followed = adapted(batch, started.elapsed()).min(detect::STEP);
                }
                return more;
            }
            Err(failure) => {
                self.note_error(&format!("monitor {:?}: {}", it.declared.name, failure.message));
                process::transaction(|| note_failure(it, &failure.message, false))
            }
        };
        if let Err(failure) = noted {
            self.note_error(&failure.message);
        }
        false
    }

    fn adapt(&mut self, done: &Done, took: Duration) {
        if done.more {
            self.batch = adapted(self.batch, took);
        }
    }

    /// The view waits before it is tried again, longer each time.
    fn fail(&mut self, it: &View, failure: &Failure) {
        let failures = it.failures.saturating_add(1);
        let delay = backoff::delay(failures.unsigned_abs(), random());
        let at = now() + delay.as_micros() as i64;
        let at = TimestampWithTimeZone::try_from(at).ok();
        let noted = process::transaction(|| {
            if !process::has_extension() {
                return Ok(());
            }
            let set = "failures = $2, next_attempt_at = $3, last_error = $4, last_error_at = pg_catalog.clock_timestamp()";
            let arguments = vec![failures.into(), at.into(), failure.message.as_str().into()];
            view::set_state(it.view_id, set, arguments)
        });
        if let Err(failure) = noted {
            self.note_error(&failure.message);
        }
        self.note_error(&format!("view {:?}: {}", it.name, failure.message));
        // One line for each doubling: a view that fails all night does not fill the log.
        if failures.count_ones() == 1 {
            ereport!(
                PgLogLevel::WARNING,
                PgSqlErrorCode::ERRCODE_WARNING,
                format!(
                    "cvx: view {:?} could not be refreshed: {}",
                    it.name, failure.message
                ),
                format!("It is tried again in {} s.", delay.as_secs().max(1))
            );
        }
    }

    fn note_error(&self, message: &str) {
        shared::update_slot(self.index, |slot| slot.error.set(message));
    }

    fn report(&self, work: &str, is_busy: bool) {
        process::report(self.index, work, is_busy);
    }

    /// No view is left that is refreshed by itself: the launcher is told before it could start another worker.
    fn leave(&self) -> ! {
        if let Some(own) = shared::slot(self.index) {
            for (index, slot) in shared::slots() {
                if slot.database == own.database && slot.role == shared::Role::Scheduler {
                    shared::update_slot(index, |slot| slot.wants_refresh = false);
                    shared::wake(slot.pid);
                }
            }
        }
        process::finish(self.index, Exit::NotWanted)
    }
}

/// How many to take next, when so many took so long.
fn adapted(batch: i64, took: Duration) -> i64 {
    let factor = BATCH_TIME.as_secs_f64() / took.as_secs_f64().max(1e-3);
    let next = batch as f64 * factor.clamp(0.5, 2.0);
    (next as i64).clamp(LEAST, MOST)
}

/// What this worker keeps up to date.
struct Look {
    views: Vec<View>,
    /// Those that follow change points.
    monitors: Vec<Monitor>,
}

/// Compacts the log, and looks at what reads it. None when cvx is not in this database.
fn look() -> Result<Option<Look>, ErrorReport> {
    if !process::has_extension() {
        return Ok(None);
    }
    compact::compact(None)?;
    compact::forget_dropped()?;
    let mut views = view::all()?;
    views.retain(|it| it.policy != "manual");
    let marked = compact::marked()?;
    for it in &mut views {
        it.is_marked = marked.contains(&it.view_id);
    }
    let mut monitors = match activation::is_enabled()? {
        true => monitor::all()?,
        false => Vec::new(),
    };
    monitors.retain(detect::is_wanted);
    if !monitors.is_empty() {
        let marked = detector::marked()?;
        for it in &mut monitors {
            it.is_marked = marked.contains(&it.monitor_id);
        }
    }
    Ok(Some(Look { views, monitors }))
}

fn is_due(it: &View) -> bool {
    let waits = it.next_attempt_at.is_some_and(|at| at > now());
    // The first computation does not wait for a schedule.
    let wanted = it.policy == "on_ingest" || it.requested;
    wanted && !waits && (it.is_marked || it.sweep.is_some() || it.requested)
}

fn next_attempt(views: &[View]) -> Duration {
    let now = now();
    let times = views.iter().filter_map(|it| it.next_attempt_at);
    let next = times.filter(|at| *at > now).min();
    next.map_or(PATIENCE, |at| Duration::from_micros((at - now).unsigned_abs()))
}
