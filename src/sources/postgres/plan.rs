//! The SELECTs of a run.

use super::columns::{Column, Columns, ENTITY, FIELDS, ValueKind, is_int, probe};
use super::config::Config;
use super::error::Reporter;
use super::quote::{literal, table, timestamp};
use super::session::Session;
use super::watermark::{Mark, Order};
use crate::{Common, ErrorKind, Filter, SourceError};
use serde_json::Value;
use tokio_postgres::types::Type;

/// What is read, from where, under which conditions.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The row source, named `s`.
    relation: String,
    conditions: Vec<String>,
    pub columns: Columns,
    pub incremental_name: String,
    overlap: Option<String>,
    /// The times that are wanted, for columns on which the other side cannot judge.
    pub from: Option<i64>,
    pub to: Option<i64>,
}

/// One SELECT of a run.
#[derive(Debug, Clone)]
pub(super) struct Phase {
    pub select: String,
    /// Whether its rows move the watermark, and how.
    pub tracked: Option<Order>,
    /// The watermark once all of its rows are read, where they do not tell.
    pub after: Option<After>,
}

#[derive(Debug, Clone)]
pub(super) enum After {
    Mark(Mark),
    /// The greatest value there is.
    Greatest,
}

impl Plan {
    /// Looks up the columns on the other side.
    pub(super) fn new(config: &Config, common: &Common, session: &mut Session) -> Result<Self, SourceError> {
        let relation = match (&config.table, &config.query) {
            (Some(name), _) => format!("{} AS s", table(name)?),
            // A comment at its end must not hide the parenthesis.
            (None, query) => format!(
                "(\n{}\n) AS s",
                query
                    .as_deref()
                    .unwrap_or_default()
                    .trim_end()
                    .trim_end_matches(';')
            ),
        };
        let sql = format!("SELECT {} FROM {relation} LIMIT 0", probe(config));
        let statement = session.describe("looking up the columns", &sql)?;
        let types: Vec<Type> = statement
            .columns()
            .iter()
            .map(|column| column.type_().clone())
            .collect();
        let columns = Columns::new(config, &types, &session.reporter)?;
        let mut conditions: Vec<String> = Vec::new();
        conditions.extend(
            config
                .condition
                .as_ref()
                .map(|condition| format!("(\n{condition}\n)")),
        );
        let (mut from, mut to) = (None, None);
        if let Some(filter) = &common.filter {
            (from, to) = (filter.from()?, filter.to()?);
            conditions.extend(entities(filter, &columns.entity));
            for (operator, time) in [(">=", from), ("<", to)] {
                conditions.extend(time.and_then(|time| bound(&columns.ts, operator, time)));
            }
        }
        let incremental = config
            .incremental_column
            .as_ref()
            .unwrap_or(&config.timestamp_column);
        let plan = Self {
            relation,
            conditions,
            columns,
            incremental_name: incremental.clone(),
            overlap: config.overlap.clone(),
            from,
            to,
        };
        plan.check_overlap(&session.reporter)?;
        Ok(plan)
    }

    fn check_overlap(&self, reporter: &Reporter) -> Result<(), SourceError> {
        if self.overlap.is_some() && self.columns.incremental.kind == ValueKind::Text {
            let name = &self.incremental_name;
            let what =
                format!("overlap needs an incremental column of times or integers, and {name:?} is neither");
            return Err(reporter.say(ErrorKind::Config, what));
        }
        Ok(())
    }

    /// The rows that meet these conditions too.
    pub(super) fn select(&self, list: &str, conditions: &[String], order: Option<Order>) -> String {
        let all: Vec<&str> = self
            .conditions
            .iter()
            .chain(conditions)
            .map(String::as_str)
            .collect();
        let mut sql = format!("SELECT {list} FROM {}", self.relation);
        if !all.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&all.join(" AND "));
        }
        if order == Some(Order::Ascending) {
            sql.push_str(" ORDER BY ");
            sql.push_str(&self.columns.incremental.sql);
        }
        sql
    }

    /// All rows, or those that are new since the mark. In order of the incremental column where that costs the other
    /// side no sort of everything: an interrupted run is then gone on with.
    pub(super) fn phases(
        &self,
        mark: Option<&Mark>,
        session: &mut Session,
    ) -> Result<Vec<Phase>, SourceError> {
        match mark {
            Some(Mark {
                value: Some(value), ..
            }) => self.since(value, mark, session),
            Some(Mark { value: None, .. }) => Ok(vec![self.valued(Vec::new())]),
            None => {
                let valued = self.valued(Vec::new());
                let nodes = session.text("planning", &explain(&valued.select))?;
                if nodes.is_some_and(|nodes| nodes.contains("\"Sort\"")) {
                    return Ok(vec![self.unordered()]);
                }
                let without = Phase {
                    select: self.select(
                        &self.columns.list,
                        &[format!("({}) IS NOT TRUE", self.has_value())],
                        None,
                    ),
                    tracked: None,
                    after: Some(After::Mark(Mark {
                        column: self.incremental_name.clone(),
                        value: None,
                        ties: Default::default(),
                    })),
                };
                Ok(vec![without, valued])
            }
        }
    }

    fn since(
        &self,
        value: &str,
        mark: Option<&Mark>,
        session: &mut Session,
    ) -> Result<Vec<Phase>, SourceError> {
        let Column { sql, type_sql, .. } = &self.columns.incremental;
        let at = format!("{}::{type_sql}", literal(value));
        let same = format!("{sql} = {at}");
        let ties = session.ties(&self.select(&self.keys(), std::slice::from_ref(&same), None))?;
        let unchanged = mark.is_some_and(|mark| mark.ties == ties);
        let read_anew = match &self.overlap {
            None if unchanged => None,
            None => Some(vec![same]),
            Some(overlap) => {
                let by = match self.columns.incremental.kind {
                    ValueKind::Int => format!("{}::int8", literal(overlap)),
                    _ => format!("{}::interval", literal(overlap)),
                };
                Some(vec![format!("{sql} >= {at} - {by}"), format!("{sql} <= {at}")])
            }
        };
        let again = read_anew.map(|conditions| Phase {
            select: self.select(&self.columns.list, &conditions, None),
            tracked: None,
            after: (!unchanged).then(|| {
                After::Mark(Mark {
                    column: self.incremental_name.clone(),
                    value: Some(value.to_owned()),
                    ties,
                })
            }),
        });
        let newer = self.valued(vec![format!("{sql} > {at}")]);
        Ok(again.into_iter().chain([newer]).collect())
    }

    /// Rows that have a value to read on by, in its order.
    fn valued(&self, mut conditions: Vec<String>) -> Phase {
        conditions.push(self.has_value());
        Phase {
            select: self.select(&self.columns.list, &conditions, Some(Order::Ascending)),
            tracked: Some(Order::Ascending),
            after: None,
        }
    }

    fn unordered(&self) -> Phase {
        // How texts compare is known there, not here.
        let told = self.columns.incremental.kind != ValueKind::Text;
        Phase {
            select: self.select(&self.columns.list, &[], None),
            tracked: told.then_some(Order::Any),
            after: (!told).then_some(After::Greatest),
        }
    }

    /// An infinite value is greater than all that will come: reading on behind it would find nothing.
    fn has_value(&self) -> String {
        let Column { sql, kind, ty, .. } = &self.columns.incremental;
        match kind {
            ValueKind::Micros | ValueKind::Days => format!("pg_catalog.isfinite({sql})"),
            ValueKind::Text if *ty == Type::NUMERIC => {
                format!("{sql}::text NOT IN ('NaN', 'Infinity', '-Infinity')")
            }
            ValueKind::Int | ValueKind::Text => format!("{sql} IS NOT NULL"),
        }
    }

    /// The select list of a key alone, in the places that it has in a row.
    fn keys(&self) -> String {
        format!("{}::text, {}", self.columns.entity.sql, self.columns.ts.sql)
    }

    /// The mark of a table of which everything was read.
    pub(super) fn greatest(&self, session: &mut Session) -> Result<Option<Mark>, SourceError> {
        let Column { sql, type_sql, .. } = &self.columns.incremental;
        let value = self.select(&format!("{sql}::text"), &[self.has_value()], None);
        let value = session.text(
            "looking up the greatest value",
            &format!("{value} ORDER BY {sql} DESC LIMIT 1"),
        )?;
        let Some(value) = value else { return Ok(None) };
        let same = format!("{sql} = {}::{type_sql}", literal(&value));
        let ties = session.ties(&self.select(&self.keys(), &[same], None))?;
        Ok(Some(Mark {
            column: self.incremental_name.clone(),
            value: Some(value),
            ties,
        }))
    }

    /// How many rows the planner there expects of these SELECTs.
    pub(super) fn estimate(phases: &[Phase], session: &mut Session) -> Result<Option<u64>, SourceError> {
        let mut total = 0u64;
        for phase in phases {
            let plan = session
                .text("planning", &explain(&phase.select))?
                .unwrap_or_default();
            let plan: Value = serde_json::from_str(&plan).unwrap_or_default();
            let Some(rows) = plan[0]["Plan"]["Plan Rows"].as_u64() else {
                return Ok(None);
            };
            total = total.saturating_add(rows);
        }
        Ok(Some(total))
    }
}

fn explain(select: &str) -> String {
    format!("EXPLAIN (FORMAT JSON) {select}")
}

/// The condition that a row is of one of the entities, so that an index on the column serves.
fn entities(filter: &Filter, column: &Column) -> Option<String> {
    let ids = filter.entity_ids.as_ref()?;
    let list = |ids: Vec<String>| ids.join(", ");
    let quoted = |ids: &[&String]| list(ids.iter().map(|id| literal(id)).collect());
    // What text cannot hold, no row has.
    let ids: Vec<&String> = ids.iter().filter(|id| !id.contains('\0')).collect();
    Some(if is_int(&column.ty) {
        let ids = ids
            .iter()
            .filter_map(|id| id.parse::<i64>().ok().filter(|n| n.to_string() == **id));
        format!(
            "{} = ANY (ARRAY[{}]::int8[])",
            column.sql,
            list(ids.map(|n| format!("'{n}'")).collect())
        )
    } else if column.ty == Type::UUID {
        let ids: Vec<&String> = ids.into_iter().filter(|id| is_uuid(id)).collect();
        format!("{} = ANY (ARRAY[{}]::uuid[])", column.sql, quoted(&ids))
    } else if [Type::TEXT, Type::VARCHAR].contains(&column.ty) {
        format!("{} = ANY (ARRAY[{}]::text[])", column.sql, quoted(&ids))
    } else {
        format!("{}::text = ANY (ARRAY[{}]::text[])", column.sql, quoted(&ids))
    })
}

/// As PostgreSQL prints it.
fn is_uuid(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn bound(column: &Column, operator: &str, time: i64) -> Option<String> {
    let Column {
        sql, type_sql, kind, ..
    } = column;
    match kind {
        ValueKind::Micros => Some(format!(
            "{sql} {operator} {}::{type_sql}",
            literal(&timestamp(time))
        )),
        ValueKind::Days => Some(format!(
            "{sql} {operator} {}::timestamp",
            literal(&timestamp(time))
        )),
        ValueKind::Int | ValueKind::Text => None,
    }
}

/// Fields of the rows that [`Plan::keys`] selects.
pub(super) const KEY_FIELDS: usize = ENTITY + 2;
const _: () = assert!(KEY_FIELDS <= FIELDS);
