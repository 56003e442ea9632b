use cvx_sources::Record;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum};

use super::{Statements, internal, prepared};
use crate::types::trajectory::Trajectory;
use crate::types::vector::VectorResult;
use crate::types::{TimestampTz, sql_name, sql_result};

thread_local! {
    /// A statement a space: with the space's id a constant, planning prunes to its one partition, and no other is
    /// locked.
    static TRAJECTORY_OF: Statements<i32> = Statements::default();
    static NTH_LAST_OF: Statements<i32> = Statements::default();
    static PROVENANCE_OF: Statements<i32> = Statements::default();
    static INPUTS_OF: Statements<i32> = Statements::default();
    static VECTORS_OF: Statements<i32> = Statements::default();
}

/// A datum handed on as it is, in memory of the caller of SPI.
pub struct TrajectoryDatum(pg_sys::Datum);

impl TrajectoryDatum {
    /// To be read here.
    pub fn open(self) -> Trajectory {
        // SAFETY: a trajectory's datum that this value owns, in memory that lives as long as the call.
        unsafe { Trajectory::at(self.0) }
    }
}

impl FromDatum for TrajectoryDatum {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        // SAFETY: called between SPI_connect and SPI_finish with a varlena of the result; the copy goes to the
        // context that was current before SPI_connect.
        (!is_null).then(|| TrajectoryDatum(unsafe { pg_sys::SPI_datumTransfer(datum, false, -1) }))
    }
}

impl IntoDatum for TrajectoryDatum {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::InvalidOid
    }

    /// The statement's column is a trajectory by construction.
    fn is_compatible_with(_: pg_sys::Oid) -> bool {
        true
    }
}

sql_name!(TrajectoryDatum, "trajectory");
sql_result!(TrajectoryDatum);

fn time(ts: TimestampTz) -> pgrx::datum::DatumWithOid<'static> {
    // SAFETY: a timestamptz is passed by value as these 8 bytes.
    unsafe { pgrx::datum::DatumWithOid::new(ts, pg_sys::TIMESTAMPTZOID) }
}

/// The trajectory of an entity between two times, both included; None when it has no points there.
pub fn trajectory(
    space_id: i32,
    entity_id: &str,
    from_ts: TimestampTz,
    to_ts: TimestampTz,
) -> Result<Option<TrajectoryDatum>, ErrorReport> {
    let found = Spi::connect(|client| {
        let statement = prepared(&TRAJECTORY_OF, space_id, || {
            let query = format!(
                "SELECT cvx.trajectory_agg(e.ts, e.vec) FROM cvx.embedding e
                 WHERE e.space_id OPERATOR(pg_catalog.=) {space_id} AND e.entity_id OPERATOR(pg_catalog.=) $1
                 AND e.ts OPERATOR(pg_catalog.>=) $2 AND e.ts OPERATOR(pg_catalog.<=) $3"
            );
            let types = [pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID].map(PgOid::from);
            Ok(client.prepare(query.as_str(), &types)?.keep())
        })?;
        let arguments = [entity_id.into(), time(from_ts), time(to_ts)];
        client
            .select(&*statement, Some(1), &arguments)?
            .first()
            .get_one::<TrajectoryDatum>()
    });
    found.map_err(internal)
}

/// The time of an entity's `n`-th last point; None when it has fewer.
pub fn nth_last(space_id: i32, entity_id: &str, n: usize) -> Result<Option<TimestampTz>, ErrorReport> {
    let found = Spi::connect(|client| {
        let statement = prepared(&NTH_LAST_OF, space_id, || {
            let query = format!(
                "SELECT e.ts FROM cvx.embedding e
                 WHERE e.space_id OPERATOR(pg_catalog.=) {space_id} AND e.entity_id OPERATOR(pg_catalog.=) $1
                 ORDER BY e.ts DESC OFFSET $2 LIMIT 1"
            );
            Ok(client
                .prepare(
                    query.as_str(),
                    &[pg_sys::TEXTOID, pg_sys::INT8OID].map(PgOid::from),
                )?
                .keep())
        })?;
        let arguments = [entity_id.into(), (n.max(1) as i64 - 1).into()];
        let mut rows = client.select(&*statement, Some(1), &arguments)?;
        rows.next()
            .map_or(Ok(None), |row| row.get::<TimestampWithTimeZone>(1))
    });
    Ok(found.map_err(internal)?.map(TimestampTz::from))
}

/// When an entity's inputs were embedded in a space, within a closed range: times and input hashes, in the order of time.
pub fn inputs(
    space_id: i32,
    entity_id: &str,
    (from_ts, to_ts): (TimestampTz, TimestampTz),
) -> Result<Vec<(TimestampTz, String)>, ErrorReport> {
    rows_of(
        &INPUTS_OF,
        space_id,
        &[entity_id.into(), time(from_ts), time(to_ts)],
        || {
            format!(
                "SELECT e.ts, e.input_hash FROM cvx.embedding e
             WHERE e.space_id OPERATOR(pg_catalog.=) {space_id} AND e.entity_id OPERATOR(pg_catalog.=) $1
               AND e.ts OPERATOR(pg_catalog.>=) $2 AND e.ts OPERATOR(pg_catalog.<=) $3
               AND e.input_hash IS NOT NULL
             ORDER BY e.ts"
            )
        },
    )
}

/// The vectors of an entity in a space between two times, both included.
pub fn vectors(
    space_id: i32,
    entity_id: &str,
    (from_ts, to_ts): (TimestampTz, TimestampTz),
) -> Result<Vec<(TimestampTz, VectorResult)>, ErrorReport> {
    rows_of(
        &VECTORS_OF,
        space_id,
        &[entity_id.into(), time(from_ts), time(to_ts)],
        || {
            format!(
                "SELECT e.ts, e.vec FROM cvx.embedding e
             WHERE e.space_id OPERATOR(pg_catalog.=) {space_id} AND e.entity_id OPERATOR(pg_catalog.=) $1
               AND e.ts OPERATOR(pg_catalog.>=) $2 AND e.ts OPERATOR(pg_catalog.<=) $3"
            )
        },
    )
}

/// Rows of (timestamptz, T), neither of them NULL, of the statement kept for a space.
fn rows_of<T: IntoDatum + FromDatum>(
    kept: &'static std::thread::LocalKey<Statements<i32>>,
    space_id: i32,
    arguments: &[pgrx::datum::DatumWithOid<'_>],
    query: impl FnOnce() -> String,
) -> Result<Vec<(TimestampTz, T)>, ErrorReport> {
    Spi::connect(|client| {
        let statement = prepared(kept, space_id, || {
            let types = [pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID].map(PgOid::from);
            Ok(client.prepare(query().as_str(), &types)?.keep())
        })?;
        let rows = client.select(&*statement, None, arguments)?;
        rows.filter_map(
            |row| match (row.get::<TimestampWithTimeZone>(1), row.get::<T>(2)) {
                (Ok(Some(ts)), Ok(Some(value))) => Some(Ok((TimestampTz::from(ts), value))),
                (Err(error), _) | (_, Err(error)) => Some(Err(error)),
                _ => None,
            },
        )
        .collect::<Result<Vec<_>, pgrx::spi::Error>>()
    })
    .map_err(internal)
}

/// What is known of how one embedding was made.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    pub source: Option<String>,
    pub model_version: Option<String>,
    pub pipeline_hash: Option<String>,
}

/// The provenance of one row; empty when it is not there.
pub fn provenance(space_id: i32, entity_id: &str, ts: TimestampTz) -> Result<Provenance, ErrorReport> {
    Spi::connect(|client| {
        let statement = prepared(&PROVENANCE_OF, space_id, || {
            let query = format!(
                "SELECT e.source, e.model_version, e.pipeline_hash FROM cvx.embedding e
                 WHERE e.space_id OPERATOR(pg_catalog.=) {space_id} AND e.entity_id OPERATOR(pg_catalog.=) $1
                   AND e.ts OPERATOR(pg_catalog.=) $2"
            );
            let types = [pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID].map(PgOid::from);
            Ok(client.prepare(query.as_str(), &types)?.keep())
        })?;
        let rows = client.select(&*statement, Some(1), &[entity_id.into(), time(ts)])?;
        if rows.is_empty() {
            return Ok(Provenance::default());
        }
        let (source, model_version, pipeline_hash) = rows.first().get_three()?;
        Ok(Provenance {
            source,
            model_version,
            pipeline_hash,
        })
    })
    .map_err(internal)
}

/// A stored row that has the key of a record.
pub struct Existing {
    /// Which record.
    pub record: usize,
    pub produced_at: Option<TimestampTz>,
    pub source: Option<String>,
}

/// Which of the records have their key in the table already.
pub fn existing(space_id: i32, records: &[Record<'_>]) -> Result<Vec<Existing>, ErrorReport> {
    let query = format!(
        "SELECT k.n, e.produced_at, e.source
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY k(entity_id, ts, n)
         JOIN cvx.embedding e ON e.space_id OPERATOR(pg_catalog.=) {space_id}
          AND e.entity_id OPERATOR(pg_catalog.=) k.entity_id AND e.ts OPERATOR(pg_catalog.=) k.ts"
    );
    let (entities, times) = keys(records);
    Spi::connect(|client| {
        let rows = client.select(query.as_str(), None, &[entities.into(), times.into()])?;
        rows.map(|row| {
            let n = row.get::<i64>(1)?.unwrap_or_default();
            let produced_at = row.get::<TimestampWithTimeZone>(2)?.map(TimestampTz::from);
            Ok(Existing {
                record: n as usize - 1,
                produced_at,
                source: row.get(3)?,
            })
        })
        .collect::<Result<Vec<_>, pgrx::spi::Error>>()
    })
    .map_err(internal)
}

/// Deletes the rows with these records' keys.
pub fn delete(space_id: i32, records: &[Record<'_>]) -> Result<(), ErrorReport> {
    let statement = format!(
        "DELETE FROM cvx.embedding e
         USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) k(entity_id, ts)
         WHERE e.space_id OPERATOR(pg_catalog.=) {space_id}
           AND e.entity_id OPERATOR(pg_catalog.=) k.entity_id AND e.ts OPERATOR(pg_catalog.=) k.ts"
    );
    let (entities, times) = keys(records);
    Spi::run_with_args(&statement, &[entities.into(), times.into()]).map_err(internal)
}

fn keys(records: &[Record<'_>]) -> (Vec<String>, Vec<Option<TimestampWithTimeZone>>) {
    // Validated records hold times in range only.
    let time = |it: &Record<'_>| TimestampWithTimeZone::try_from(it.ts).ok();
    (
        records.iter().map(|it| it.entity_id.to_owned()).collect(),
        records.iter().map(time).collect(),
    )
}
