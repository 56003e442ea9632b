//! Pairs of vectors of one thing in two spaces, in the three tiers of DESIGN: same entity and same input, else same
//! entity and same time, else the means of the entity over the time that both spaces have it.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::internal;
use crate::error::Error;
use crate::types::vector::VectorResult;

/// How many pairs came from each tier.
pub type Tiers = [usize; 3];

/// Rows that the cursor fetches at a time: they are copied on, and memory holds few of them twice.
pub(super) const FETCH: i64 = 256;

/// Pairs, row by row: `from` and `to` are n × dims, `entity` numbers the entities from 0.
#[derive(Default)]
pub struct PairSet {
    pub from: Vec<f32>,
    pub to: Vec<f32>,
    pub entity: Vec<u32>,
    /// Entities in the set.
    pub entities: usize,
    /// Entities that both spaces have, more where the cap left some out.
    pub overlap: usize,
    pub tiers: Tiers,
}

/// The SQL of the keys of all pairs. An input that an entity has more than once gives one pair, so that a text that
/// repeats counts once. The cap takes a first pair of every entity before any second one, in an order that the
/// entities' names and times fix.
fn keys(from_space: i32, to_space: i32) -> String {
    format!(
        "WITH n AS MATERIALIZED (
            SELECT e.entity_id, e.ts, e.input_hash FROM cvx.embedding e
            WHERE e.space_id OPERATOR(pg_catalog.=) {from_space}
        ), o AS MATERIALIZED (
            SELECT e.entity_id, e.ts, e.input_hash FROM cvx.embedding e
            WHERE e.space_id OPERATOR(pg_catalog.=) {to_space}
        ), by_input AS MATERIALIZED (
            SELECT a.entity_id, a.ts AS n_ts, b.ts AS o_ts
            FROM (SELECT n.entity_id, n.input_hash, pg_catalog.min(n.ts) AS ts FROM n
                  WHERE n.input_hash IS NOT NULL GROUP BY 1, 2) a
            JOIN (SELECT o.entity_id, o.input_hash, pg_catalog.min(o.ts) AS ts FROM o
                  WHERE o.input_hash IS NOT NULL GROUP BY 1, 2) b
              ON a.entity_id OPERATOR(pg_catalog.=) b.entity_id AND a.input_hash OPERATOR(pg_catalog.=) b.input_hash
        ), by_time AS MATERIALIZED (
            SELECT n.entity_id, n.ts AS n_ts, o.ts AS o_ts
            FROM n JOIN o ON n.entity_id OPERATOR(pg_catalog.=) o.entity_id AND n.ts OPERATOR(pg_catalog.=) o.ts
            WHERE NOT EXISTS (SELECT FROM by_input p WHERE p.entity_id OPERATOR(pg_catalog.=) n.entity_id)
        ), shared AS MATERIALIZED (
            SELECT a.entity_id, greatest(a.first, b.first) AS first, least(a.last, b.last) AS last
            FROM (SELECT n.entity_id, pg_catalog.min(n.ts) AS first, pg_catalog.max(n.ts) AS last FROM n GROUP BY 1) a
            JOIN (SELECT o.entity_id, pg_catalog.min(o.ts) AS first, pg_catalog.max(o.ts) AS last FROM o GROUP BY 1) b
              ON a.entity_id OPERATOR(pg_catalog.=) b.entity_id
            WHERE NOT EXISTS (SELECT FROM by_input p WHERE p.entity_id OPERATOR(pg_catalog.=) a.entity_id)
              AND NOT EXISTS (SELECT FROM by_time p WHERE p.entity_id OPERATOR(pg_catalog.=) a.entity_id)
        ), by_mean AS (
            SELECT s.entity_id, s.first, s.last FROM shared s
            WHERE s.first OPERATOR(pg_catalog.<=) s.last
              AND EXISTS (SELECT FROM n WHERE n.entity_id OPERATOR(pg_catalog.=) s.entity_id
                          AND n.ts OPERATOR(pg_catalog.>=) s.first AND n.ts OPERATOR(pg_catalog.<=) s.last)
              AND EXISTS (SELECT FROM o WHERE o.entity_id OPERATOR(pg_catalog.=) s.entity_id
                          AND o.ts OPERATOR(pg_catalog.>=) s.first AND o.ts OPERATOR(pg_catalog.<=) s.last)
        ), pairs AS MATERIALIZED (
            SELECT 0 AS tier, p.entity_id, p.n_ts, p.o_ts FROM by_input p
            UNION ALL SELECT 1, p.entity_id, p.n_ts, p.o_ts FROM by_time p
            UNION ALL SELECT 2, p.entity_id, p.first, p.last FROM by_mean p
        ), ranked AS (
            SELECT p.*, pg_catalog.row_number() OVER (
                PARTITION BY p.entity_id ORDER BY pg_catalog.hash_numeric_extended(
                    pg_catalog.extract('epoch', p.n_ts), 0), p.n_ts) AS place
            FROM pairs p
        ), chosen AS MATERIALIZED (
            SELECT r.* FROM ranked r
            ORDER BY r.place, pg_catalog.hashtextextended(r.entity_id, 0), r.entity_id LIMIT $1
        )"
    )
}

/// The vectors of the chosen pairs, an entity's together. Looked up one by one: a join of wide rows would be hashed
/// to disk.
fn query(from_space: i32, to_space: i32) -> String {
    let keys = keys(from_space, to_space);
    let one = |space: i32, ts: &str| {
        format!(
            "(SELECT e.vec FROM cvx.embedding e WHERE e.space_id OPERATOR(pg_catalog.=) {space}
              AND e.entity_id OPERATOR(pg_catalog.=) c.entity_id AND e.ts OPERATOR(pg_catalog.=) c.{ts})"
        )
    };
    let mean = |space: i32| format!("cvx._mean({space}, c.entity_id, c.n_ts, c.o_ts)");
    format!(
        "{keys}
        SELECT c.entity_id, c.tier,
            CASE WHEN c.tier OPERATOR(pg_catalog.<) 2 THEN {} ELSE {} END,
            CASE WHEN c.tier OPERATOR(pg_catalog.<) 2 THEN {} ELSE {} END,
            (SELECT pg_catalog.count(DISTINCT p.entity_id) FROM pairs p)
        FROM chosen c
        ORDER BY c.entity_id, c.n_ts, c.o_ts",
        one(from_space, "n_ts"),
        mean(from_space),
        one(to_space, "o_ts"),
        mean(to_space)
    )
}

/// Reads at most `most` pairs of two spaces of these dimensions.
pub fn read(
    (from_space, from_dims): (i32, usize),
    (to_space, to_dims): (i32, usize),
    most: i32,
) -> Result<PairSet, ErrorReport> {
    let mut set = PairSet::default();
    let mut last = String::new();
    Spi::connect(|client| {
        let mut cursor = client.open_cursor(query(from_space, to_space).as_str(), &[most.into()]);
        loop {
            let rows = cursor.fetch(FETCH).map_err(internal)?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                let (entity, tier) = (row.get::<&str>(1), row.get::<i32>(2));
                let (from, to) = (row.get::<VectorResult>(3), row.get::<VectorResult>(4));
                let (Some(entity), Some(tier)) = (entity.map_err(internal)?, tier.map_err(internal)?) else {
                    continue;
                };
                // A row that was deleted since has no vector.
                let (Some(from), Some(to)) = (from.map_err(internal)?, to.map_err(internal)?) else {
                    continue;
                };
                if from.as_slice().len() != from_dims || to.as_slice().len() != to_dims {
                    continue;
                }
                if set.entities == 0 || last != entity {
                    set.entities += 1;
                    last = entity.to_owned();
                }
                set.entity.push(set.entities as u32 - 1);
                set.tiers[tier.clamp(0, 2) as usize] += 1;
                set.overlap = row.get::<i64>(5).map_err(internal)?.unwrap_or_default() as usize;
                extend(&mut set.from, from.as_slice())?;
                extend(&mut set.to, to.as_slice())?;
            }
            pgrx::check_for_interrupts!();
        }
    })
    .map(|()| set)
}

/// Appends, with an error where memory is short: an abort would end every session of the server.
pub(super) fn extend(all: &mut Vec<f32>, row: &[f32]) -> Result<(), ErrorReport> {
    if all.try_reserve(row.len()).is_err() {
        let bytes = 4 * (all.len() + row.len());
        return Err(Error::OutOfMemory { bytes }.into());
    }
    all.extend_from_slice(row);
    Ok(())
}
