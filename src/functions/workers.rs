//! What background workers do. DDL: sql/install/72_source.sql.

use pgrx::prelude::*;

use crate::workers::{poke, shared};

#[pg_extern(sql = false)]
fn poke(launcher: bool) {
    if launcher {
        poke::launcher();
    } else {
        poke::workers();
    }
}

#[pg_extern(sql = false)]
fn is_preloaded() -> bool {
    shared::is_preloaded()
}

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn worker_slots() -> TableIterator<
    'static,
    (
        name!(pid, Option<i32>),
        name!(role, &'static str),
        name!(datid, Option<pg_sys::Oid>),
        name!(datname, Option<String>),
        name!(state, &'static str),
        name!(current_work, Option<String>),
        name!(started_at, Option<TimestampWithTimeZone>),
        name!(last_error, Option<String>),
    ),
> {
    if !shared::is_preloaded() {
        let row = (None, "launcher", None, None, "not running", None, None, None);
        return TableIterator::once(row);
    }
    let text = |text: String| (!text.is_empty()).then_some(text);
    let time = |micros: i64| TimestampWithTimeZone::try_from(micros).ok();
    let launcher = shared::launcher();
    let running = launcher.pid != 0;
    let mut rows = vec![(
        running.then_some(launcher.pid),
        "launcher",
        None,
        None,
        if running { "running" } else { "not running" },
        text(launcher.work.get()),
        running.then(|| time(launcher.started_at)).flatten(),
        text(launcher.error.get()),
    )];
    for (_, slot) in shared::slots() {
        let state = match slot.state {
            shared::State::Free => continue,
            shared::State::Starting => "starting",
            shared::State::Running => "running",
            shared::State::Ended => "ended",
        };
        rows.push((
            (slot.pid != 0).then_some(slot.pid),
            slot.role.name(),
            Some(slot.database),
            text(slot.database_name.get()),
            state,
            text(slot.work.get()),
            time(slot.started_at),
            text(slot.error.get()),
        ));
    }
    TableIterator::new(rows)
}
