//! Which columns are read, of which types they are on the other side, and how they are asked for.

use super::config::Config;
use super::error::Reporter;
use super::quote::{ident, literal};
use crate::{ErrorKind, SourceError};
use tokio_postgres::types::{Kind, Type};

/// Places of the fields in every row that is asked for; what is not configured is NULL.
pub(super) const ENTITY: usize = 0;
pub(super) const TS: usize = 1;
pub(super) const VECTOR: usize = 2;
pub(super) const TEXTS: usize = 3;
pub(super) const PRODUCED_AT: usize = 7;
pub(super) const ATTRS: usize = 8;
pub(super) const INCREMENTAL: usize = 9;
pub(super) const FIELDS: usize = 10;

/// The texts from [`TEXTS`] on.
pub(super) const TEXT_FIELDS: [&str; 4] = ["model_version", "model_hash", "input_hash", "pipeline_hash"];

/// The binary form in which a vector comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VectorKind {
    Vector,
    Half,
    Real,
    Double,
}

/// The form in which an ordered value comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// Microseconds since 2000, of a timestamp with or without time zone.
    Micros,
    /// Days since 2000.
    Days,
    /// Any integer type, as int8.
    Int,
    Text,
}

/// A column and its type, as SQL.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// `s."name"`.
    pub sql: String,
    /// `"schema"."type"`.
    pub type_sql: String,
    pub ty: Type,
    pub kind: ValueKind,
}

#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub entity: Column,
    pub ts: Column,
    pub vector: VectorKind,
    pub produced_at: ValueKind,
    pub incremental: Column,
    /// The select list of [`FIELDS`] fields.
    pub list: String,
}

/// The column's name in the query's row source `s`.
fn qualified(name: &str) -> String {
    format!("s.{}", ident(name))
}

/// A select list of the configured columns as they are, to learn their types.
pub(super) fn probe(config: &Config) -> String {
    names(config)
        .iter()
        .map(|name| qualified(name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// In the order of [`probe`]: entity, ts, vector, incremental, then those that are configured.
fn names(config: &Config) -> Vec<&str> {
    let incremental = config
        .incremental_column
        .as_ref()
        .unwrap_or(&config.timestamp_column);
    let mut names: Vec<&str> = vec![
        &config.entity_id_column,
        &config.timestamp_column,
        &config.vector_column,
        incremental,
    ];
    names.extend(optional(config).into_iter().flatten().map(String::as_str));
    names.extend(config.attrs_columns.iter().map(String::as_str));
    names
}

fn optional(config: &Config) -> [Option<&String>; 6] {
    [
        config.model_version_column.as_ref(),
        config.model_hash_column.as_ref(),
        config.input_hash_column.as_ref(),
        config.pipeline_hash_column.as_ref(),
        config.produced_at_column.as_ref(),
        config.attrs_column.as_ref(),
    ]
}

impl Columns {
    /// From the types that [`probe`] has on the other side.
    ///
    /// # Errors
    /// [`ErrorKind::WrongSchema`] naming a column whose type cannot be read, and its type.
    pub(super) fn new(config: &Config, types: &[Type], reporter: &Reporter) -> Result<Self, SourceError> {
        let names = names(config);
        let mut typed = names.iter().zip(types);
        let mut next = || {
            typed.next().ok_or_else(|| {
                let what = "the description of the columns lacks some of them".to_owned();
                reporter.say(ErrorKind::Corrupt, what)
            })
        };
        let wrong = |name: &str, ty: &Type, role: &str, hint: &str| {
            reporter
                .say(
                    ErrorKind::WrongSchema,
                    format!("column {name:?} is of type {ty}, which cannot be read as {role}"),
                )
                .hint(hint.to_owned())
        };
        let column = |name: &str, ty: &Type, kind| Column {
            sql: qualified(name),
            type_sql: format!("{}.{}", ident(ty.schema()), ident(ty.name())),
            ty: ty.clone(),
            kind,
        };
        let (name, ty) = next()?;
        if !is_text(ty) && !is_int(ty) && *ty != Type::UUID {
            let hint = "Entity ids are text, integers or uuid; cast the column in a query.";
            return Err(wrong(name, ty, "an entity id", hint));
        }
        let entity = column(name, ty, ValueKind::Text);
        let time = |name: &str, ty: &Type| {
            time_kind(ty).ok_or_else(|| {
                let hint = "Timestamps are timestamptz, timestamp (UTC), date or ISO 8601 text; convert others in a \
                            query, such as SELECT to_timestamp(ts) AS ts.";
                wrong(name, ty, "a timestamp", hint)
            })
        };
        let (name, ty) = next()?;
        let ts = column(name, ty, time(name, ty)?);
        let (name, ty) = next()?;
        let vector = vector_kind(ty).ok_or_else(|| {
            let hint =
                "Vectors are vector, halfvec, real[] or double precision[]; cast the column in a query.";
            wrong(name, ty, "a vector", hint)
        })?;
        let (name, ty) = next()?;
        let kind = incremental_kind(ty).ok_or_else(|| {
            let hint = "What rows are read on by is a timestamp, date, integer, numeric, text or uuid.";
            wrong(name, ty, "what only grows", hint)
        })?;
        let incremental = column(name, ty, kind);

        let mut list = vec![
            format!("{}::text", entity.sql),
            ts.sql.clone(),
            qualified(names[2]),
        ];
        let mut produced_at = ValueKind::Micros;
        for (place, configured) in optional(config).into_iter().enumerate() {
            list.push(match configured {
                None => "NULL::text".into(),
                Some(name) => {
                    let (_, ty) = next()?;
                    let sql = qualified(name);
                    match place {
                        4 => {
                            produced_at = time(name, ty)?;
                            sql
                        }
                        5 if ![Type::JSON, Type::JSONB].contains(ty) => {
                            let hint =
                                "attrs_column is json or jsonb; other columns are packed by attrs_columns.";
                            return Err(wrong(name, ty, "attrs", hint));
                        }
                        _ => format!("{sql}::text"),
                    }
                }
            });
        }
        if !config.attrs_columns.is_empty() {
            list[ATTRS] = packed(&config.attrs_columns);
        }
        list.push(match kind {
            ValueKind::Micros | ValueKind::Days => incremental.sql.clone(),
            ValueKind::Int => format!("{}::int8", incremental.sql),
            ValueKind::Text => format!("{}::text", incremental.sql),
        });
        Ok(Self {
            entity,
            ts,
            vector,
            produced_at,
            incremental,
            list: list.join(", "),
        })
    }
}

/// An object of the columns that are not null, NULL where all are.
fn packed(columns: &[String]) -> String {
    let members: Vec<String> = columns
        .iter()
        .map(|name| {
            let (sql, key) = (qualified(name), literal(name));
            format!("CASE WHEN {sql} IS NULL THEN '{{}}' ELSE pg_catalog.jsonb_build_object({key}::text, {sql}) END")
        })
        .collect();
    format!("nullif('{{}}'::jsonb || {}, '{{}}')::text", members.join(" || "))
}

pub(super) fn is_text(ty: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME].contains(ty) || ty.name() == "citext"
}

pub(super) fn is_int(ty: &Type) -> bool {
    [Type::INT2, Type::INT4, Type::INT8].contains(ty)
}

fn time_kind(ty: &Type) -> Option<ValueKind> {
    match *ty {
        Type::TIMESTAMPTZ | Type::TIMESTAMP => Some(ValueKind::Micros),
        Type::DATE => Some(ValueKind::Days),
        _ => is_text(ty).then_some(ValueKind::Text),
    }
}

fn incremental_kind(ty: &Type) -> Option<ValueKind> {
    match *ty {
        Type::NUMERIC | Type::UUID => Some(ValueKind::Text),
        _ => is_int(ty).then_some(ValueKind::Int).or(time_kind(ty)),
    }
}

fn vector_kind(ty: &Type) -> Option<VectorKind> {
    match (ty, ty.name()) {
        (&Type::FLOAT4_ARRAY, _) => Some(VectorKind::Real),
        (&Type::FLOAT8_ARRAY, _) => Some(VectorKind::Double),
        (_, "vector") if matches!(ty.kind(), Kind::Simple) => Some(VectorKind::Vector),
        (_, "halfvec") if matches!(ty.kind(), Kind::Simple) => Some(VectorKind::Half),
        _ => None,
    }
}
