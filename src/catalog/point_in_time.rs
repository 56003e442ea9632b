//! What a view with history held of an entity at a time.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_literal;

use super::history::{columns, time};
use super::view::View;
use super::{Statements, internal, prepared};
use crate::types::{TimestampTz, sql_name, sql_result};

thread_local! {
    /// By their texts.
    static KEPT: Statements<String> = Statements::default();
}

/// The row of cvx.view with a name: its id, and what changes whenever the row does.
pub fn declared(name: &str) -> Result<Option<(i32, String)>, ErrorReport> {
    const QUERY: &str = "SELECT v.view_id, pg_catalog.concat(v.xmin, ' ', v.ctid) FROM cvx.view v
        WHERE v.name OPERATOR(pg_catalog.=) $1";
    let found = Spi::connect(|client| {
        let statement = prepared(&KEPT, QUERY.to_owned(), || {
            Ok(client.prepare(QUERY, &[PgOid::from(pg_sys::TEXTOID)])?.keep())
        })?;
        let rows = client.select(&*statement, Some(1), &[name.into()])?;
        rows.map(|row| Ok(row.get::<i32>(1)?.zip(row.get::<String>(2)?)))
            .next()
            .transpose()
    });
    found.map(Option::flatten).map_err(internal)
}

/// From when on changes of an entity may be missing in a view; None: it has them all. While all of a view is being
/// computed, that goes for every entity.
pub fn stale_since(view_id: i32, entity_id: &str) -> Result<Option<TimestampTz>, ErrorReport> {
    const QUERY: &str = "SELECT LEAST(t.sweep_since, t.untracked_since,
            (SELECT pg_catalog.min(m.stale_since) FROM cvx._view_marks m
             WHERE m.view_id OPERATOR(pg_catalog.=) $1 AND m.entity_id OPERATOR(pg_catalog.=) $2),
            (SELECT pg_catalog.min(m.stale_since) FROM cvx._view_marks m
             WHERE m.view_id OPERATOR(pg_catalog.=) $1 AND m.entity_id IS NULL))
        FROM cvx.view_state t WHERE t.view_id OPERATOR(pg_catalog.=) $1";
    let found = Spi::connect(|client| {
        let statement = prepared(&KEPT, QUERY.to_owned(), || {
            let types = [pg_sys::INT4OID, pg_sys::TEXTOID].map(PgOid::from);
            Ok(client.prepare(QUERY, &types)?.keep())
        })?;
        let rows = client.select(&*statement, Some(1), &[view_id.into(), entity_id.into()])?;
        rows.map(|row| row.get::<TimestampWithTimeZone>(1))
            .next()
            .transpose()
    });
    Ok(found.map_err(internal)?.flatten().map(TimestampTz::from))
}

/// The condition that a version was known at a time, an SQL expression; None: that it is known now.
pub fn known(alias: &str, at: Option<&str>) -> String {
    match at {
        None => format!("{alias}.known_to OPERATOR(pg_catalog.=) 'infinity'"),
        Some(at) => format!(
            "{alias}.known_from OPERATOR(pg_catalog.<=) {at} AND {alias}.known_to OPERATOR(pg_catalog.>) {at}"
        ),
    }
}

/// The query for an entity's features, $1, at a time, $2; $3 is put in as stale_since. With `known_at` by what was
/// known at $4.
pub fn query(view: &View, known_at: bool) -> String {
    let table = view.relation("cvx_view_history");
    let mut pairs = String::new();
    for it in columns(view) {
        let (key, column) = (quote_literal(&it.name), it.quoted());
        let cast = if it.is_vector { "::pg_catalog.float4[]" } else { "" };
        pairs.push_str(&format!("{key}, h.{column}{cast}, "));
    }
    let at = known_at.then_some("$4");
    let valid_to = if known_at {
        format!(
            "COALESCE((SELECT n.valid_from FROM {table} n WHERE n.entity_id OPERATOR(pg_catalog.=) h.entity_id
                AND n.valid_from OPERATOR(pg_catalog.>) h.valid_from AND {}
                ORDER BY n.valid_from LIMIT 1), 'infinity')",
            known("n", at)
        )
    } else {
        String::from("h.valid_to")
    };
    format!(
        "SELECT pg_catalog.jsonb_build_object({pairs}'valid_from', h.valid_from, 'valid_to', {valid_to},
            'stale_since', $3), h.valid_from
         FROM {table} h WHERE h.entity_id OPERATOR(pg_catalog.=) $1::{} AND h.valid_from OPERATOR(pg_catalog.<=) $2
           AND {} ORDER BY h.valid_from DESC LIMIT 1",
        view.entity_type(),
        known("h", at)
    )
}

/// A jsonb datum handed on as it is, in memory of the caller of SPI.
pub struct Json(pg_sys::Datum);

impl FromDatum for Json {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        // SAFETY: called between SPI_connect and SPI_finish with a varlena of the result; the copy goes to the
        // context that was current before SPI_connect.
        (!is_null).then(|| Json(unsafe { pg_sys::SPI_datumTransfer(datum, false, -1) }))
    }
}

impl IntoDatum for Json {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

sql_name!(Json, "jsonb");
sql_result!(Json);

/// What `query` finds: the features, and the point that they are of.
pub fn features(
    query: &str,
    entity_id: &str,
    as_of: TimestampTz,
    stale_since: Option<TimestampTz>,
    known_at: Option<TimestampTz>,
) -> Result<Option<(Json, TimestampTz)>, ErrorReport> {
    let mut types = vec![pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID];
    let absent = || DatumWithOid::null_oid(pg_sys::TIMESTAMPTZOID);
    let mut arguments = vec![
        entity_id.into(),
        time(as_of),
        stale_since.map_or_else(absent, time),
    ];
    if let Some(known_at) = known_at {
        types.push(pg_sys::TIMESTAMPTZOID);
        arguments.push(time(known_at));
    }
    let found = Spi::connect(|client| {
        let statement = prepared(&KEPT, query.to_owned(), || {
            let types: Vec<PgOid> = types.iter().map(|it| PgOid::from(*it)).collect();
            Ok(client.prepare(query, &types)?.keep())
        })?;
        let rows = client.select(&*statement, Some(1), &arguments)?;
        let get = |row: pgrx::spi::SpiHeapTupleData<'_>| {
            Ok(row.get::<Json>(1)?.zip(row.get::<TimestampWithTimeZone>(2)?))
        };
        rows.map(get).next().transpose()
    });
    let found = found.map_err(internal)?.flatten();
    Ok(found.map(|(features, valid_from)| (features, TimestampTz::from(valid_from))))
}
