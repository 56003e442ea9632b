//! cvx_view_history.<name>: what a view held at all times, and from when to when that was known.

use cvx_math::bitemporal::{Stored, Version};
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::{SpiHeapTupleData, quote_identifier};

use super::view::{Kind, View};
use super::{Statements, internal, prepared};
use crate::types::TimestampTz;
use crate::types::trajectory::TrajectoryResult;
use crate::types::vector::VectorResult;
use crate::views::definition::{Span, instant, micros};

/// A column of history that comes from a trajectory `t` and the start of its span, `span_start`.
pub struct Column {
    pub name: String,
    pub expr: String,
    pub is_vector: bool,
    /// Whether it is one of the view's features, not a remark on what they come from.
    pub is_feature: bool,
}

/// What a version holds: how much it comes from, then the features.
pub fn columns(view: &View) -> Vec<Column> {
    let column = |name: &str, expr: String, is_feature: bool| Column {
        name: name.to_owned(),
        expr,
        is_vector: false,
        is_feature,
    };
    let mut columns = match (view.kind, view.span()) {
        (Kind::DriftSummary, Span::Tumbling { width, .. }) => {
            let end = format!("span_start OPERATOR(pg_catalog.+) {}", micros(width));
            vec![
                column("window_start", String::from("span_start"), false),
                column("window_end", end, false),
                column("count", String::from("cvx.num_points(t)"), true),
            ]
        }
        _ => ["num_points", "start_ts", "end_ts"]
            .map(|name| column(name, format!("cvx.{name}(t)"), false))
            .into(),
    };
    columns.extend(view.features().into_iter().map(|it| Column {
        name: it.name,
        expr: it.expr,
        is_vector: it.sql_type == "vector",
        is_feature: true,
    }));
    columns
}

impl Column {
    pub fn quoted(&self) -> String {
        quote_identifier(&self.name)
    }
}

/// What ids are compared by: bytes where they are texts, as in the logs, and so without a locale's cost.
pub fn collation(view: &View) -> &'static str {
    match view.entity_type() {
        "smallint" | "integer" | "bigint" | "uuid" => "",
        _ => " COLLATE pg_catalog.\"C\"",
    }
}

/// Where the span of the version at `ts`, an SQL expression, starts.
fn span_start(view: &View, ts: &str) -> String {
    match view.span() {
        Span::Whole => String::from("'-infinity'::pg_catalog.timestamptz"),
        Span::Sliding(width) => format!("({ts} OPERATOR(pg_catalog.-) {})", micros(width)),
        Span::Tumbling { width, origin } => {
            format!(
                "pg_catalog.date_bin({}, {ts}, {})",
                micros(width),
                instant(origin)
            )
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
             SELECT p.entity_id{collation}, p.span_start AS valid_from, p.span_start AS valid_to, p.span_start AS known_from,
                p.span_start AS known_to, {}, p.span_start AS computed_at
             FROM (SELECT q.entity_id, NULL::cvx.trajectory AS t, NULL::pg_catalog.timestamptz AS span_start
                   FROM {} q) p WITH NO DATA",
            list(&columns, |it| format!("{} AS {}", it.expr, it.quoted())),
            view.relation("cvx_view_points"),
            collation = collation(view),
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
    statements
        .iter()
        .try_for_each(|it| Spi::run(it))
        .map_err(internal)
}

pub fn time(it: TimestampTz) -> DatumWithOid<'static> {
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
    Ok((
        of.unwrap_or(pg_sys::InvalidOid),
        array.unwrap_or(pg_sys::InvalidOid),
    ))
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
         FROM ROWS FROM (pg_catalog.unnest($1::{of}[]), pg_catalog.unnest($2)) WITH ORDINALITY d(id, from_ts, n)
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
            if let (Some(valid_from), Some(valid_to), Some(known_from)) =
                (get(&row, 2)?, get(&row, 3)?, get(&row, 4)?)
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
/// span of a time on. Without an index that finds an entity's points all are looked through, once.
pub fn each_point(
    view: &View,
    is_indexed: bool,
    entities: &[(&str, Option<TimestampTz>)],
    mut each: impl FnMut(Row) -> Result<(), ErrorReport>,
) -> Result<(), ErrorReport> {
    const ROWS: usize = 1000;
    let (start, from) = (span_start(view, "p.ts"), span_start(view, "d.from_ts"));
    let points = view.relation("cvx_view_points");
    let asked = format!(
        "ROWS FROM (pg_catalog.unnest($1::{}[]), pg_catalog.unnest($2)) WITH ORDINALITY d(id, from_ts, n)",
        view.entity_type()
    );
    let query = if is_indexed {
        format!(
            "SELECT d.n, p.ts, p.vec, p.ingested_at, {start} FROM {asked}
             CROSS JOIN LATERAL (
                SELECT q.ts, q.vec, q.ingested_at FROM {points} q
                WHERE q.entity_id OPERATOR(pg_catalog.=) d.id AND q.ts IS NOT NULL AND q.vec IS NOT NULL
                  AND q.ts OPERATOR(pg_catalog.>=) {from}
                ORDER BY q.ts OFFSET 0) p"
        )
    } else {
        format!(
            "SELECT d.n, p.ts, p.vec, p.ingested_at, {start} FROM {asked}
             JOIN {points} p ON p.entity_id OPERATOR(pg_catalog.=) d.id
             WHERE p.ts IS NOT NULL AND p.vec IS NOT NULL AND p.ts OPERATOR(pg_catalog.>=) {from}
             ORDER BY d.n, p.ts"
        )
    };
    let ids: Vec<&str> = entities.iter().map(|it| it.0).collect();
    let from = times(entities.iter().map(|it| it.1.unwrap_or(TimestampTz::MIN)));
    let mut cursor = Spi::connect_mut(|client| {
        let cursor = client.try_open_cursor_mut(query.as_str(), &[ids.into(), from])?;
        Ok(cursor.detach_into_name())
    })
    .map_err(internal)?;
    loop {
        // Connected anew for each chunk of rows: its memory goes with the connection.
        let rows = Spi::connect(|client| {
            let mut open = client.find_cursor(&cursor)?;
            let mut points = Vec::with_capacity(ROWS);
            for row in open.fetch(ROWS as i64)? {
                points.extend(point(&row)?);
            }
            cursor = open.detach_into_name();
            Ok(points)
        })
        .map_err(internal)?;
        let is_last = rows.len() < ROWS;
        rows.into_iter().try_for_each(&mut each)?;
        if is_last {
            return Spi::connect(|client| client.find_cursor(&cursor).map(drop)).map_err(internal);
        }
        pgrx::check_for_interrupts!();
    }
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

/// A version to be computed and stored.
pub struct Evaluation<'a> {
    pub entity_id: &'a str,
    pub ts: TimestampTz,
    pub span_start: TimestampTz,
    pub version: Version,
    pub trajectory: TrajectoryResult,
}

thread_local! {
    /// By their texts: a view that is made anew has other columns.
    static KEPT: Statements<String> = Statements::default();
}

fn execute(text: String, types: &[pg_sys::Oid], arguments: &[DatumWithOid<'_>]) -> Result<(), ErrorReport> {
    Spi::connect_mut(|client| {
        let statement = prepared(&KEPT, text.clone(), || {
            let types: Vec<PgOid> = types.iter().map(|it| PgOid::from(*it)).collect();
            Ok(client.prepare_mut(text.as_str(), &types)?.keep())
        })?;
        client.update(&*statement, None, arguments).map(drop)
    })
    .map_err(internal)
}

/// The versions, computed; their times come as arrays.
fn evaluated(view: &View, columns: &[Column]) -> String {
    format!(
        "SELECT u.entity_id::{}{} AS entity_id, u.valid_from, u.valid_to, u.valid_to_before, u.known_from, {}
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),
            pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7))
            u(t, entity_id, valid_from, valid_to, valid_to_before, known_from, span_start)",
        view.entity_type(),
        collation(view),
        list(columns, |it| format!("{} AS {}", it.expr, it.quoted())),
    )
}

/// Stores versions where nothing stands yet.
fn insert(view: &View, columns: &[Column]) -> String {
    let names = list(columns, Column::quoted);
    format!(
        "INSERT INTO {} (entity_id, valid_from, valid_to, known_from, known_to, {names}, computed_at)
         SELECT e.entity_id, e.valid_from, e.valid_to, e.known_from, 'infinity', {}, pg_catalog.clock_timestamp()
         FROM ({}) e",
        view.relation("cvx_view_history"),
        list(columns, |it| format!("e.{}", it.quoted())),
        evaluated(view, columns)
    )
}

/// Stores of versions those that are not what stands already, bit for bit, and closes what they replace.
fn replace(view: &View, columns: &[Column]) -> String {
    let table = view.relation("cvx_view_history");
    let names = list(columns, Column::quoted);
    let of = |alias: &str| list(columns, |it| format!("{alias}.{}", it.quoted()));
    format!(
        "WITH evaluated AS MATERIALIZED (SELECT v.*, ROW({new}) AS image FROM ({evaluated}) v),
         compared AS (
            SELECT e.*, h.known_from AS stands_from,
                CASE WHEN pg_catalog.row_number() OVER one OPERATOR(pg_catalog.>) 1
                     THEN e.image OPERATOR(pg_catalog.*=) pg_catalog.lag(e.image) OVER one
                     ELSE h.known_from IS NOT NULL AND e.image OPERATOR(pg_catalog.*=) ROW({old}) END AS is_same
            FROM evaluated e LEFT JOIN {table} h ON h.entity_id OPERATOR(pg_catalog.=) e.entity_id
             AND h.valid_from OPERATOR(pg_catalog.=) e.valid_from AND h.known_to OPERATOR(pg_catalog.=) 'infinity'
            WINDOW one AS (PARTITION BY e.entity_id, e.valid_from ORDER BY e.known_from)),
         other AS (
            SELECT c.*, pg_catalog.row_number() OVER one AS n, pg_catalog.lead(c.known_from) OVER one AS known_to,
                pg_catalog.lead(c.valid_to_before) OVER one AS valid_until
            FROM compared c WHERE NOT c.is_same
            WINDOW one AS (PARTITION BY c.entity_id, c.valid_from ORDER BY c.known_from)),
         closed AS (
            UPDATE {table} h SET known_to = o.known_from, valid_to = o.valid_to_before FROM other o
            WHERE o.n OPERATOR(pg_catalog.=) 1 AND o.stands_from IS NOT NULL
              AND h.entity_id OPERATOR(pg_catalog.=) o.entity_id AND h.valid_from OPERATOR(pg_catalog.=) o.valid_from
              AND h.known_to OPERATOR(pg_catalog.=) 'infinity')
         INSERT INTO {table} (entity_id, valid_from, valid_to, known_from, known_to, {names}, computed_at)
         SELECT o.entity_id, o.valid_from, COALESCE(o.valid_until, o.valid_to), o.known_from,
            COALESCE(o.known_to, 'infinity'), {others}, pg_catalog.clock_timestamp()
         FROM other o",
        evaluated = evaluated(view, columns),
        new = of("v"),
        old = of("h"),
        others = of("o"),
    )
}

/// Computes versions and stores them; `fresh` ones without a look at what stands.
pub fn store(view: &View, versions: Vec<Evaluation<'_>>, fresh: bool) -> Result<(), ErrorReport> {
    if versions.is_empty() {
        return Ok(());
    }
    let columns = columns(view);
    let text = if fresh {
        insert(view, &columns)
    } else {
        replace(view, &columns)
    };
    let (of, of_array) = trajectory_type()?;
    let time = pg_sys::TIMESTAMPTZARRAYOID;
    let types = [of_array, pg_sys::TEXTARRAYOID, time, time, time, time, time];
    let ids: Vec<&str> = versions.iter().map(|it| it.entity_id).collect();
    let each = |value: fn(&Evaluation<'_>) -> TimestampTz| times(versions.iter().map(value));
    let times = [
        each(|it| it.ts),
        each(|it| it.version.valid_to),
        each(|it| it.version.valid_to_before),
        each(|it| it.version.known_from),
        each(|it| it.span_start),
    ];
    let trajectories = versions
        .into_iter()
        .filter_map(|it| it.trajectory.into_datum())
        .collect();
    // SAFETY: these are trajectories, a type of variable length that is aligned to 8 bytes.
    let trajectories = unsafe { DatumWithOid::new(Raw(array(trajectories, of, -1, false)), of_array) };
    let mut arguments = vec![trajectories, ids.into()];
    arguments.extend(times);
    execute(text, &types, &arguments)
}

/// A datum that is what the statement's parameter says.
struct Raw(pg_sys::Datum);

impl IntoDatum for Raw {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::InvalidOid
    }
}

/// A time of an entity, and what is to be written there.
pub struct Mark<'a> {
    pub entity_id: &'a str,
    pub valid_from: TimestampTz,
    pub valid_to: TimestampTz,
    pub known: TimestampTz,
}

fn mark(view: &View, statement: &str, marks: &[Mark<'_>]) -> Result<(), ErrorReport> {
    if marks.is_empty() {
        return Ok(());
    }
    let text = statement
        .replace("{table}", &view.relation("cvx_view_history"))
        .replace(
            "{marks}",
            &format!(
                "ROWS FROM (pg_catalog.unnest($1::{}[]), pg_catalog.unnest($2), pg_catalog.unnest($3),
                pg_catalog.unnest($4)) m(entity_id, valid_from, valid_to, known)
             WHERE h.entity_id OPERATOR(pg_catalog.=) m.entity_id
               AND h.valid_from OPERATOR(pg_catalog.=) m.valid_from
               AND h.known_to OPERATOR(pg_catalog.=) 'infinity'",
                view.entity_type()
            ),
        );
    let time = pg_sys::TIMESTAMPTZARRAYOID;
    let ids: Vec<&str> = marks.iter().map(|it| it.entity_id).collect();
    let arguments = [
        ids.into(),
        times(marks.iter().map(|it| it.valid_from)),
        times(marks.iter().map(|it| it.valid_to)),
        times(marks.iter().map(|it| it.known)),
    ];
    execute(text, &[pg_sys::TEXTARRAYOID, time, time, time], &arguments)
}

/// Takes away what was known from no earlier than `known`: it is replaced in the same moment.
pub fn take_back(view: &View, marks: &[Mark<'_>]) -> Result<(), ErrorReport> {
    let delete = "DELETE FROM {table} h USING {marks} AND h.known_from OPERATOR(pg_catalog.>=) m.known";
    mark(view, delete, marks)
}

/// Closes versions whose points are gone: `known` is when.
pub fn close(view: &View, marks: &[Mark<'_>]) -> Result<(), ErrorReport> {
    take_back(view, marks)?;
    mark(
        view,
        "UPDATE {table} h SET known_to = m.known, valid_to = m.valid_to FROM {marks}",
        marks,
    )
}

/// Sets the time of the next point.
pub fn move_end(view: &View, marks: &[Mark<'_>]) -> Result<(), ErrorReport> {
    mark(
        view,
        "UPDATE {table} h SET valid_to = m.valid_to FROM {marks}",
        marks,
    )
}

/// Entities that have current versions, and that neither the view holds nor its source has any more.
pub fn gone(view: &View, is_indexed: bool) -> Result<Vec<String>, ErrorReport> {
    // Most are in the view: the source, by its index, is asked for the others only.
    let one_by_one = if is_indexed { " OFFSET 0" } else { "" };
    let query = format!(
        "SELECT g.entity_id::pg_catalog.text FROM (
            SELECT DISTINCT h.entity_id FROM {} h WHERE h.known_to OPERATOR(pg_catalog.=) 'infinity'
              AND NOT EXISTS (SELECT FROM {} d WHERE d.entity_id OPERATOR(pg_catalog.=) h.entity_id) OFFSET 0) g
         WHERE NOT EXISTS (SELECT FROM {} p WHERE p.entity_id OPERATOR(pg_catalog.=) g.entity_id{one_by_one})",
        view.relation("cvx_view_history"),
        view.relation("cvx_view_data"),
        view.relation("cvx_view_points"),
    );
    Spi::connect(|client| {
        let rows = client.select(query.as_str(), None, &[])?;
        rows.map(|row| Ok(row.get::<String>(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)
}
