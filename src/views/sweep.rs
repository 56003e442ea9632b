//! A pass over all entities of a view, in the order of their ids: batch by batch, resumed where it was.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::refresh::{self, Dirty, Done};
use super::{history, source, write};
use crate::catalog::view::{self, Kind, Sweep, View};
use crate::catalog::{internal, rights, subtransaction};

/// Slices of a batch: parallel workers take them one after the other.
const SLICES: usize = 20;
/// A larger one would keep the view locked for long.
const MOST_IN_SLICE: i64 = 20_000;

/// Makes a sweep of what marks the view as a whole. One that is under way begins anew: what it has done may be out of
/// date again.
pub fn absorb(it: &View) -> Result<(), ErrorReport> {
    let query = "WITH marks AS (
            DELETE FROM cvx.stale s WHERE s.view_id OPERATOR(pg_catalog.=) $1 AND s.entity_id IS NULL
            RETURNING s.stale_since),
        since AS (SELECT pg_catalog.min(m.stale_since) AS since FROM marks m)
        UPDATE cvx.view_state t SET sweep_since = LEAST(t.sweep_since, n.since), sweep_position = NULL, sweep_done = 0,
            sweep_total = NULL, sweep_started_at = pg_catalog.clock_timestamp()
        FROM since n WHERE t.view_id OPERATOR(pg_catalog.=) $1 AND n.since IS NOT NULL";
    Spi::run_with_args(query, &[it.view_id.into()]).map_err(internal)
}

pub fn end(it: &View) -> Result<(), ErrorReport> {
    let set = "sweep_since = NULL, sweep_position = NULL, sweep_done = 0, sweep_total = NULL, sweep_started_at = NULL";
    view::set_state(it.view_id, set, vec![])
}

/// The next batch. Marks of single entities stay: what changed meanwhile is computed again.
pub fn step(it: &View, owner: pg_sys::Oid, most: i64) -> Result<Done, ErrorReport> {
    let Some(sweep) = &it.sweep else {
        return Ok(Done::default());
    };
    if sweep.done == 0 && sweep.position.is_none() {
        rights::as_extension_owner(|| note_total(it))?;
    }
    // A range is computed by scans of its own; entities one by one where each has several rows or a history.
    if it.kind == Kind::TemporalFeatures && !it.config.history {
        let bounds = rights::as_extension_owner(|| bounds(it, sweep))?;
        let ranged = subtransaction::attempt(
            || {
                rights::restricted_to(owner, || match bounds {
                    Some((bounds, to_end)) => write::slices(it, sweep, &bounds, to_end),
                    None => write::range(it, sweep, most),
                })
                .map(Some)
            },
            |error| match refresh::of_the_entity(&error) {
                Some(_) => Ok(None),
                None => error.rethrow(),
            },
        )?;
        if let Some(range) = ranged {
            rights::as_extension_owner(|| {
                refresh::note_entities(it, range.change)?;
                advance(it, sweep, range.last, range.entities)
            })?;
            return Ok(Done {
                entities: range.entities,
                failed: 0,
                more: true,
            });
        }
    }
    let ids = rights::restricted_to(owner, || next_entities(it, sweep, most))?;
    let dirty: Vec<Dirty> = ids
        .iter()
        .map(|id| Dirty {
            entity_id: id.clone(),
            from_ts: None,
            stale_since: sweep.since,
        })
        .collect();
    let done = refresh::entities(it, owner, &dirty)?;
    let last = (ids.len() as i64 >= most).then(|| ids.last().cloned()).flatten();
    let gone = rights::restricted_to(owner, || {
        let gone = write::forget_others(it, sweep, last.as_deref(), &ids)?;
        if it.config.history && last.is_none() {
            history::forget_gone(it, sweep.since)?;
        }
        Ok(gone)
    })?;
    rights::as_extension_owner(|| {
        refresh::note_entities(it, -gone)?;
        advance(it, sweep, last, done.entities)
    })?;
    Ok(Done { more: true, ..done })
}

/// The next entities after the position, in order.
fn next_entities(it: &View, sweep: &Sweep, most: i64) -> Result<Vec<String>, ErrorReport> {
    let query = format!(
        "SELECT e.entity_id::pg_catalog.text FROM ({}) e {} ORDER BY e.entity_id LIMIT $1",
        source::entities_query(it)?,
        write::after(it, "e", &sweep.position)
    );
    let arguments = [most.into()];
    Spi::connect_mut(|client| {
        let rows = client.update(query.as_str(), None, &arguments)?;
        rows.into_iter()
            .map(|row| Ok(row.get::<String>(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)
}

/// Bounds of the next slices, from the planner's statistics, and whether the last slice is the rest. None when there
/// are no statistics, or when slices would be too large or too small to be worth it.
fn bounds(it: &View, sweep: &Sweep) -> Result<Option<(Vec<String>, bool)>, ErrorReport> {
    let (names, column) = watched_by(it)?;
    let id = format!("b.bound::{}{}", it.entity_type, collation(it)?);
    // Of a partitioned table or a model there is no one histogram.
    let query = format!(
        "SELECT b.bound, b.slices FROM (
            SELECT h.bound, pg_catalog.array_length(s.bounds, 1) AS slices
            FROM (SELECT pg_catalog.min(p.histogram_bounds::pg_catalog.text)::pg_catalog.text[] AS bounds
                  FROM pg_catalog.pg_trigger t
                  JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid
                   AND c.relkind OPERATOR(pg_catalog.=) 'r'
                  JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
                  JOIN pg_catalog.pg_stats p ON p.schemaname OPERATOR(pg_catalog.=) n.nspname
                   AND p.tablename OPERATOR(pg_catalog.=) c.relname AND p.attname OPERATOR(pg_catalog.=) $2
                   AND NOT p.inherited
                  WHERE t.tgname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[])
                  HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) 1) s
            CROSS JOIN LATERAL pg_catalog.unnest(s.bounds) h(bound)) b
         {} ORDER BY {id} LIMIT {}",
        write::after(it, "b", &sweep.position).replace("b.entity_id", &id),
        SLICES + 1
    );
    let found = Spi::connect_mut(|client| {
        let rows = client.update(query.as_str(), None, &[names.into(), column.into()])?;
        rows.into_iter()
            .map(|row| {
                Ok((
                    row.get::<String>(1)?.unwrap_or_default(),
                    row.get::<i32>(2)?.unwrap_or_default(),
                ))
            })
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)?;
    let total: i64 = rights::as_extension_owner(|| total(it))?.unwrap_or_default();
    let Some((_, slices)) = found.first() else {
        return Ok(None);
    };
    let entities = total / i64::from((*slices).max(2) - 1);
    if !(20..=MOST_IN_SLICE).contains(&entities) {
        return Ok(None);
    }
    let to_end = found.len() <= SLICES;
    let bounds = found.into_iter().take(SLICES).map(|(bound, _)| bound).collect();
    Ok(Some((bounds, to_end)))
}

/// How the ids of a view are ordered, where they are texts.
fn collation(it: &View) -> Result<String, ErrorReport> {
    let query = "SELECT pg_catalog.format(' COLLATE %I.%I', n.nspname, c.collname)
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_collation c ON c.oid OPERATOR(pg_catalog.=) a.attcollation
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.collnamespace
        WHERE a.attrelid OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.regclass
          AND a.attname OPERATOR(pg_catalog.=) 'entity_id'";
    let found = Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[it.relation("cvx_view_data").into()])?;
        rows.map(|row| row.get::<String>(1)).next().transpose()
    });
    Ok(found.map_err(internal)?.flatten().unwrap_or_default())
}

/// Without a last entity there are no more.
fn advance(it: &View, sweep: &Sweep, last: Option<String>, entities: i64) -> Result<(), ErrorReport> {
    match last {
        None => end(it),
        Some(last) => view::set_state(
            it.view_id,
            "sweep_position = $2, sweep_done = $3",
            vec![last.into(), (sweep.done + entities).into()],
        ),
    }
}

/// About how many entities there are, by the planner's statistics.
fn total(it: &View) -> Result<Option<i64>, ErrorReport> {
    let query = "SELECT pg_catalog.sum(CASE WHEN s.stadistinct OPERATOR(pg_catalog.<) 0
                THEN -s.stadistinct OPERATOR(pg_catalog.*) c.reltuples ELSE s.stadistinct END)::pg_catalog.int8
        FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid AND c.relkind OPERATOR(pg_catalog.=) 'r'
        JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
         AND a.attname OPERATOR(pg_catalog.=) $2
        JOIN pg_catalog.pg_statistic s ON s.starelid OPERATOR(pg_catalog.=) c.oid
         AND s.staattnum OPERATOR(pg_catalog.=) a.attnum AND NOT s.stainherit
        WHERE t.tgname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[])";
    let (names, column) = watched_by(it)?;
    Spi::get_one_with_args::<i64>(query, &[names.into(), column.into()])
        .map(|total| total.filter(|it| *it > 0))
        .map_err(internal)
}

fn note_total(it: &View) -> Result<(), ErrorReport> {
    view::set_state(it.view_id, "sweep_total = $2", vec![total(it)?.into()])
}

/// The names of the triggers on what a view reads, and the column of its entities.
fn watched_by(it: &View) -> Result<(Vec<String>, String), ErrorReport> {
    use crate::catalog::view::Reads;
    let entity_id = String::from("entity_id");
    Ok(match &it.reads {
        Reads::Space(id) => (vec![format!("cvx_invalidate_insert_{id}")], entity_id),
        Reads::Model(model) => (
            view::spaces_of(model)?
                .iter()
                .map(|id| format!("cvx_invalidate_insert_{id}"))
                .collect(),
            entity_id,
        ),
        Reads::Table(id) => {
            let query = "SELECT t.entity_column::pg_catalog.text FROM cvx.tracked_table t
                WHERE t.tracked_id OPERATOR(pg_catalog.=) $1";
            let column = Spi::get_one_with_args::<String>(query, &[(*id).into()]).map_err(internal)?;
            (
                vec![format!("cvx_invalidate_insert_m{id}")],
                column.unwrap_or(entity_id),
            )
        }
    })
}
