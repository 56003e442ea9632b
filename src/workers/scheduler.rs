//! The scheduler of a database: asks for runs, refreshes and evaluations that are due, says which workers are wanted, and
//! sends webhooks.

use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::evaluations::{self, Evaluations};
use super::process::{self, Bell, now};
use super::shared::{self, Evaluation, Exit, Role};
use super::webhook::Dispatcher;
use crate::catalog::source::Source;
use crate::catalog::view::View;
use crate::catalog::{activation, monitor, source, view};
use crate::ingest::declare;
use crate::monitors::detect;
use crate::views::create;

/// What changes in this database wakes the scheduler; it looks by itself this often all the same.
const PATIENCE: Duration = Duration::from_secs(30);
/// After an error, such as a lock that was not to be had.
const IMPATIENCE: Duration = Duration::from_secs(2);

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cvx_scheduler_main(argument: pg_sys::Datum) {
    let index = argument.value();
    let Some(slot) = shared::slot(index) else { return };
    process::begin(Some(slot.database));
    if process::enter_slot(index).is_none() {
        return;
    }
    // Less than deadlock_timeout: of this worker and a DROP EXTENSION that wait for each other, this one gives way.
    process::set(c"lock_timeout", c"500ms");
    // Its statements are short, also where the planner cannot know that.
    process::set(c"jit", c"off");
    let bell = Bell::new().unwrap_or_else(|error| {
        ereport!(
            PgLogLevel::FATAL,
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
            format!("cvx: could not make an eventfd: {error}")
        );
        unreachable!()
    });
    let mut dispatcher = Dispatcher::new(bell.clone());
    let mut asked = Evaluations::default();
    let mut look_at = Instant::now();
    let (mut schedules, mut shown) = (0, None);
    loop {
        let sending = dispatcher.step();
        // Outcomes of webhooks come by the bell, many in a second, and say nothing of the rest.
        if look_at <= Instant::now() {
            let patience = match process::transaction(|| look(index, &mut asked)) {
                Ok(Some(look)) => {
                    announce(index, &look);
                    schedules = look.schedules;
                    look.patience
                }
                Ok(None) => {
                    evaluations::stop(index);
                    process::finish(index, Exit::NoExtension)
                }
                Err(failure) => {
                    shared::update_slot(index, |slot| slot.error.set(&failure.message));
                    IMPATIENCE
                }
            };
            look_at = Instant::now() + patience;
        }
        let showing = Some((schedules, dispatcher.in_flight()));
        if shown != showing {
            show(index, schedules, dispatcher.in_flight());
            shown = showing;
        }
        let patience = look_at.saturating_duration_since(Instant::now());
        if process::wait(Some(&bell), patience.min(sending)) {
            look_at = Instant::now();
        }
    }
}

struct Look {
    wants_ingest: bool,
    wants_refresh: bool,
    schedules: usize,
    /// Whether a run of a source has become due, and a refresh of a view.
    requested: bool,
    requested_refresh: bool,
    wants_monitor: Option<Evaluation>,
    patience: Duration,
}

/// Looks at all that has a time; None when cvx is not in this database.
fn look(index: usize, asked: &mut Evaluations) -> Result<Option<Look>, ErrorReport> {
    if !process::has_extension() {
        return Ok(None);
    }
    let mut look = Look {
        wants_ingest: false,
        wants_refresh: false,
        schedules: 0,
        requested: false,
        requested_refresh: false,
        wants_monitor: None,
        patience: PATIENCE,
    };
    // Views are of this database alone: a copy of it may keep its own up to date.
    look_at_views(&mut look)?;
    if !activation::is_enabled()? {
        evaluations::stop(index);
        return Ok(Some(look));
    }
    look.wants_refresh |= monitor::all()?.iter().any(detect::is_wanted);
    let (evaluation, patience) = asked.look(index)?;
    look.wants_monitor = evaluation;
    look.patience = look.patience.min(patience);
    let sources = source::all()?;
    let active: Vec<&Source> = sources.iter().filter(|it| !it.paused).collect();
    look.wants_ingest = !active.is_empty();
    let now = now();
    for it in active.into_iter().filter(|it| it.declared.schedule.is_some()) {
        look.schedules += 1;
        let due = match it.state.next_run_at {
            Some(due) if due > now => due,
            at => {
                let next = declare::next_run(&it.declared)?;
                // Without a time it was restored, or has just been resumed: it waits for its next one.
                let is_due = at.is_some();
                let time = next.map(TimestampWithTimeZone::try_from).and_then(Result::ok);
                let set = if is_due {
                    "next_run_at = $2, requested = CASE WHEN status OPERATOR(pg_catalog.=) 'running' THEN requested
                        ELSE COALESCE(requested, 'sync') END"
                } else {
                    "next_run_at = $2"
                };
                source::set_state(it.source_id, set, vec![time.into()])?;
                look.requested |= is_due;
                next.unwrap_or(i64::MAX)
            }
        };
        let until = Duration::from_micros(due.saturating_sub(now).max(0).unsigned_abs());
        look.patience = look.patience.min(until);
    }
    Ok(Some(look))
}

/// Asks for the refreshes that are due.
fn look_at_views(look: &mut Look) -> Result<(), ErrorReport> {
    let views: Vec<View> = view::all()?
        .into_iter()
        .filter(|it| it.policy != "manual")
        .collect();
    look.wants_refresh = !views.is_empty();
    let now = now();
    for it in views.into_iter().filter(|it| it.schedule.is_some()) {
        look.schedules += 1;
        let due = match it.next_run_at {
            Some(due) if due > now => due,
            _ => {
                let next = create::next_run(&it)?;
                let time = next.map(TimestampWithTimeZone::try_from).and_then(Result::ok);
                // Without a time it has just been made: its first computation does not wait for the schedule.
                let set = "next_run_at = $2, requested = true";
                view::set_state(it.view_id, set, vec![time.into()])?;
                look.requested_refresh = true;
                next.unwrap_or(i64::MAX)
            }
        };
        let until = Duration::from_micros(due.saturating_sub(now).max(0).unsigned_abs());
        look.patience = look.patience.min(until);
    }
    Ok(())
}

fn show(index: usize, schedules: usize, webhooks: usize) {
    let mut work = format!("{schedules} schedules");
    if webhooks > 0 {
        work.push_str(&format!(", sending {webhooks} webhooks"));
    }
    process::report(index, &work, false);
}

fn announce(index: usize, look: &Look) {
    let mut changed = false;
    shared::update_slot(index, |slot| {
        changed = slot.wants_ingest != look.wants_ingest
            || slot.wants_refresh != look.wants_refresh
            || slot.wants_monitor != look.wants_monitor;
        slot.wants_ingest = look.wants_ingest;
        slot.wants_refresh = look.wants_refresh;
        slot.wants_monitor = look.wants_monitor;
    });
    if changed {
        shared::wake(shared::launcher().pid);
    }
    let Some(own) = shared::slot(index) else { return };
    if look.requested {
        for (_, slot) in shared::slots() {
            if slot.database == own.database && slot.role == Role::Ingest {
                shared::wake(slot.pid);
            }
        }
    }
    if look.requested_refresh {
        shared::wake_refresh(own.database);
    }
}
