//! The scheduler of a database: asks for the runs that are due, and says whether an ingest worker is wanted.

use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::process::{self, now};
use super::shared::{self, Exit, Role};
use crate::catalog::source::Source;
use crate::catalog::{activation, source};
use crate::ingest::declare;

/// What changes in this database wakes the scheduler; it looks by itself this often all the same.
const PATIENCE: Duration = Duration::from_secs(30);

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cvx_scheduler_main(argument: pg_sys::Datum) {
    let index = argument.value();
    let Some(slot) = shared::slot(index) else { return };
    process::begin(Some(slot.database));
    if process::enter_slot(index).is_none() {
        return;
    }
    process::set(c"lock_timeout", c"2s");
    loop {
        let patience = match process::transaction(look) {
            Ok(Some(look)) => {
                announce(index, &look);
                look.patience
            }
            Ok(None) => process::finish(index, Exit::NoExtension),
            Err(failure) => {
                shared::update_slot(index, |slot| slot.error.set(&failure.message));
                PATIENCE
            }
        };
        process::wait(None, patience);
    }
}

struct Look {
    wants_ingest: bool,
    schedules: usize,
    requested: bool,
    patience: Duration,
}

/// Looks at all sources; None when cvx is not in this database.
fn look() -> Result<Option<Look>, ErrorReport> {
    if !process::has_extension() {
        return Ok(None);
    }
    let mut look = Look {
        wants_ingest: false,
        schedules: 0,
        requested: false,
        patience: PATIENCE,
    };
    if !activation::is_enabled()? {
        return Ok(Some(look));
    }
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

fn announce(index: usize, look: &Look) {
    let mut changed = false;
    shared::update_slot(index, |slot| {
        changed = slot.wants_ingest != look.wants_ingest;
        slot.wants_ingest = look.wants_ingest;
    });
    process::report(index, &format!("{} schedules", look.schedules), false);
    if changed {
        shared::wake(shared::launcher().pid);
    }
    if look.requested {
        let Some(own) = shared::slot(index) else { return };
        for (_, slot) in shared::slots() {
            if slot.database == own.database && slot.role == Role::Ingest {
                shared::wake(slot.pid);
            }
        }
    }
}
