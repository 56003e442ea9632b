use std::collections::{HashMap, HashSet};

use cvx_math::bocpd::Detector;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Statements, internal, prepared};
use crate::types::TimestampTz;
use crate::types::bocpd_state::BocpdState;
use crate::workers::process::now;

/// An entity that could not be followed is tried again after so long, if nothing changes before.
const RETRY_MICROS: i64 = 300_000_000;

thread_local! {
    /// By the oid of the state's type, which never comes again.
    static STORE: Statements<pg_sys::Oid> = Statements::default();
}

/// An entity that has changed.
#[derive(Clone, Debug)]
pub struct Mark {
    pub entity_id: String,
    /// The least event time among what changed; None: unknown.
    pub from_ts: Option<TimestampTz>,
    pub since: TimestampTz,
}

/// A row of cvx.detector.
pub struct Kept {
    pub detector: Detector,
    pub last_ts: TimestampTz,
    pub reported_ts: Option<TimestampTz>,
}

fn time(ts: TimestampTz) -> DatumWithOid<'static> {
    // SAFETY: a timestamptz is passed by value as these 8 bytes.
    unsafe { DatumWithOid::new(ts, pg_sys::TIMESTAMPTZOID) }
}

fn optional(ts: Option<TimestampTz>) -> DatumWithOid<'static> {
    match ts {
        Some(ts) => time(ts),
        None => DatumWithOid::null_oid(pg_sys::TIMESTAMPTZOID),
    }
}

/// When all of a source may have changed, every detector begins anew.
pub fn absorb(monitor_id: i32) -> Result<(), ErrorReport> {
    let query = "WITH whole AS (
            DELETE FROM cvx.stale s WHERE s.view_id OPERATOR(pg_catalog.=) $1 AND s.entity_id IS NULL RETURNING 1)
        DELETE FROM cvx.detector d WHERE d.monitor_id OPERATOR(pg_catalog.=) $2 AND EXISTS (SELECT FROM whole)";
    Spi::run_with_args(query, &[(-monitor_id).into(), monitor_id.into()]).map_err(internal)
}

/// The monitors that have something to follow now.
pub fn marked() -> Result<HashSet<i32>, ErrorReport> {
    let query = "SELECT OPERATOR(pg_catalog.-) r.view_id FROM cvx.monitor_reader r WHERE EXISTS (
            SELECT FROM cvx.stale s WHERE s.view_id OPERATOR(pg_catalog.=) r.view_id
              AND (s.retry_at IS NULL OR s.retry_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()))";
    Spi::connect(|client| {
        let rows = client.select(query, None, &[])?;
        rows.map(|row| Ok(row.get::<i32>(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// Takes a batch of marks away. What is read after this holds all that they stand for.
pub fn take_marks(monitor_id: i32, most: i64) -> Result<Vec<Mark>, ErrorReport> {
    let query = "WITH due AS MATERIALIZED (
            SELECT s.entity_id FROM cvx.stale s
            WHERE s.view_id OPERATOR(pg_catalog.=) $1 AND s.entity_id IS NOT NULL
              AND (s.retry_at IS NULL OR s.retry_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp())
            ORDER BY s.entity_id LIMIT $2 FOR UPDATE SKIP LOCKED),
        taken AS (
            DELETE FROM cvx.stale d WHERE d.view_id OPERATOR(pg_catalog.=) $1
                AND d.entity_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT e.entity_id FROM due e))
            RETURNING d.entity_id, d.from_ts, d.stale_since)
        SELECT t.entity_id, CASE WHEN pg_catalog.bool_and(t.from_ts IS NOT NULL) THEN pg_catalog.min(t.from_ts) END,
            pg_catalog.min(t.stale_since)
        FROM taken t GROUP BY t.entity_id ORDER BY t.entity_id";
    Spi::connect_mut(|client| {
        let rows = client.update(query, None, &[(-monitor_id).into(), most.into()])?;
        rows.into_iter()
            .map(|row| {
                let time = |i| {
                    row.get::<TimestampWithTimeZone>(i)
                        .map(|it| it.map(TimestampTz::from))
                };
                Ok(Mark {
                    entity_id: row.get(1)?.unwrap_or_default(),
                    from_ts: time(2)?,
                    since: time(3)?.unwrap_or_default(),
                })
            })
            .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// Marks that could not be followed, with the reason.
pub fn put_aside(monitor_id: i32, failures: &[(Mark, String)]) -> Result<(), ErrorReport> {
    let insert = "INSERT INTO cvx.stale (view_id, entity_id, stale_since, from_ts, error, retry_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    for (mark, message) in failures {
        let message = format!("entity {}: {message}", mark.entity_id);
        let arguments = [
            (-monitor_id).into(),
            mark.entity_id.as_str().into(),
            time(mark.since),
            optional(mark.from_ts),
            message.as_str().into(),
            time(now() + RETRY_MICROS),
        ];
        Spi::run_with_args(insert, &arguments).map_err(internal)?;
    }
    Ok(())
}

pub fn load(monitor_id: i32, ids: Vec<String>) -> Result<HashMap<String, Kept>, ErrorReport> {
    let query = "SELECT d.entity_id, d.state, d.last_ts, d.reported_ts FROM cvx.detector d
        WHERE d.monitor_id OPERATOR(pg_catalog.=) $1 AND d.entity_id OPERATOR(pg_catalog.=) ANY ($2)";
    Spi::connect(|client| {
        let mut found = HashMap::new();
        for row in client.select(query, None, &[monitor_id.into(), ids.into()])? {
            let time = |i| {
                row.get::<TimestampWithTimeZone>(i)
                    .map(|it| it.map(TimestampTz::from))
            };
            if let (Some(id), Some(state), Some(last_ts)) =
                (row.get::<String>(1)?, row.get::<BocpdState>(2)?, time(3)?)
            {
                let kept = Kept {
                    detector: state.0,
                    last_ts,
                    reported_ts: time(4)?,
                };
                found.insert(id, kept);
            }
        }
        Ok::<_, pgrx::spi::Error>(found)
    })
    .map_err(internal)
}

/// Keeps detectors, with the last change of each that was told; an entity without one is forgotten.
pub fn store<'a>(
    monitor_id: i32,
    rows: impl Iterator<Item = (&'a str, Option<&'a Detector>, Option<TimestampTz>)>,
) -> Result<(), ErrorReport> {
    let delete = "DELETE FROM cvx.detector d WHERE d.monitor_id OPERATOR(pg_catalog.=) $1
        AND d.entity_id OPERATOR(pg_catalog.=) $2";
    Spi::connect_mut(|client| {
        let state = state_type(client)?;
        let statement = prepared(&STORE, state, || {
            let upsert = "INSERT INTO cvx.detector AS d (monitor_id, entity_id, state, last_ts, reported_ts)
                VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (monitor_id, entity_id) DO UPDATE SET state = excluded.state, last_ts = excluded.last_ts,
                    reported_ts = excluded.reported_ts";
            let types = [pg_sys::INT4OID, pg_sys::TEXTOID, state, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID];
            Ok(client.prepare_mut(upsert, &types.map(PgOid::from))?.keep())
        })?;
        for (entity_id, detector, reported_ts) in rows {
            match detector.and_then(|it| Some((it, it.last_ts()?))) {
                Some((detector, last_ts)) => {
                    let arguments = [
                        monitor_id.into(),
                        entity_id.into(),
                        datum(detector, state),
                        time(last_ts),
                        optional(reported_ts),
                    ];
                    client.update(&*statement, None, &arguments)?;
                }
                None => {
                    client.update(delete, None, &[monitor_id.into(), entity_id.into()])?;
                }
            }
        }
        Ok(())
    })
    .map_err(internal)
}

fn state_type(client: &pgrx::spi::SpiClient<'_>) -> pgrx::spi::Result<pg_sys::Oid> {
    let query = "SELECT 'cvx.bocpd_state'::pg_catalog.regtype::pg_catalog.oid";
    let found = client
        .select(query, Some(1), &[])?
        .first()
        .get_one::<pg_sys::Oid>()?;
    Ok(found.unwrap_or(pg_sys::InvalidOid))
}

fn datum(detector: &Detector, type_oid: pg_sys::Oid) -> DatumWithOid<'static> {
    // SAFETY: a datum of the type whose oid this is.
    unsafe { DatumWithOid::new(BocpdState(detector.clone()), type_oid) }
}
