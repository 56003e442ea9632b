//! The gaps between the points of each entity.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_literal;

use super::trend::each_row;
use super::{Checks, Episode, Found, Subject};
use crate::catalog::internal;
use crate::monitors::scope::Scope;
use crate::types::TimestampTz;
use crate::views::definition::{Points, instant, micros, spaces_of};

pub fn find(
    place: usize,
    scope: &Scope,
    duration: i64,
    source: Option<&str>,
    checks: &Checks,
    found: &mut Found,
) -> Result<(), ErrorReport> {
    let points = format!(
        "FROM cvx.embedding s WHERE {} AND {} {}",
        condition(scope),
        scope.of_entity("s.entity_id"),
        of_source(source)
    );
    let query = gaps("s.entity_id", &points, duration, checks);
    each_row(&query, &mut |row| {
        let Some((first, end, ts)) = gap(row, duration, checks)? else {
            return Ok(());
        };
        let id: String = row.get(1).map_err(internal)?.unwrap_or_default();
        found.push(Subject::Entity(id), silent(place, first, end, ts))
    })
}

/// The points of a scope, as stored.
pub fn condition(scope: &Scope) -> String {
    match &scope.points {
        Points::Table(it) => it.condition("s"),
        Points::Model(model) => {
            let spaces = spaces_of(model);
            format!("s.space_id OPERATOR(pg_catalog.=) ANY (ARRAY({spaces}))")
        }
    }
}

pub fn of_source(source: Option<&str>) -> String {
    match source {
        Some(source) => format!("AND s.source OPERATOR(pg_catalog.=) {}", quote_literal(source)),
        None => String::new(),
    }
}

/// (key, ts, next): the gaps of more than `duration` between points of one key that a check falls into; next is NULL
/// for the last point.
pub fn gaps(key: &str, points: &str, duration: i64, checks: &Checks) -> String {
    format!(
        "SELECT g.key, g.ts, g.next FROM (
            SELECT {key} AS key, s.ts, pg_catalog.lead(s.ts) OVER (PARTITION BY {key} ORDER BY s.ts) AS next
            {points} AND s.ts OPERATOR(pg_catalog.<=) {until}) g
         WHERE (g.next IS NULL OR g.next OPERATOR(pg_catalog.>) (g.ts OPERATOR(pg_catalog.+) {duration})
                AND g.next OPERATOR(pg_catalog.>) {from})
         ORDER BY g.key, g.ts",
        from = instant(checks.time(0)),
        until = instant(checks.time(checks.len() - 1)),
        duration = micros(duration)
    )
}

/// The checks that fall into a gap, from the first to before the end, and the time of the point before it.
pub fn gap(
    row: &pgrx::spi::SpiHeapTupleData<'_>,
    duration: i64,
    checks: &Checks,
) -> Result<Option<(usize, usize, TimestampTz)>, ErrorReport> {
    let time = |place| row.get::<TimestampWithTimeZone>(place).map_err(internal);
    let Some(ts) = time(2)?.map(TimestampTz::from) else {
        return Ok(None);
    };
    let next = time(3)?.map_or(TimestampTz::MAX, TimestampTz::from);
    let (first, end) = (
        checks.after(ts.saturating_add(duration)),
        checks.at_or_after(next),
    );
    Ok((first < end).then_some((first, end, ts)))
}

/// Something that has not been heard of since `ts`.
pub fn silent(scope: usize, first: usize, end: usize, ts: TimestampTz) -> Episode {
    Episode {
        subject: 0,
        scope: scope as u32,
        first: first as u32,
        end: end as u32,
        ts,
        value: None,
        p_value: None,
        records: (0, 0),
    }
}
