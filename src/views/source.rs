//! What a view reads: tables of users, looked at closely before anything is made of them.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_qualified_identifier};

use super::create::run;
use super::definition::{Columns, Points};
use super::refused;
use crate::catalog::view::{Reads, View};
use crate::catalog::{internal, rights};

/// Types whose equality is that of their text, and that have an order.
const ENTITY_TYPES: [(&str, pg_sys::Oid); 6] = [
    ("pg_catalog.text", pg_sys::TEXTOID),
    ("pg_catalog.varchar", pg_sys::VARCHAROID),
    ("pg_catalog.int2", pg_sys::INT2OID),
    ("pg_catalog.int4", pg_sys::INT4OID),
    ("pg_catalog.int8", pg_sys::INT8OID),
    ("pg_catalog.uuid", pg_sys::UUIDOID),
];

/// A table of a user, as cvx.create_view was told of it.
pub struct Asked {
    pub relation: pg_sys::Oid,
    pub entity_column: String,
    pub ts_column: String,
    pub vector_column: String,
}

pub struct Found {
    pub columns: Columns,
    pub entity_type: String,
}

impl Columns {
    pub fn of_space(space_id: i32) -> Self {
        Columns {
            relation: String::from("cvx.embedding"),
            space_id: Some(space_id),
            entity: String::from("s.entity_id"),
            ts: String::from("s.ts"),
            vec: String::from("s.vec"),
            ingested_at: String::from("s.ingested_at"),
        }
    }
}

/// The schema in which pgvector is.
pub fn vector_schema() -> Result<String, ErrorReport> {
    let query = "SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_extension e
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
        WHERE e.extname OPERATOR(pg_catalog.=) 'vector'";
    let found = Spi::get_one::<String>(query).map_err(internal)?;
    Ok(found.unwrap_or_else(|| String::from("public")))
}

/// Whoever makes a view of a space or a model reads embeddings.
pub fn check_embedding(owner: pg_sys::Oid) -> Result<(), ErrorReport> {
    let query = "SELECT pg_catalog.has_table_privilege($1, 'cvx.embedding', 'SELECT')";
    let may = Spi::get_one_with_args::<bool>(query, &[owner.into()]).map_err(internal)?;
    if may == Some(true) {
        return Ok(());
    }
    Err(refused(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        String::from("permission denied for table cvx.embedding"),
        "A superuser can call cvx.grant_read(role).",
    ))
}

/// What the catalogs say of a relation.
struct Relation {
    name: String,
    schema: String,
    kind: String,
    is_temporary: bool,
    may_read: bool,
    may_trigger: bool,
    is_system: bool,
    is_ours: bool,
}

fn relation(oid: pg_sys::Oid, owner: pg_sys::Oid) -> Result<Option<Relation>, ErrorReport> {
    let query = "SELECT c.relname::pg_catalog.text, n.nspname::pg_catalog.text, c.relkind::pg_catalog.text,
            c.relpersistence OPERATOR(pg_catalog.=) 't',
            pg_catalog.has_table_privilege($2, c.oid, 'SELECT'), pg_catalog.has_table_privilege($2, c.oid, 'TRIGGER'),
            n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog', 'information_schema', 'pg_toast']),
            n.nspname OPERATOR(pg_catalog.~) '^cvx(_|$)'
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.oid OPERATOR(pg_catalog.=) $1";
    Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[oid.into(), owner.into()])?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        let text = |i| row.get::<String>(i).map(Option::unwrap_or_default);
        let flag = |i| row.get::<bool>(i).map(Option::unwrap_or_default);
        Ok(Some(Relation {
            name: text(1)?,
            schema: text(2)?,
            kind: text(3)?,
            is_temporary: flag(4)?,
            may_read: flag(5)?,
            may_trigger: flag(6)?,
            is_system: flag(7)?,
            is_ours: flag(8)?,
        }))
    })
    .map_err(|error: pgrx::spi::Error| internal(error))
}

/// Checks a table and its columns; with the rights of the view's owner to be.
pub fn resolve(asked: &Asked, ingested_at: Option<&str>, owner: pg_sys::Oid) -> Result<Found, ErrorReport> {
    use PgSqlErrorCode::*;
    let Some(it) = relation(asked.relation, owner)? else {
        return Err(refused(
            ERRCODE_UNDEFINED_TABLE,
            format!("there is no relation with oid {}", asked.relation.to_u32()),
            "Give source_table as a name, such as 'public.items'.",
        ));
    };
    let name = quote_qualified_identifier(&it.schema, &it.name);
    if it.is_ours {
        return Err(refused(
            ERRCODE_WRONG_OBJECT_TYPE,
            format!("{name} belongs to cvx"),
            "A space is named by its own argument: space => 'name'.",
        ));
    }
    if !["r", "p"].contains(&it.kind.as_str()) || it.is_temporary || it.is_system {
        return Err(refused(
            ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("{name} is not a table whose changes can be followed"),
            "Views read permanent tables, partitioned or not: no views, materialized views, foreign, temporary or system tables.",
        ));
    }
    if !it.may_read {
        return Err(refused(
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for table {name}"),
            "The owner of a view needs SELECT on what it reads.",
        ));
    }
    check_trigger_right(&it, &name)?;
    let entity = column(asked.relation, &name, &asked.entity_column)?;
    let ts = column(asked.relation, &name, &asked.ts_column)?;
    let vector = column(asked.relation, &name, &asked.vector_column)?;
    let Some((entity_type, _)) = ENTITY_TYPES.iter().find(|(_, oid)| *oid == entity.type_oid) else {
        return Err(refused(
            ERRCODE_DATATYPE_MISMATCH,
            format!(
                "column {:?} of {name} is of type {}",
                asked.entity_column, entity.type_name
            ),
            "An entity's id is a text, varchar, smallint, integer, bigint or uuid; make a generated column of what else there is.",
        ));
    };
    if !entity.is_deterministic {
        return Err(refused(
            ERRCODE_FEATURE_NOT_SUPPORTED,
            format!(
                "column {:?} of {name} has a nondeterministic collation",
                asked.entity_column
            ),
            "Ids that differ must differ byte by byte: alter the column's collation, or make a generated column with another.",
        ));
    }
    if ts.type_oid != pg_sys::TIMESTAMPTZOID {
        return Err(refused(
            ERRCODE_DATATYPE_MISMATCH,
            format!(
                "column {:?} of {name} is of type {}",
                asked.ts_column, ts.type_name
            ),
            "Event times are timestamp with time zone: alter the column, or make a generated column with AT TIME ZONE.",
        ));
    }
    let vector_schema = vector_schema()?;
    let vec = match vector.type_name.rsplit('.').next().map(|it| it.trim_matches('"')) {
        Some("vector") if vector.schema == vector_schema => {
            format!("s.{}", quote_identifier(&asked.vector_column))
        }
        Some("halfvec") if vector.schema == vector_schema => format!(
            "(s.{})::{}.vector",
            quote_identifier(&asked.vector_column),
            quote_identifier(&vector_schema)
        ),
        _ => {
            return Err(refused(
                ERRCODE_DATATYPE_MISMATCH,
                format!(
                    "column {:?} of {name} is of type {}",
                    asked.vector_column, vector.type_name
                ),
                "Vectors are of pgvector's type vector or halfvec.",
            ));
        }
    };
    let of = |column: &str| format!("s.{}", quote_identifier(column));
    let ingested_at = match ingested_at {
        None => of(&asked.ts_column),
        Some(given) => {
            let found = column(asked.relation, &name, given)?;
            if found.type_oid != pg_sys::TIMESTAMPTZOID {
                return Err(refused(
                    ERRCODE_DATATYPE_MISMATCH,
                    format!("column {given:?} of {name} is of type {}", found.type_name),
                    "The time of ingestion is a timestamp with time zone.",
                ));
            }
            of(given)
        }
    };
    Ok(Found {
        columns: Columns {
            relation: name,
            space_id: None,
            entity: of(&asked.entity_column),
            ts: of(&asked.ts_column),
            vec,
            ingested_at,
        },
        entity_type: (*entity_type).to_owned(),
    })
}

/// A view's triggers are made on the table by right of its owner.
fn check_trigger_right(it: &Relation, name: &str) -> Result<(), ErrorReport> {
    if it.may_trigger {
        return Ok(());
    }
    Err(refused(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("permission denied to follow the changes of table {name}"),
        "The owner of a view needs the privilege TRIGGER on what it reads: GRANT TRIGGER ON the table.",
    ))
}

struct Column {
    type_oid: pg_sys::Oid,
    type_name: String,
    schema: String,
    is_deterministic: bool,
}

fn column(relation: pg_sys::Oid, name: &str, column: &str) -> Result<Column, ErrorReport> {
    let query = "SELECT a.atttypid, t.typname::pg_catalog.text, n.nspname::pg_catalog.text, COALESCE(l.collisdeterministic, true)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
        LEFT JOIN pg_catalog.pg_collation l ON l.oid OPERATOR(pg_catalog.=) a.attcollation
        WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) $2
          AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped";
    let found = Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[relation.into(), column.into()])?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(Column {
            type_oid: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
            type_name: row.get(2)?.unwrap_or_default(),
            schema: row.get(3)?.unwrap_or_default(),
            is_deterministic: row.get(4)?.unwrap_or(true),
        }))
    })
    .map_err(|error: pgrx::spi::Error| internal(error))?;
    found.ok_or_else(|| {
        refused(
            PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            format!("column {column:?} of {name} does not exist"),
            "entity_column, ts_column and vector_column name columns as they are, in upper and lower case.",
        )
    })
}

/// Has every change of the tables that a cohort's query reads mark the whole view.
pub fn watch_query(view_id: i32, name: &str, points: &Points, owner: pg_sys::Oid) -> Result<(), ErrorReport> {
    // Through views, down to the tables. What belongs to an extension has triggers of its own or none.
    let query = "WITH RECURSIVE reads(oid) AS (
            SELECT pg_catalog.to_regclass(pg_catalog.format('cvx_view_definition.%I', $1))::pg_catalog.oid
            UNION
            SELECT d.refobjid FROM reads r
            JOIN pg_catalog.pg_rewrite w ON w.ev_class OPERATOR(pg_catalog.=) r.oid
            JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass
             AND d.objid OPERATOR(pg_catalog.=) w.oid
             AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass)
        SELECT c.oid, EXISTS (SELECT FROM pg_catalog.pg_inherits i
                WHERE i.inhparent OPERATOR(pg_catalog.=) c.oid OR i.inhrelid OPERATOR(pg_catalog.=) c.oid)
        FROM reads r JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.oid
        WHERE c.relkind OPERATOR(pg_catalog.<>) 'v'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                WHERE e.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                  AND e.objid OPERATOR(pg_catalog.=) c.oid AND e.deptype OPERATOR(pg_catalog.=) 'e')
        ORDER BY 1";
    let found = Spi::connect(|client| {
        let rows = client.select(query, None, &[name.into()])?;
        rows.map(|row| {
            Ok((
                row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid),
                row.get::<bool>(2)?.unwrap_or_default(),
            ))
        })
        .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)?;
    let own = match points {
        Points::Table(it) => it.relation.as_str(),
        Points::Model(_) => "cvx.embedding",
    };
    for (oid, inherits) in found {
        let Some(it) = relation(oid, owner)? else { continue };
        let table = quote_qualified_identifier(&it.schema, &it.name);
        if table == own {
            continue;
        }
        if it.kind != "r" || inherits || it.is_temporary {
            return Err(refused(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("the query of a cohort reads {table}, whose changes cannot be followed"),
                "It may read permanent tables without partitions or children, and views of them.",
            ));
        }
        check_trigger_right(&it, &table)?;
        run(&format!(
            "CREATE TRIGGER cvx_invalidate_all_{view_id} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
             FOR EACH STATEMENT EXECUTE FUNCTION cvx._invalidate_all('{view_id}')"
        ))?;
        run(&format!(
            "ALTER TABLE {table} ENABLE ALWAYS TRIGGER cvx_invalidate_all_{view_id}"
        ))?;
        // Logical replication fires no statement triggers but that of TRUNCATE.
        run(&format!(
            "CREATE TRIGGER cvx_invalidate_all_row_{view_id} AFTER INSERT OR UPDATE OR DELETE ON {table}
             FOR EACH ROW EXECUTE FUNCTION cvx._invalidate_all('{view_id}')"
        ))?;
        run(&format!(
            "ALTER TABLE {table} ENABLE REPLICA TRIGGER cvx_invalidate_all_row_{view_id}"
        ))?;
    }
    Ok(())
}

/// Takes these triggers away.
pub fn unwatch_query(view_id: i32) -> Result<(), ErrorReport> {
    let query = "SELECT pg_catalog.format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::pg_catalog.regclass)
        FROM pg_catalog.pg_trigger t
        WHERE t.tgname OPERATOR(pg_catalog.=) ANY (ARRAY[$1, $2]::pg_catalog.name[]) AND NOT t.tgisinternal
          AND t.tgfoid OPERATOR(pg_catalog.=) 'cvx._invalidate_all()'::pg_catalog.regprocedure";
    let names = [
        format!("cvx_invalidate_all_{view_id}").into(),
        format!("cvx_invalidate_all_row_{view_id}").into(),
    ];
    let statements = Spi::connect(|client| {
        let rows = client.select(query, None, &names)?;
        rows.map(|row| row.get::<String>(1).map(Option::unwrap_or_default))
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)?;
    statements.iter().try_for_each(|it| run(it))
}

/// Ids as their type writes them, each once: the log has them so. An id that is none of the type is an error.
pub fn spelled(ids: &[String], entity_type: &str) -> Result<Vec<String>, ErrorReport> {
    let query = format!(
        "SELECT DISTINCT (i.id::{entity_type})::pg_catalog.text FROM pg_catalog.unnest($1) i(id)
         WHERE i.id IS NOT NULL"
    );
    Spi::connect(|client| {
        let rows = client.select(query.as_str(), None, &[ids.to_vec().into()])?;
        rows.map(|row| Ok(row.get::<String>(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)
}

/// All entities that a view may be about, as a query of one column `entity_id`; more of them do no harm.
pub fn entities_query(it: &View) -> Result<String, ErrorReport> {
    match &it.reads {
        Reads::Space(id) => Ok(format!(
            "SELECT DISTINCT s.entity_id FROM cvx.embedding s WHERE s.space_id OPERATOR(pg_catalog.=) {id}"
        )),
        Reads::Model(model) => Ok(super::definition::entities_of(model)),
        Reads::Table(tracked_id) => {
            let query = "SELECT pg_catalog.format('SELECT DISTINCT s.%1$I AS entity_id FROM %2$s s WHERE s.%1$I IS NOT NULL',
                    t.entity_column, t.relation) FROM cvx.tracked_table t WHERE t.tracked_id OPERATOR(pg_catalog.=) $1";
            let found = rights::as_extension_owner(|| {
                Spi::get_one_with_args::<String>(query, &[(*tracked_id).into()]).map_err(internal)
            })?;
            found.ok_or_else(|| {
                refused(
                    PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                    format!("the table that view {:?} reads is gone", it.name),
                    "Drop the view with cvx.drop_view(name).",
                )
            })
        }
    }
}
