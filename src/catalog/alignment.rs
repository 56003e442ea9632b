use std::thread::LocalKey;

use cvx_math::align::{Map, Quality};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum};

use super::{Statements, internal, pairs::Tiers, prepared};
use crate::error::Error;

thread_local! {
    static FORWARD: Statements<()> = Statements::default();
    static BACKWARD: Statements<()> = Statements::default();
    static ANCHORS: Statements<()> = Statements::default();
    static ERROR_MODEL: Statements<()> = Statements::default();
}

/// What one fit leaves in cvx.alignment.
pub struct Computed<'a> {
    pub status: &'static str,
    pub method: &'static str,
    pub min_overlap: i32,
    pub overlap_entities: i32,
    pub tiers: Tiers,
    pub quality: Option<Quality>,
    pub scale: Option<f64>,
    pub ridge: Option<f64>,
    pub correlations: &'a [f64],
    pub rank: i32,
    pub error_model: Option<Vec<f64>>,
    pub forward: Vec<u8>,
    pub backward: Vec<u8>,
    pub anchors: Vec<u8>,
}

/// Locks the alignment's row until the end of the transaction: of two fits the second waits for the first.
pub fn lock(model: &str, version: &str) -> Result<(), ErrorReport> {
    let query = "SELECT FROM cvx.alignment a WHERE a.model OPERATOR(pg_catalog.=) $1
        AND a.version OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE";
    Spi::run_with_args(query, &[model.into(), version.into()]).map_err(internal)
}

/// Keeps a fit in place of the one before.
pub fn store(model: &str, version: &str, it: Computed<'_>) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.alignment a SET
            status = $3, method = $4, min_overlap = $5, overlap_entities = $6, pairs = $7 + $8 + $9,
            pairs_by_input = $7, pairs_by_time = $8, pairs_by_mean = $9,
            held_out_entities = $10, held_out_pairs = $11, mean_residual = $12, p95_residual = $13,
            p99_residual = $14, mean_cosine = $15, recall_at_10 = $16, scale = $17, ridge = $18,
            correlations = $19, rank = $20, error_model = $21, forward = $22, backward = $23, anchors = $24,
            revision = pg_catalog.nextval('cvx.alignment_revision_seq'),
            computed_at = pg_catalog.clock_timestamp()
        WHERE a.model OPERATOR(pg_catalog.=) $1 AND a.version OPERATOR(pg_catalog.=) $2";
    let q = it.quality.as_ref();
    let of = |figure: fn(&Quality) -> f64| q.map(figure).filter(|x| x.is_finite());
    let [by_input, by_time, by_mean] = it.tiers.map(|n| n as i32);
    Spi::run_with_args(
        update,
        &[
            model.into(),
            version.into(),
            it.status.into(),
            it.method.into(),
            it.min_overlap.into(),
            it.overlap_entities.into(),
            by_input.into(),
            by_time.into(),
            by_mean.into(),
            q.map(|q| q.held_out_entities as i32).into(),
            q.map(|q| q.held_out_pairs as i32).into(),
            of(|q| q.mean_residual).into(),
            of(|q| q.p95_residual).into(),
            of(|q| q.p99_residual).into(),
            of(|q| q.mean_cosine).into(),
            q.and_then(|q| q.recall_at_10).into(),
            it.scale.into(),
            it.ridge.into(),
            Some(it.correlations.to_vec()).filter(|c| !c.is_empty()).into(),
            it.rank.into(),
            it.error_model.into(),
            it.forward.into(),
            it.backward.into(),
            it.anchors.into(),
        ],
    )
    .map_err(internal)
}

/// Says that no overlap was found, unless there is a map: what that was fitted to may be gone since. Returns
/// whether there is.
pub fn store_no_overlap(model: &str, version: &str, min_overlap: i32) -> Result<bool, ErrorReport> {
    let update = "UPDATE cvx.alignment a SET
            status = CASE WHEN a.forward IS NULL THEN 'no_overlap' ELSE a.status END,
            min_overlap = CASE WHEN a.forward IS NULL THEN $3 ELSE a.min_overlap END
        WHERE a.model OPERATOR(pg_catalog.=) $1 AND a.version OPERATOR(pg_catalog.=) $2
        RETURNING a.forward IS NOT NULL";
    let kept = Spi::get_one_with_args(update, &[model.into(), version.into(), min_overlap.into()]);
    Ok(kept.map_err(internal)?.unwrap_or(false))
}

/// Which way along an alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the version to its predecessor.
    Forward,
    Backward,
}

/// The map of a version's alignment; None when it has none.
pub fn map(model: &str, version: &str, direction: Direction) -> Result<Option<Map>, ErrorReport> {
    let (kept, query) = match direction {
        Direction::Forward => (
            &FORWARD,
            "SELECT a.forward FROM cvx.alignment a WHERE a.model OPERATOR(pg_catalog.=) $1
             AND a.version OPERATOR(pg_catalog.=) $2",
        ),
        Direction::Backward => (
            &BACKWARD,
            "SELECT a.backward FROM cvx.alignment a WHERE a.model OPERATOR(pg_catalog.=) $1
             AND a.version OPERATOR(pg_catalog.=) $2",
        ),
    };
    let bytes: Option<Vec<u8>> = one(kept, query, model, version)?;
    let found = bytes.map(|it| Map::from_bytes(&it));
    found.transpose().map_err(|problem| {
        Error::Corrupt {
            kind: "alignment",
            problem,
        }
        .into()
    })
}

/// The anchors of an alignment, as stored.
pub fn anchors(model: &str, version: &str) -> Result<Option<Vec<u8>>, ErrorReport> {
    let query = "SELECT a.anchors FROM cvx.alignment a
        WHERE a.model OPERATOR(pg_catalog.=) $1 AND a.version OPERATOR(pg_catalog.=) $2";
    one(&ANCHORS, query, model, version)
}

/// The error model of an alignment, as stored.
pub fn error_model(model: &str, version: &str) -> Result<Option<Vec<f64>>, ErrorReport> {
    let query = "SELECT a.error_model FROM cvx.alignment a
        WHERE a.model OPERATOR(pg_catalog.=) $1 AND a.version OPERATOR(pg_catalog.=) $2";
    let values: Option<Vec<Option<f64>>> = one(&ERROR_MODEL, query, model, version)?;
    // No fit stores a NULL there; who reads it refuses what is no number.
    Ok(values.map(|it| it.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect()))
}

/// One column of an alignment's row, by the statement kept for it.
fn one<T: IntoDatum + FromDatum>(
    kept: &'static LocalKey<Statements<()>>,
    query: &str,
    model: &str,
    version: &str,
) -> Result<Option<T>, ErrorReport> {
    Spi::connect(|client| {
        let statement = prepared(kept, (), || {
            let types = [pg_sys::TEXTOID, pg_sys::TEXTOID].map(PgOid::from);
            Ok(client.prepare(query, &types)?.keep())
        })?;
        let rows = client.select(&*statement, Some(1), &[model.into(), version.into()])?;
        if rows.is_empty() {
            return Ok(None);
        }
        rows.first().get_one::<T>()
    })
    .map_err(internal)
}
