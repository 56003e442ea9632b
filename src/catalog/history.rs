//! cvx_view_history.<name>: what a view held at all times, and from when to when that was known.

use cvx_math::bitemporal::{Closing, Stored, Version};
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiHeapTupleData, quote_identifier};

use super::internal;
use super::view::{Kind, View};
use crate::error::Error;
use crate::types::TimestampTz;
use crate::types::trajectory::TrajectoryResult;
use crate::types::vector::VectorResult;
use crate::views::definition::{Span, instant, micros};

/// A column of history that comes from a trajectory `t` and the start of its span, `span_start`.
pub struct Column {
    /// Quoted.
    pub name: String,
    pub expr: String,
}

/// What a version holds: how much it comes from, then the features.
pub fn columns(view: &View) -> Vec<Column> {
    let column = |name: &str, expr: String| Column {
        name: quote_identifier(name),
        expr,
    };
    let mut columns = match (view.kind, view.span()) {
        (Kind::DriftSummary, Span::Tumbling { width, .. }) => {
            let end = format!("span_start OPERATOR(pg_catalog.+) {}", micros(width));
            vec![
                column("window_start", String::from("span_start")),
                column("window_end", end),
                column("count", String::from("cvx.num_points(t)")),
            ]
        }
        _ => ["num_points", "start_ts", "end_ts"]
            .map(|name| column(name, format!("cvx.{name}(t)")))
            .into(),
    };
    columns.extend(view.features().iter().map(|it| column(&it.name, it.expr.clone())));
    columns
}

/// Where the span of the version at `ts`, an SQL expression, starts.
fn span_start(view: &View, ts: &str) -> String {
    match view.span() {
        Span::Whole => String::from("'-infinity'::pg_catalog.timestamptz"),
        Span::Sliding(width) => format!("({ts} OPERATOR(pg_catalog.-) {})", micros(width)),
        Span::Tumbling { width, origin } => {
            format!("pg_catalog.date_bin({}, {ts}, {})", micros(width), instant(origin))
        }
    }
}

fn list<'a>(columns: &'a [Column], each: impl Fn(&'a Column) -> String) -> String {
    columns.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// Makes the table, as the extension's owner.
pub fn create_table(view: &View) -> Result<(), ErrorReport> {
    let table = view.relation("cvx_view_history");
    let columns = columns(view);
    let statements = [
        // Half of a version's life is being updated: when the next point comes, and when it is replaced.
        format!(
            "CREATE TABLE {table} WITH (fillfactor = 85) AS
             SELECT p.entity_id, p.span_start AS valid_from, p.span_start AS valid_to, p.span_start AS known_from,
                p.span_start AS known_to, {}, p.span_start AS computed_at
             FROM (SELECT q.entity_id, NULL::cvx.trajectory AS t, NULL::pg_catalog.timestamptz AS span_start
                   FROM {} q) p WITH NO DATA",
            list(&columns, |it| format!("{} AS {}", it.expr, it.name)),
            view.relation("cvx_view_points")
        ),
        format!(
            "ALTER TABLE {table} ADD PRIMARY KEY (entity_id, valid_from, known_from),
                ALTER COLUMN valid_to SET NOT NULL, ALTER COLUMN known_to SET NOT NULL,
                ALTER COLUMN computed_at SET NOT NULL"
        ),
        format!("CREATE INDEX ON {table} (entity_id, valid_from) WHERE known_to OPERATOR(pg_catalog.=) 'infinity'"),
        format!(
            "COMMENT ON TABLE {table} IS {}",
            pgrx::spi::quote_literal(format!("what cvx_view.{} held at all times", quote_identifier(&view.name)))
        ),
        format!("COMMENT ON COLUMN {table}.valid_from IS 'the point whose version this is: its time'"),
        format!("COMMENT ON COLUMN {table}.valid_to IS 'the time of the next point; infinity: there is none'"),
        format!("COMMENT ON COLUMN {table}.known_from IS 'when the last of what it comes from was known'"),
        format!("COMMENT ON COLUMN {table}.known_to IS 'when something else was known; infinity: it stands'"),
    ];
    statements.iter().try_for_each(|it| Spi::run(it)).map_err(internal)
}

fn time(it: TimestampTz) -> DatumWithOid<'static> {
    // SAFETY: a timestamptz is passed by value as these 8 bytes.
    unsafe { DatumWithOid::new(it, pg_sys::TIMESTAMPTZOID) }
}

/// Times on their way into a statement, infinite ones too.
struct Times(Vec<TimestampTz>);

fn times(it: impl Iterator<Item = TimestampTz>) -> DatumWithOid<'static> {
    // SAFETY: 8 bytes by value each, as the type of the element says.
    unsafe { DatumWithOid::new(Times(it.collect()), pg_sys::TIMESTAMPTZARRAYOID) }
}

impl IntoDatum for Times {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let elements: Vec<pg_sys::Datum> = self.0.into_iter().map(pg_sys::Datum::from).collect();
        // SAFETY: timestamptz has 8 bytes, by value where a Datum has as many, aligned to them.
        unsafe { Some(array(elements, pg_sys::TIMESTAMPTZOID, 8, true)) }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TIMESTAMPTZARRAYOID
    }
}

/// # Safety
/// The elements are of the type, which has this length and is aligned to 8 bytes.
unsafe fn array(
    mut elements: Vec<pg_sys::Datum>,
    of: pg_sys::Oid,
    length: i32,
    by_value: bool,
) -> pg_sys::Datum {
    // SAFETY: construct_array copies so many elements; the caller vouches for their type.
    unsafe {
        let it = pg_sys::construct_array(
            elements.as_mut_ptr(),
            elements.len() as i32,
            of,
            length,
            by_value,
            pg_sys::TYPALIGN_DOUBLE as std::ffi::c_char,
        );
        pg_sys::Datum::from(it)
    }
}

/// The OIDs of cvx.trajectory and of its arrays.
fn trajectory_type() -> Result<(pg_sys::Oid, pg_sys::Oid), ErrorReport> {
    let query = "SELECT t.oid, t.typarray FROM pg_catalog.pg_type t
        WHERE t.oid OPERATOR(pg_catalog.=) 'cvx.trajectory'::pg_catalog.regtype";
    let found = Spi::connect(|client| client.select(query, Some(1), &[])?.first().get_two());
    let (of, array) = found.map_err(internal)?;
    Ok((of.unwrap_or(pg_sys::InvalidOid), array.unwrap_or(pg_sys::InvalidOid)))
}

/// What stands in the table of an entity.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Current versions in the order of time: all, or from the one before the time that was asked for on.
    pub versions: Vec<Stored>,
    /// The latest time at which anything of it was known.
    pub known: Option<TimestampTz>,
}

fn get(row: &SpiHeapTupleData<'_>, column: usize) -> pgrx::spi::Result<Option<TimestampTz>> {
    Ok(row.get::<TimestampWithTimeZone>(column)?.map(TimestampTz::from))
}

/// What stands of entities, each from a time on.
pub fn standing(view: &View, entities: &[(&str, Option<TimestampTz>)]) -> Result<Vec<Standing>, ErrorReport> {
    let table = view.relation("cvx_view_history");
    let query = format!(
        "SELECT d.n, h.valid_from, h.valid_to, h.known_from, k.known
         FROM pg_catalog.unnest($1::{of}[], $2) WITH ORDINALITY d(id, from_ts, n)
         CROSS JOIN LATERAL (
            SELECT GREATEST(pg_catalog.max(a.known_from),
                pg_catalog.max(a.known_to) FILTER (WHERE a.known_to OPERATOR(pg_catalog.<) 'infinity')) AS known
            FROM {table} a WHERE a.entity_id OPERATOR(pg_catalog.=) d.id) k
         LEFT JOIN LATERAL (
            SELECT c.valid_from, c.valid_to, c.known_from FROM {table} c
            WHERE c.entity_id OPERATOR(pg_catalog.=) d.id AND c.known_to OPERATOR(pg_catalog.=) 'infinity'
              AND c.valid_from OPERATOR(pg_catalog.>=) COALESCE((
                SELECT b.valid_from FROM {table} b
                WHERE b.entity_id OPERATOR(pg_catalog.=) d.id AND b.known_to OPERATOR(pg_catalog.=) 'infinity'
                  AND b.valid_from OPERATOR(pg_catalog.<) d.from_ts
                ORDER BY b.valid_from DESC LIMIT 1), '-infinity')) h ON true
         WHERE k.known IS NOT NULL ORDER BY d.n, h.valid_from",
        of = view.entity_type()
    );
    let ids: Vec<&str> = entities.iter().map(|it| it.0).collect();
    let from = times(entities.iter().map(|it| it.1.unwrap_or(TimestampTz::MIN)));
    let mut found = vec![Standing::default(); entities.len()];
    Spi::connect(|client| {
        for row in client.select(query.as_str(), None, &[ids.into(), from])? {
            let place = row.get::<i64>(1)?.unwrap_or_default() as usize;
            let Some(standing) = place.checked_sub(1).and_then(|it| found.get_mut(it)) else {
                continue;
            };
            standing.known = get(&row, 5)?;
            if let (Some(valid_from), Some(valid_to), Some(known_from)) = (get(&row, 2)?, get(&row, 3)?, get(&row, 4)?)
            {
                standing.versions.push(Stored {
                    valid_from,
                    valid_to,
                    known_from,
                });
            }
        }
        Ok(())
    })
    .map_err(internal)?;
    Ok(found)
}

/// A point of an entity.
pub struct Row {
    /// Whose, as a place in what was asked for.
    pub entity: usize,
    pub ts: TimestampTz,
    pub vec: VectorResult,
    /// None: not recorded.
    pub ingested_at: Option<TimestampTz>,
    pub span_start: TimestampTz,
}

/// Hands over the points of entities, one entity after the other, each in the order of time from the start of the
/// span of a time on.
pub fn each_point(
    view: &View,
    entities: &[(&str, Option<TimestampTz>)],
    mut each: impl FnMut(Row) -> Result<(), ErrorReport>,
) -> Result<(), ErrorReport> {
    const ROWS: i64 = 1000;
    let query = format!(
        "SELECT d.n, p.ts, p.vec, p.ingested_at, {}
         FROM pg_catalog.unnest($1::{}[], $2) WITH ORDINALITY d(id, from_ts, n)
         CROSS JOIN LATERAL (
            SELECT q.ts, q.vec, q.ingested_at FROM {} q
            WHERE q.entity_id OPERATOR(pg_catalog.=) d.id AND q.ts IS NOT NULL AND q.vec IS NOT NULL
              AND q.ts OPERATOR(pg_catalog.>=) {}
            ORDER BY q.ts OFFSET 0) p",
        span_start(view, "p.ts"),
        view.entity_type(),
        view.relation("cvx_view_points"),
        span_start(view, "d.from_ts"),
    );
    let ids: Vec<&str> = entities.iter().map(|it| it.0).collect();
    let from = times(entities.iter().map(|it| it.1.unwrap_or(TimestampTz::MIN)));
    Spi::connect_mut(|client| {
        let arguments = [ids.into(), from];
        let mut cursor = client.try_open_cursor_mut(query.as_str(), &arguments).map_err(internal)?;
        loop {
            // What a chunk of rows was copied to goes with it.
            let rows = cursor.fetch(ROWS).map_err(internal)?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                if let Some(point) = point(&row).map_err(internal)? {
                    each(point)?;
                }
            }
            pgrx::check_for_interrupts!();
        }
    })
}

fn point(row: &SpiHeapTupleData<'_>) -> pgrx::spi::Result<Option<Row>> {
    let (entity, ts, vec) = (row.get::<i64>(1)?, get(row, 2)?, row.get::<VectorResult>(3)?);
    let (Some(entity), Some(ts), Some(vec)) = (entity, ts, vec) else {
        return Ok(None);
    };
    Ok(Some(Row {
        entity: (entity - 1) as usize,
        ts,
        vec,
        ingested_at: get(row, 4)?,
        span_start: get(row, 5)?.unwrap_or(TimestampTz::MIN),
    }))
}
