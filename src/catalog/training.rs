//! cvx.training_set, and the tables in schema cvx_training.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};

use super::history::{collation, columns};
use super::point_in_time::known;
use super::view::View;
use super::{internal, rights};
use crate::views::definition::micros;

/// A relation whose rows a training set has.
pub struct Spine {
    /// Qualified and quoted.
    pub relation: String,
    pub kind: String,
    /// Names and base types.
    pub columns: Vec<(String, pg_sys::Oid)>,
}

impl Spine {
    pub fn read(oid: pg_sys::Oid) -> Result<Option<Spine>, ErrorReport> {
        let query = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text,
                a.attname::pg_catalog.text, a.atttypid
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
             AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
            WHERE c.oid OPERATOR(pg_catalog.=) $1 ORDER BY a.attnum";
        Spi::connect(|client| {
            let mut spine = None;
            for row in client.select(query, None, &[oid.into()])? {
                let text = |i| row.get::<String>(i).map(Option::unwrap_or_default);
                let spine = match &mut spine {
                    Some(spine) => spine,
                    none => none.insert(Spine {
                        relation: format!("{}.{}", quote_identifier(text(1)?), quote_identifier(text(2)?)),
                        kind: text(3)?,
                        columns: Vec::new(),
                    }),
                };
                if let Some(of) = row.get::<pg_sys::Oid>(5)? {
                    // SAFETY: a look-up in the catalog.
                    spine.columns.push((text(4)?, unsafe { pg_sys::getBaseType(of) }));
                }
            }
            Ok(spine)
        })
        .map_err(internal)
    }

    pub fn type_of(&self, column: &str) -> Option<pg_sys::Oid> {
        self.columns.iter().find(|it| it.0 == column).map(|it| it.1)
    }
}

/// The names of the columns that a view adds: with each the column of its history.
pub fn added(view: &View) -> Vec<(String, String)> {
    let features = columns(view)
        .into_iter()
        .filter(|it| it.is_feature)
        .map(|it| it.name);
    features
        .chain([String::from("valid_from")])
        .map(|it| (format!("{}_{it}", view.name), it))
        .collect()
}

/// Makes the table of a training set, as its owner. The rows of the spine are taken in the order of the histories, so
/// that what is looked up lies near to what was looked up before. Returns how many there are.
pub fn fill(name: &str, spine: &Spine, views: &[View], bitemporal: bool) -> Result<i64, ErrorReport> {
    /// With a ttl of more, nothing expires.
    const EVER: i64 = 100_000 * 366 * 86_400_000_000;
    let (mut selected, mut joined) = (String::from("s.*"), String::new());
    for (n, view) in views.iter().enumerate() {
        let mut wanted = Vec::new();
        for (name, column) in added(view) {
            let column = quote_identifier(column);
            selected.push_str(&format!(", v{n}.{column} AS {}", quote_identifier(name)));
            wanted.push(format!("h.{column}"));
        }
        let alive = match view.config.ttl.filter(|it| *it < EVER) {
            None => String::from("true"),
            Some(ttl) => format!(
                "(v{n}.valid_from OPERATOR(pg_catalog.+) {}) OPERATOR(pg_catalog.>=) s.ts",
                micros(ttl)
            ),
        };
        joined.push_str(&format!(
            " LEFT JOIN LATERAL (
                SELECT {} FROM {} h
                WHERE h.entity_id OPERATOR(pg_catalog.=) s.entity_id AND h.valid_from OPERATOR(pg_catalog.<=) s.ts
                  AND {} ORDER BY h.valid_from DESC LIMIT 1) v{n} ON {alive}",
            wanted.join(", "),
            view.relation("cvx_view_history"),
            known("h", bitemporal.then_some("s.ts")),
        ));
    }
    let order = views.first().map_or("", collation);
    let create = format!(
        "CREATE TABLE cvx_training.{} AS SELECT {selected}
         FROM (SELECT r.* FROM {} r ORDER BY r.entity_id{order}, r.ts OFFSET 0) s{joined}",
        quote_identifier(name),
        spine.relation
    );
    Spi::connect_mut(|client| Ok(client.update(create.as_str(), None, &[])?.len() as i64)).map_err(internal)
}

pub fn comment(name: &str, spine: &Spine) -> Result<(), ErrorReport> {
    let text = format!(
        "training set of {}, made by cvx.create_training_set",
        spine.relation
    );
    let comment = format!(
        "COMMENT ON TABLE cvx_training.{} IS {}",
        quote_identifier(name),
        quote_literal(text)
    );
    Spi::run(&comment).map_err(internal)
}

/// Whether the schema has a relation of this name.
pub fn exists(name: &str) -> Result<bool, ErrorReport> {
    let query = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
    ask(
        query,
        &[format!("cvx_training.{}", quote_identifier(name)).into()],
    )
}

/// Whether the current user may make tables in the schema.
pub fn may_create() -> Result<bool, ErrorReport> {
    ask(
        "SELECT pg_catalog.has_schema_privilege('cvx_training', 'CREATE')",
        &[],
    )
}

fn ask(query: &str, arguments: &[DatumWithOid<'_>]) -> Result<bool, ErrorReport> {
    let answer = Spi::connect(|client| {
        client
            .select(query, Some(1), arguments)?
            .first()
            .get_one::<bool>()
    });
    Ok(answer.map_err(internal)?.unwrap_or_default())
}

/// What is out of date in a view.
pub enum Stale {
    All,
    These(Vec<String>),
}

/// As the extension's owner.
pub fn stale(view_id: i32) -> Result<Stale, ErrorReport> {
    let whole = "SELECT EXISTS (SELECT FROM cvx.view_state t WHERE t.view_id OPERATOR(pg_catalog.=) $1
              AND (t.sweep_since IS NOT NULL OR t.untracked_since IS NOT NULL))
            OR EXISTS (SELECT FROM cvx._view_marks m WHERE m.view_id OPERATOR(pg_catalog.=) $1 AND m.entity_id IS NULL)";
    if ask(whole, &[view_id.into()])? {
        return Ok(Stale::All);
    }
    let query =
        "SELECT DISTINCT m.entity_id FROM cvx._view_marks m WHERE m.view_id OPERATOR(pg_catalog.=) $1";
    let ids = Spi::connect(|client| {
        let rows = client.select(query, None, &[view_id.into()])?;
        rows.map(|row| Ok(row.get::<String>(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<Vec<_>>>()
    });
    Ok(Stale::These(ids.map_err(internal)?))
}

/// How many entities of the spine are out of date.
pub fn stale_of(spine: &Spine, stale: Stale) -> Result<i64, ErrorReport> {
    let counted = "SELECT pg_catalog.count(DISTINCT s.entity_id) FROM";
    let (query, arguments) = match stale {
        Stale::All => (format!("{counted} {} s", spine.relation), vec![]),
        Stale::These(ids) if ids.is_empty() => return Ok(0),
        Stale::These(ids) => (
            format!(
                "{counted} {} s WHERE s.entity_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)",
                spine.relation
            ),
            vec![ids.into()],
        ),
    };
    let count = Spi::connect(|client| {
        client
            .select(query.as_str(), Some(1), &arguments)?
            .first()
            .get_one::<i64>()
    });
    Ok(count.map_err(internal)?.unwrap_or_default())
}

/// Notes what a training set was made of, as the extension's owner.
pub fn record(
    name: &str,
    spine: &Spine,
    views: &[View],
    bitemporal: bool,
    rows: i64,
    owner: pg_sys::Oid,
) -> Result<(), ErrorReport> {
    // A table that was dropped by hand has left its row.
    let insert = "INSERT INTO cvx.training_set (name, spine, views, bitemporal, rows, owner)
        SELECT $1, $2, pg_catalog.jsonb_agg(pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                'name', v.name, 'type', v.type, 'config', v.config, 'entity_filter', v.entity_filter,
                'space', p.name, 'model', v.model, 'source_table', t.relation::pg_catalog.regclass::pg_catalog.text,
                'definition', pg_catalog.pg_get_viewdef(c.oid))) ORDER BY i.n), $4, $5, $6
        FROM pg_catalog.unnest($3) WITH ORDINALITY i(view_id, n)
        JOIN cvx.view v ON v.view_id OPERATOR(pg_catalog.=) i.view_id
        LEFT JOIN cvx.space p ON p.space_id OPERATOR(pg_catalog.=) v.space_id
        LEFT JOIN cvx.tracked_table t ON t.tracked_id OPERATOR(pg_catalog.=) v.tracked_id
        LEFT JOIN pg_catalog.pg_class c ON c.relname OPERATOR(pg_catalog.=) v.name
         AND c.relnamespace OPERATOR(pg_catalog.=) 'cvx_view_definition'::pg_catalog.regnamespace
        ON CONFLICT (name) DO UPDATE SET spine = EXCLUDED.spine, views = EXCLUDED.views,
            bitemporal = EXCLUDED.bitemporal, rows = EXCLUDED.rows, owner = EXCLUDED.owner,
            created_at = EXCLUDED.created_at";
    let ids: Vec<i32> = views.iter().map(|it| it.view_id).collect();
    let arguments = [
        name.into(),
        spine.relation.as_str().into(),
        ids.into(),
        bitemporal.into(),
        rows.into(),
        rights::name_of(owner)?.into(),
    ];
    Spi::run_with_args(insert, &arguments).map_err(internal)
}

/// Who made a training set; None: there is none of this name.
pub fn owner_of(name: &str) -> Result<Option<String>, ErrorReport> {
    let query =
        "SELECT t.owner::pg_catalog.text FROM cvx.training_set t WHERE t.name OPERATOR(pg_catalog.=) $1";
    Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[name.into()])?;
        rows.map(|row| row.get::<String>(1)).next().transpose()
    })
    .map(Option::flatten)
    .map_err(internal)
}

pub fn forget(name: &str) -> Result<(), ErrorReport> {
    let delete = "DELETE FROM cvx.training_set t WHERE t.name OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(delete, &[name.into()]).map_err(internal)
}

pub fn drop_table(name: &str) -> Result<(), ErrorReport> {
    Spi::run(&format!("DROP TABLE cvx_training.{}", quote_identifier(name))).map_err(internal)
}
