//! The scheduler's part in monitors: which is to be evaluated next, and what became of the one before.

use std::collections::HashMap;
use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::monitor::{is_due, note_failure};
use super::process::now;
use super::shared::{self, Evaluation, Exit, Role, State};
use crate::catalog::monitor::{self, Monitor};
use crate::monitors::condition::Condition;
use crate::monitors::{custom, declare};
use crate::types::TimestampTz;

/// While something is being evaluated its time is looked at this often.
const WATCH: Duration = Duration::from_millis(250);
/// A process that is cancelled has so long, in microseconds, to take note.
const GRACE: i64 = 1_000_000;
/// One that was asked for and has not ended after so long does not come.
const STARTUP: i64 = 60_000_000;

/// What was asked for, and is not known to have ended.
struct Asked {
    evaluation: Evaluation,
    /// The count of workers that had ended before.
    ended: u32,
    at: TimestampTz,
}

/// What the scheduler remembers from one look to the next.
#[derive(Default)]
pub struct Evaluations {
    asked: Option<Asked>,
}

impl Evaluations {
    /// Looks at all monitors. What is to be evaluated, and how long nothing else is due. In a transaction.
    pub fn look(&mut self, index: usize) -> Result<(Option<Evaluation>, Duration), ErrorReport> {
        let Some(own) = shared::slot(index) else {
            return Ok((None, WATCH));
        };
        // First, so that what a process that has ended has noted is seen below.
        let worker = worker_of(&own);
        let monitors: Vec<Monitor> = monitor::all()?.into_iter().filter(|it| !it.paused).collect();
        if let Some(slot) = worker {
            if let Some(Evaluation::Query { monitor_id, .. }) = slot.evaluation
                && !monitors.iter().any(|it| it.monitor_id == monitor_id)
            {
                // Nobody waits for what it finds.
                monitor::set_state(monitor_id, "running_since = NULL", vec![])?;
                super::terminate(slot.pid);
            } else {
                stop_overdue(&slot, &monitors)?;
            }
            return Ok((slot.evaluation, WATCH));
        }
        if let Some(asked) = &self.asked {
            let waits = asked.ended == own.monitors_ended && now() - asked.at < STARTUP;
            if waits {
                return Ok((Some(asked.evaluation), WATCH));
            }
        }
        let exit = self.asked.take().map(|_| own.monitor_exit);
        let left: Vec<(&Monitor, TimestampTz)> = monitors
            .iter()
            .filter_map(|it| it.state.running_since.map(|since| (it, since)))
            .collect();
        for &(it, since) in &left {
            if crashed(since, exit) {
                note_failure(it, "the process in which it was evaluated ended", true)?;
            } else {
                // Not at once: a query that ends its own process leaves the others their turn.
                let set =
                    "running_since = NULL, last_error = $2, last_error_at = pg_catalog.clock_timestamp(),
                    next_check_at = pg_catalog.clock_timestamp()
                        OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => 1)";
                let message = "the process in which it was evaluated was ended";
                monitor::set_state(it.monitor_id, set, vec![message.into()])?;
            }
        }
        if !left.is_empty() {
            // When they are due now, the next look tells.
            return Ok((None, WATCH));
        }
        let next = choose(&monitors)?;
        if let Some(evaluation) = next {
            self.asked = Some(Asked {
                evaluation,
                ended: own.monitors_ended,
                at: now(),
            });
        }
        let patience = monitors
            .iter()
            .filter(|it| by_clock(it))
            .filter_map(|it| it.state.next_check_at);
        let patience = patience.filter(|at| *at > now()).min();
        let patience = patience.map_or(Duration::MAX, |at| {
            Duration::from_micros((at - now()).max(0).unsigned_abs())
        });
        // Due and not chosen: it was refused, and is due again at a time that is not known here.
        let is_refused = monitors.iter().any(|it| is_due(it) && by_clock(it));
        Ok((
            next,
            if next.is_some() || is_refused {
                WATCH
            } else {
                patience
            },
        ))
    }
}

/// Ends what is being evaluated in the database of a scheduler.
pub fn stop(index: usize) {
    if let Some(slot) = shared::slot(index).and_then(|own| worker_of(&own)) {
        super::terminate(slot.pid);
    }
}

fn worker_of(scheduler: &shared::Slot) -> Option<shared::Slot> {
    let slots = shared::slots().into_iter().map(|(_, slot)| slot);
    let mut workers = slots.filter(|it| it.database == scheduler.database && it.role == Role::Monitor);
    workers.find(|it| it.state != State::Ended)
}

/// Whether an evaluation took its process with it. `exit`: how that ended, if this scheduler knows. If not, the server's
/// processes have all begun anew: by themselves, since one of them crashed, or since somebody has stopped the server.
fn crashed(since: TimestampTz, exit: Option<Exit>) -> bool {
    match exit {
        Some(exit) => exit == Exit::Failed,
        // SAFETY: a plain variable, set before any process is forked.
        None => since > unsafe { pg_sys::PgStartTime },
    }
}

fn by_clock(it: &Monitor) -> bool {
    let condition = Condition::parse(&it.declared.condition);
    !condition.is_ok_and(|condition| condition.is_event_driven())
}

/// Ends a process whose time was up a while ago: it may be in a query that catches its cancellation.
fn stop_overdue(slot: &shared::Slot, monitors: &[Monitor]) -> Result<(), ErrorReport> {
    if now() < slot.deadline.saturating_add(GRACE) {
        return Ok(());
    }
    for it in monitors.iter().filter(|it| it.state.running_since.is_some()) {
        note_failure(it, "it was ended: it went on after cvx.monitor_timeout", false)?;
    }
    super::terminate(slot.pid);
    Ok(())
}

/// What is due for longest: cvx's own conditions all together, or the query of one monitor.
fn choose(monitors: &[Monitor]) -> Result<Option<Evaluation>, ErrorReport> {
    let mut last: HashMap<&str, TimestampTz> = HashMap::new();
    for it in monitors {
        let evaluated = it.state.last_evaluated_at.unwrap_or(TimestampTz::MIN);
        let of_owner = last.entry(&it.owner).or_insert(evaluated);
        *of_owner = evaluated.max(*of_owner);
    }
    let mut built_in: Option<TimestampTz> = None;
    let mut queries: Vec<&Monitor> = Vec::new();
    for it in monitors.iter().filter(|it| is_due(it) && by_clock(it)) {
        let since = it.state.next_check_at.unwrap_or(TimestampTz::MIN);
        match Condition::parse(&it.declared.condition) {
            Ok(condition) if condition.is_query() => queries.push(it),
            _ => built_in = Some(built_in.map_or(since, |before| before.min(since))),
        }
    }
    // Of several roles the one whose queries have waited longest.
    queries.sort_by_key(|it| (last.get(it.owner.as_str()).copied(), it.state.next_check_at));
    for it in queries {
        if built_in.is_some_and(|since| since <= it.state.next_check_at.unwrap_or(TimestampTz::MIN)) {
            break;
        }
        match login(it) {
            Ok(login) => {
                // If its process does not even begin, that stays.
                monitor::set_state(
                    it.monitor_id,
                    "running_since = pg_catalog.clock_timestamp()",
                    vec![],
                )?;
                let monitor_id = it.monitor_id;
                return Ok(Some(Evaluation::Query { monitor_id, login }));
            }
            Err(error) => note_failure(it, error.message(), false)?,
        }
    }
    Ok(built_in.map(|_| Evaluation::BuiltIn))
}

/// The role as which a monitor's query runs.
fn login(it: &Monitor) -> Result<pg_sys::Oid, ErrorReport> {
    let owner = declare::owner_of(it)?;
    custom::check_owner(owner)?;
    let query = "SELECT r.rolcanlogin AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
        FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) $1";
    let may = Spi::get_one_with_args::<bool>(query, &[owner.into()]).map_err(crate::catalog::internal)?;
    if may != Some(true) {
        return Err(crate::monitors::refused(
            PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            format!(
                "role {:?} may not log in, and its queries run in sessions of it",
                it.owner
            ),
            "Give the role LOGIN, or drop the monitor and create it as another role.",
        ));
    }
    Ok(owner)
}
