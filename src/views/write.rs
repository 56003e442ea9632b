//! Statements on a view's own relations, run as its owner.

use std::ffi::CString;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};

use super::refresh::Dirty;
use crate::catalog::view::{Kind, Reads, Sweep, View};
use crate::catalog::{Statements, internal, prepared, rights};
use crate::workers::process::now;

thread_local! {
    /// By the view's table, which no other view ever has, and statement.
    static KEPT: Statements<(pg_sys::Oid, u8)> = Statements::default();
}

const UPSERT: u8 = 0;
const FORGET: u8 = 1;
const DELETE: u8 = 2;
const INSERT: u8 = 3;

/// What one scan of a range came to.
pub struct Range {
    pub entities: i64,
    /// How many entities there are more.
    pub change: i64,
    /// None: it reached the end.
    pub last: Option<String>,
}

/// A column of the view.
struct Column {
    name: String,
    sql_type: String,
}

/// The columns of the view, as its definition has them.
fn columns(it: &View) -> Result<Vec<Column>, ErrorReport> {
    let query = "SELECT a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod)
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.regclass
          AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped ORDER BY a.attnum";
    Spi::connect(|client| {
        let rows = client.select(query, None, &[definition(it).into()])?;
        rows.map(|row| {
            Ok(Column {
                name: quote_identifier(row.get::<String>(1)?.unwrap_or_default()),
                sql_type: row.get(2)?.unwrap_or_default(),
            })
        })
        .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)
}

/// On a conflict every column gets its new value.
fn replace(columns: &[Column]) -> String {
    let set: Vec<String> = columns
        .iter()
        .map(|it| format!("{0} = EXCLUDED.{0}", it.name))
        .collect();
    format!(
        "ON CONFLICT (entity_id) DO UPDATE SET {}, computed_at = EXCLUDED.computed_at",
        set.join(", ")
    )
}

fn clock() -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(now()).ok()
}

fn data(it: &View) -> String {
    it.relation("cvx_view_data")
}

fn definition(it: &View) -> String {
    it.relation("cvx_view_definition")
}

/// The table that holds what was computed.
fn table(it: &View) -> pg_sys::Oid {
    // A name out of a catalog holds no NUL.
    let name = CString::new(it.name.as_str()).unwrap_or_default();
    // SAFETY: look-ups by C strings; what is missing is InvalidOid.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"cvx_view_data".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    }
}

/// Runs a statement that is kept for the view; the two values of its only row.
fn execute(
    it: &View,
    which: u8,
    query: impl FnOnce() -> Result<String, ErrorReport>,
    types: &[pg_sys::Oid],
    arguments: &[DatumWithOid<'_>],
) -> Result<(i64, i64), ErrorReport> {
    let key = (table(it), which);
    let known = KEPT.with_borrow(|kept| kept.contains_key(&key));
    let text = if known { String::new() } else { query()? };
    Spi::connect_mut(|client| {
        let statement = prepared(&KEPT, key, || {
            let types: Vec<PgOid> = types.iter().map(|it| PgOid::from(*it)).collect();
            Ok(client.prepare_mut(text.as_str(), &types)?.keep())
        })?;
        client
            .update(&*statement, None, arguments)?
            .first()
            .get_two::<i64, i64>()
    })
    .map(counts)
    .map_err(|error: pgrx::spi::Error| internal(error))
}

fn counts((first, second): (Option<i64>, Option<i64>)) -> (i64, i64) {
    (first.unwrap_or_default(), second.unwrap_or_default())
}

/// As `execute`, planned for these arguments: of an array that the planner knows it makes a hash table.
fn execute_once(query: &str, arguments: &[DatumWithOid<'_>]) -> Result<(i64, i64), ErrorReport> {
    Spi::connect_mut(|client| {
        client
            .update(query, None, arguments)?
            .first()
            .get_two::<i64, i64>()
    })
    .map(counts)
    .map_err(internal)
}

/// Whether an index finds the points of an entity.
pub(super) fn is_indexed(it: &View) -> Result<bool, ErrorReport> {
    let Reads::Table(tracked_id) = &it.reads else {
        return Ok(true);
    };
    let query = "SELECT EXISTS (SELECT FROM cvx.tracked_table t
        JOIN pg_catalog.pg_index x ON x.indrelid OPERATOR(pg_catalog.=) t.relation AND x.indisvalid AND x.indpred IS NULL
        JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) x.indrelid
         AND a.attnum OPERATOR(pg_catalog.=) x.indkey[0] AND a.attname OPERATOR(pg_catalog.=) t.entity_column
        WHERE t.tracked_id OPERATOR(pg_catalog.=) $1)";
    let found = rights::as_extension_owner(|| {
        Spi::get_one_with_args::<bool>(query, &[(*tracked_id).into()]).map_err(internal)
    })?;
    Ok(found.unwrap_or_default())
}

/// Computes entities anew. Returns how many there are more than before.
pub fn entities(it: &View, dirty: &[Dirty]) -> Result<i64, ErrorReport> {
    let ids: Vec<String> = dirty.iter().map(|it| it.entity_id.clone()).collect();
    let (entity_type, data, definition) = (&it.entity_type, data(it), definition(it));
    // One index scan an entity: joined laterally, the id reaches the definition's grouping. Without the OFFSET the
    // planner would flatten it into a join with the whole. Without an index each entity would be a scan of the table.
    let is_indexed = is_indexed(it)?;
    let computed = if is_indexed {
        format!(
            "SELECT d.*, $2 FROM pg_catalog.unnest($1) i(id)
             CROSS JOIN LATERAL (SELECT * FROM {definition} q
                WHERE q.entity_id OPERATOR(pg_catalog.=) i.id::{entity_type} OFFSET 0) d"
        )
    } else {
        format!(
            "SELECT q.*, $2 FROM {definition} q
             WHERE q.entity_id OPERATOR(pg_catalog.=) ANY ($1::{entity_type}[])"
        )
    };
    let types = [pg_sys::TEXTARRAYOID, pg_sys::TIMESTAMPTZOID];
    let at = clock();
    if it.kind == Kind::TemporalFeatures {
        let upsert = || {
            Ok(format!(
                "WITH up AS (INSERT INTO {data} AS o {computed} {} RETURNING (o.xmax OPERATOR(pg_catalog.=) 0) AS is_new)
                 SELECT pg_catalog.count(*) FILTER (WHERE u.is_new), pg_catalog.count(*) FROM up u",
                replace(&columns(it)?)
            ))
        };
        let arguments = [ids.clone().into(), at.into()];
        let (added, found) = if is_indexed {
            execute(it, UPSERT, upsert, &types, &arguments)?
        } else {
            execute_once(&upsert()?, &arguments)?
        };
        if found as usize == ids.len() {
            return Ok(added);
        }
        let forget = || {
            Ok(format!(
                "WITH gone AS (DELETE FROM {data} o WHERE o.entity_id OPERATOR(pg_catalog.=) ANY ($1::{entity_type}[])
                    AND o.computed_at IS DISTINCT FROM $2 RETURNING 1)
                 SELECT pg_catalog.count(*), 0::pg_catalog.int8 FROM gone g"
            ))
        };
        let (gone, _) = execute(it, FORGET, forget, &types, &[ids.into(), at.into()])?;
        return Ok(added - gone);
    }
    let delete = || {
        Ok(format!(
            "WITH gone AS (DELETE FROM {data} o WHERE o.entity_id OPERATOR(pg_catalog.=) ANY ($1::{entity_type}[])
                RETURNING o.entity_id)
             SELECT pg_catalog.count(DISTINCT g.entity_id), 0::pg_catalog.int8 FROM gone g"
        ))
    };
    let (gone, _) = execute(it, DELETE, delete, &types[..1], &[ids.clone().into()])?;
    let insert = format!(
        "WITH new AS (INSERT INTO {data} AS o {computed} RETURNING o.entity_id)
         SELECT pg_catalog.count(DISTINCT n.entity_id), 0::pg_catalog.int8 FROM new n"
    );
    let arguments = [ids.into(), at.into()];
    let (added, _) = if is_indexed {
        execute(it, INSERT, || Ok(insert), &types, &arguments)?
    } else {
        execute_once(&insert, &arguments)?
    };
    Ok(added - gone)
}

/// The condition that the entities of `alias` come after a position.
pub fn after(it: &View, alias: &str, position: &Option<String>) -> String {
    match position {
        None => String::from("WHERE true"),
        Some(position) => format!(
            "WHERE {alias}.entity_id OPERATOR(pg_catalog.>) {}",
            literal(it, position)
        ),
    }
}

/// An entity's id as SQL.
fn literal(it: &View, id: &str) -> String {
    format!("{}::{}", quote_literal(id), it.entity_type)
}

/// Computes the next entities after a sweep's position by one scan.
pub fn range(it: &View, sweep: &Sweep, most: i64) -> Result<Range, ErrorReport> {
    let query = format!(
        "SELECT * FROM {} q {} ORDER BY q.entity_id LIMIT {most}",
        definition(it),
        after(it, "q", &sweep.position)
    );
    let written = gather(it, sweep, &query)?;
    let last = written.last.clone().filter(|_| written.entities >= most);
    finish_range(it, sweep, &written, last)
}

/// Computes all entities after the sweep's position up to the last of `bounds`, or to the end, slice by slice between
/// the bounds: as many at the same time as parallel query allows.
pub fn slices(it: &View, sweep: &Sweep, bounds: &[String], to_end: bool) -> Result<Range, ErrorReport> {
    let definition = definition(it);
    let mut from = sweep.position.clone();
    let mut slices: Vec<String> = Vec::with_capacity(bounds.len() + 1);
    for bound in bounds {
        slices.push(format!(
            "SELECT * FROM {definition} q {} AND q.entity_id OPERATOR(pg_catalog.<=) {}",
            after(it, "q", &from),
            literal(it, bound)
        ));
        from = Some(bound.clone());
    }
    if to_end {
        slices.push(format!("SELECT * FROM {definition} q {}", after(it, "q", &from)));
    }
    let written = gather(it, sweep, &slices.join(" UNION ALL "))?;
    let last = if to_end { None } else { bounds.last().cloned() };
    finish_range(it, sweep, &written, last)
}

struct Written {
    entities: i64,
    /// Of them, those that were not there.
    added: i64,
    last: Option<String>,
    at: Option<TimestampWithTimeZone>,
    /// Whether the view held nothing there before.
    is_new: bool,
}

/// Writes what a query over the definition brings. It runs as a query of its own, since one with an INSERT has no
/// parallel plan.
fn gather(it: &View, sweep: &Sweep, query: &str) -> Result<Written, ErrorReport> {
    let (data, at) = (data(it), clock());
    let is_new = !exists_after(it, sweep)?;
    let columns = columns(it)?;
    let typed: Vec<String> = columns
        .iter()
        .map(|it| format!("{} {}", it.name, it.sql_type))
        .collect();
    let select = format!("SELECT g.*, $1 FROM cvx._gather($2) g({})", typed.join(", "));
    let statement = if is_new {
        format!(
            "WITH new AS (INSERT INTO {data} AS o {select} RETURNING o.entity_id)
             SELECT pg_catalog.count(*), pg_catalog.count(*), pg_catalog.max(n.entity_id)::pg_catalog.text FROM new n"
        )
    } else {
        format!(
            "WITH new AS (INSERT INTO {data} AS o {select} {}
                RETURNING o.entity_id, (o.xmax OPERATOR(pg_catalog.=) 0) AS is_new)
             SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE n.is_new),
                pg_catalog.max(n.entity_id)::pg_catalog.text FROM new n",
            replace(&columns)
        )
    };
    // PostgreSQL has no max(uuid).
    let statement = match it.entity_type.as_str() {
        "uuid" => statement.replace(
            "pg_catalog.max(n.entity_id)::pg_catalog.text",
            "pg_catalog.max(n.entity_id::pg_catalog.text)",
        ),
        _ => statement,
    };
    let (entities, added, last) = Spi::connect_mut(|client| {
        let rows = client.update(statement.as_str(), None, &[at.into(), query.into()])?;
        rows.first().get_three::<i64, i64, String>()
    })
    .map_err(internal)?;
    Ok(Written {
        entities: entities.unwrap_or_default(),
        added: added.unwrap_or_default(),
        last,
        at,
        is_new,
    })
}

/// What the view held there and was not found again goes.
fn finish_range(
    it: &View,
    sweep: &Sweep,
    written: &Written,
    last: Option<String>,
) -> Result<Range, ErrorReport> {
    let gone = if written.is_new {
        0
    } else {
        let others = "o.computed_at IS DISTINCT FROM $3";
        gone(it, sweep, last.as_deref(), others, written.at.into())?
    };
    Ok(Range {
        entities: written.entities,
        change: written.added - gone,
        last,
    })
}

/// Whether the view holds anything after the sweep's position.
fn exists_after(it: &View, sweep: &Sweep) -> Result<bool, ErrorReport> {
    let query = format!(
        "SELECT EXISTS (SELECT FROM {} o {})",
        data(it),
        after(it, "o", &sweep.position)
    );
    Spi::connect_mut(|client| {
        client
            .update(query.as_str(), None, &[])?
            .first()
            .get_one::<bool>()
    })
    .map(|found| found == Some(true))
    .map_err(internal)
}

/// Deletes entities of a range that are no more: all but those that were found there. How many.
pub fn forget_others(
    it: &View,
    sweep: &Sweep,
    last: Option<&str>,
    found: &[String],
) -> Result<i64, ErrorReport> {
    let condition = format!(
        "o.entity_id OPERATOR(pg_catalog.<>) ALL ($3::{}[])",
        it.entity_type
    );
    gone(it, sweep, last, &condition, found.to_vec().into())
}

fn gone(
    it: &View,
    sweep: &Sweep,
    last: Option<&str>,
    condition: &str,
    third: DatumWithOid<'_>,
) -> Result<i64, ErrorReport> {
    let entity_type = &it.entity_type;
    let query = format!(
        "WITH gone AS (DELETE FROM {} o
            WHERE ($1::pg_catalog.text IS NULL OR o.entity_id OPERATOR(pg_catalog.>) $1::pg_catalog.text::{entity_type})
              AND ($2::pg_catalog.text IS NULL OR o.entity_id OPERATOR(pg_catalog.<=) $2::pg_catalog.text::{entity_type})
              AND {condition} RETURNING o.entity_id)
         SELECT pg_catalog.count(DISTINCT g.entity_id) FROM gone g",
        data(it)
    );
    let arguments = [sweep.position.clone().into(), last.into(), third];
    Spi::connect_mut(|client| {
        client
            .update(query.as_str(), Some(1), &arguments)?
            .first()
            .get_one::<i64>()
    })
    .map(Option::unwrap_or_default)
    .map_err(internal)
}

/// Computes a whole view at once. How many entities it has.
pub fn whole(it: &View) -> Result<i64, ErrorReport> {
    Spi::run(&format!("DELETE FROM {}", data(it))).map_err(internal)?;
    let insert = format!(
        "WITH new AS (INSERT INTO {} AS o SELECT d.*, $1 FROM {} d RETURNING o.entity_id)
         SELECT pg_catalog.count(DISTINCT n.entity_id) FROM new n",
        data(it),
        definition(it)
    );
    Spi::connect_mut(|client| {
        client
            .update(insert.as_str(), Some(1), &[clock().into()])?
            .first()
            .get_one::<i64>()
    })
    .map(Option::unwrap_or_default)
    .map_err(internal)
}
