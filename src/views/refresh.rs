//! Computing what is out of date. What may happen between what, and why nothing is lost: README.md.

use std::ffi::CStr;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use super::create::owner_of;
use super::{compact, history, source, sweep, write};
use crate::catalog::view::{self, Reads, View};
use crate::catalog::{internal, rights, subtransaction};
use crate::types::TimestampTz;
use crate::workers::poke;
use crate::workers::process::now;

/// An entity that could not be computed is tried again after so long, if nothing changes before.
const RETRY_MICROS: i64 = 300_000_000;
/// When so many entities of a batch fail, the view does, not they.
const MOST_FAILURES: usize = 32;

pub use history::Dirty;

/// What a step came to.
#[derive(Default, Clone, Copy, Debug)]
pub struct Done {
    /// Entities that were computed.
    pub entities: i64,
    pub failed: i64,
    /// Whether there may be more to do.
    pub more: bool,
}

/// Which entities to look at.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    All,
    /// Those of them that are out of date.
    These(&'a [String]),
}

/// One batch of a view that the caller has locked: first all that was marked as a whole, then what was marked by itself.
pub fn step(it: &View, which: Which<'_>, most: i64) -> Result<Done, ErrorReport> {
    // Batches are planned anew, and too short to be compiled.
    with_setting(c"jit", c"off", || batch(it, which, most))
}

fn batch(it: &View, which: Which<'_>, most: i64) -> Result<Done, ErrorReport> {
    let owner = owner_of(it)?;
    rights::as_extension_owner(|| sweep::absorb(it))?;
    let Some(it) = rights::as_extension_owner(|| view::by_id(it.view_id))? else {
        return Ok(Done::default());
    };
    let done = if !it.kind.is_per_entity() {
        cohort(&it, owner)?
    } else {
        let marked = marked(&it, owner, which, most)?;
        match which {
            Which::All if it.sweep.is_some() => {
                let swept = sweep::step(&it, owner, most)?;
                Done {
                    entities: marked.entities + swept.entities,
                    failed: marked.failed + swept.failed,
                    more: true,
                }
            }
            _ => marked,
        }
    };
    if done.entities > 0 || done.failed > 0 || it.failures > 0 {
        rights::as_extension_owner(|| {
            let set = "last_computed = pg_catalog.clock_timestamp(), failures = 0, next_attempt_at = NULL";
            view::set_state(it.view_id, set, vec![])
        })?;
    }
    Ok(done)
}

/// The entities that were marked by themselves.
fn marked(it: &View, owner: pg_sys::Oid, which: Which<'_>, most: i64) -> Result<Done, ErrorReport> {
    let (dirty, more) = rights::as_extension_owner(|| take(it, which, most))?;
    if dirty.is_empty() {
        return Ok(Done::default());
    }
    let done = entities(it, owner, &dirty)?;
    Ok(Done { more, ..done })
}

/// Takes a batch of marks away, and whether there may be more. What is computed after this sees all that they stand for.
fn take(it: &View, which: Which<'_>, most: i64) -> Result<(Vec<Dirty>, bool), ErrorReport> {
    let mut conditions = String::from(
        "s.view_id OPERATOR(pg_catalog.=) $1 AND s.entity_id IS NOT NULL
         AND (s.retry_at IS NULL OR s.retry_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp())",
    );
    let mut arguments = vec![it.view_id.into(), most.into()];
    if let Which::These(ids) = which {
        conditions.push_str(" AND s.entity_id OPERATOR(pg_catalog.=) ANY ($3)");
        arguments.push(ids.to_vec().into());
    } else if let Some(sweep) = &it.sweep {
        // The sweep will come to those after its position.
        let Some(position) = &sweep.position else {
            return Ok((Vec::new(), false));
        };
        conditions.push_str(&format!(
            " AND s.entity_id::{0} OPERATOR(pg_catalog.<=) $3::{0}",
            it.entity_type
        ));
        arguments.push(position.clone().into());
    }
    // What somebody is marking right now is left to him. An entity may have several marks.
    let query = format!(
        "WITH due AS MATERIALIZED (
            SELECT s.entity_id FROM cvx.stale s WHERE {conditions} ORDER BY s.entity_id LIMIT $2 FOR UPDATE SKIP LOCKED),
         taken AS MATERIALIZED (
            SELECT s.ctid AS place FROM cvx.stale s WHERE s.view_id OPERATOR(pg_catalog.=) $1
                AND s.entity_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT e.entity_id FROM due e)) FOR UPDATE SKIP LOCKED)
         DELETE FROM cvx.stale d WHERE d.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT t.place FROM taken t))
         RETURNING d.entity_id, d.from_ts, d.stale_since"
    );
    let marks = Spi::connect_mut(|client| {
        let rows = client.update(query.as_str(), None, &arguments)?;
        rows.into_iter()
            .map(|row| {
                let time = |i| {
                    row.get::<TimestampWithTimeZone>(i)
                        .map(|it| it.map(TimestampTz::from))
                };
                Ok(Dirty {
                    entity_id: row.get(1)?.unwrap_or_default(),
                    from_ts: time(2)?,
                    stale_since: time(3)?.unwrap_or_default(),
                })
            })
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)?;
    let more = marks.len() as i64 >= most;
    Ok((merged(marks), more))
}

/// One mark an entity, of the earliest times.
fn merged(mut marks: Vec<Dirty>) -> Vec<Dirty> {
    marks.sort_by(|a, b| a.entity_id.cmp(&b.entity_id));
    marks.dedup_by(|next, kept| {
        let is_same = next.entity_id == kept.entity_id;
        if is_same {
            kept.from_ts = kept.from_ts.zip(next.from_ts).map(|(a, b)| a.min(b));
            kept.stale_since = kept.stale_since.min(next.stale_since);
        }
        is_same
    });
    marks
}

/// Computes entities. One that fails is put aside with its error, and the others go on.
pub(super) fn entities(it: &View, owner: pg_sys::Oid, dirty: &[Dirty]) -> Result<Done, ErrorReport> {
    let mut failures: Vec<(Dirty, String)> = Vec::new();
    let count = part(it, owner, dirty, &mut failures)?;
    if !failures.is_empty() {
        rights::as_extension_owner(|| put_aside(it, &failures))?;
    }
    let failed = failures.len() as i64;
    Ok(Done {
        entities: count,
        failed,
        more: false,
    })
}

fn part(
    it: &View,
    owner: pg_sys::Oid,
    dirty: &[Dirty],
    failures: &mut Vec<(Dirty, String)>,
) -> Result<i64, ErrorReport> {
    if dirty.is_empty() {
        return Ok(0);
    }
    let done = subtransaction::attempt(
        || {
            let change = rights::restricted_to(owner, || {
                let change = write::entities(it, dirty)?;
                if it.config.history {
                    history::update(it, dirty)?;
                }
                Ok(change)
            })?;
            rights::as_extension_owner(|| note_entities(it, change))?;
            Ok(None)
        },
        |error| match of_the_entity(&error) {
            Some(message) if failures.len() < MOST_FAILURES => Ok(Some(message)),
            _ => error.rethrow(),
        },
    )?;
    match done {
        None => Ok(dirty.len() as i64),
        Some(message) if dirty.len() == 1 => {
            failures.push((dirty[0].clone(), message));
            Ok(0)
        }
        Some(_) => {
            let (left, right) = dirty.split_at(dirty.len() / 2);
            Ok(part(it, owner, left, failures)? + part(it, owner, right, failures)?)
        }
    }
}

/// How many entities the view has now.
pub(super) fn note_entities(it: &View, change: i64) -> Result<(), ErrorReport> {
    if change == 0 {
        return Ok(());
    }
    let set = "entities = GREATEST(entities OPERATOR(pg_catalog.+) $2, 0)";
    view::set_state(it.view_id, set, vec![change.into()])
}

/// What PostgreSQL said, if it is about what an entity holds, so that others may pass: classes 22 (data exception), 54
/// (program limit exceeded) and a version without its map.
pub fn of_the_entity(error: &CaughtError) -> Option<String> {
    let (CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)) = error else {
        return None;
    };
    let class = report.sql_error_code() as i32 & 0xFFF;
    let of = |code: PgSqlErrorCode| code as i32 & 0xFFF;
    let is_data = class == of(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION)
        || class == of(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED)
        || report.sql_error_code() == PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    is_data.then(|| report.message().to_owned())
}

fn put_aside(it: &View, failures: &[(Dirty, String)]) -> Result<(), ErrorReport> {
    let insert = "INSERT INTO cvx.stale (view_id, entity_id, stale_since, from_ts, error, retry_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let time = |it: TimestampTz| TimestampWithTimeZone::try_from(it).ok();
    for (dirty, message) in failures {
        let arguments = [
            it.view_id.into(),
            dirty.entity_id.as_str().into(),
            time(dirty.stale_since).into(),
            dirty.from_ts.and_then(time).into(),
            message.as_str().into(),
            time(now() + RETRY_MICROS).into(),
        ];
        Spi::run_with_args(insert, &arguments).map_err(internal)?;
    }
    let last = &failures[failures.len() - 1];
    let message = format!("entity {}: {}", last.0.entity_id, last.1);
    view::set_state(
        it.view_id,
        "last_error = $2, last_error_at = pg_catalog.clock_timestamp()",
        vec![message.into()],
    )
}

/// A cohort is computed as a whole or not at all.
fn cohort(it: &View, owner: pg_sys::Oid) -> Result<Done, ErrorReport> {
    if it.sweep.is_none() {
        return Ok(Done::default());
    }
    rights::as_extension_owner(|| sweep::end(it))?;
    let entities = rights::restricted_to(owner, || write::whole(it))?;
    rights::as_extension_owner(|| view::set_state(it.view_id, "entities = $2", vec![entities.into()]))?;
    Ok(Done {
        entities,
        ..Done::default()
    })
}

/// What cvx.refresh_view does, in the transaction of its caller.
pub fn refresh(name: &str, ids: Option<Vec<String>>, force: bool) -> Result<i64, ErrorReport> {
    const BATCH: i64 = 2000;
    let it = super::create::owned(name)?;
    let ids = ids
        .map(|ids| source::spelled(&ids, &it.entity_type))
        .transpose()?;
    rights::as_extension_owner(|| {
        if !view::lock(it.view_id, true)? {
            return Err(crate::error::Error::UnknownView {
                name: name.to_owned(),
            }
            .into());
        }
        compact::compact(Some(&sources(&it)?))?;
        compact::forget_errors(it.view_id)?;
        match (&ids, force) {
            (Some(ids), true) if it.kind.is_per_entity() => compact::mark(it.view_id, ids),
            (_, true) => compact::mark_all(it.view_id),
            _ => Ok(()),
        }
    })?;
    let which = match &ids {
        Some(ids) if it.kind.is_per_entity() => Which::These(ids),
        _ => Which::All,
    };
    let (mut total, mut failed) = (0, 0);
    loop {
        let done = step(&it, which, BATCH)?;
        total += done.entities;
        failed += done.failed;
        if !done.more {
            break;
        }
        pgrx::check_for_interrupts!();
    }
    if failed > 0 {
        ereport!(
            PgLogLevel::WARNING,
            PgSqlErrorCode::ERRCODE_WARNING,
            format!("{failed} entities of view {name:?} could not be computed and stay out of date"),
            "SELECT entity_id, error FROM cvx.stale says why."
        );
    }
    // Marks of other views were made as well.
    poke::refresh();
    rights::as_extension_owner(|| {
        view::set_state(it.view_id, "requested = false", vec![])?;
        if is_own(&it)? {
            // Others do not see yet what reads their changes, and may have moved them from the log without marking it.
            compact::mark_all(it.view_id)?;
            ereport!(
                PgLogLevel::NOTICE,
                PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
                format!("view {name:?} stays out of date until it is refreshed after this transaction"),
                "What it reads was decided in this transaction, to which the changes of others cannot be marked."
            );
        }
        Ok(())
    })?;
    Ok(total)
}

/// What a view reads, as the log numbers it.
fn sources(it: &View) -> Result<Vec<i32>, ErrorReport> {
    match &it.reads {
        Reads::Space(id) => Ok(vec![*id]),
        Reads::Table(id) => Ok(vec![-*id]),
        Reads::Model(model) => view::spaces_of(model),
    }
}

/// Whether this transaction made the view or changed which spaces its model has.
fn is_own(it: &View) -> Result<bool, ErrorReport> {
    let query = "SELECT v.xmin::pg_catalog.text FROM cvx.view v WHERE v.view_id OPERATOR(pg_catalog.=) $1
        UNION ALL
        SELECT m.xmin::pg_catalog.text FROM cvx.view v JOIN cvx.model_version m ON m.model OPERATOR(pg_catalog.=) v.model
        WHERE v.view_id OPERATOR(pg_catalog.=) $1";
    let xids = Spi::connect(|client| {
        let rows = client.select(query, None, &[it.view_id.into()])?;
        rows.map(|row| row.get::<String>(1))
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)?;
    let mut xids = xids.into_iter().flatten().filter_map(|it| it.parse::<u32>().ok());
    // SAFETY: looks at the transaction's own ids.
    Ok(xids.any(|it| unsafe { pg_sys::TransactionIdIsCurrentTransactionId(it.into()) }))
}

/// Runs with another value of a setting, which ends with `body` or with the transaction.
fn with_setting<T>(
    name: &CStr,
    value: &CStr,
    body: impl FnOnce() -> Result<T, ErrorReport>,
) -> Result<T, ErrorReport> {
    // SAFETY: C strings that outlive the call; the nest level is closed below, or by the transaction's end.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        let done = body();
        if done.is_ok() {
            pg_sys::AtEOXact_GUC(true, level);
        }
        done
    }
}
