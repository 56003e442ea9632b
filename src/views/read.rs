//! The relation that users read: what was computed, and since when each row is out of date.
//!
//! The second comes from the logs, in the reader's own snapshot: a change and its mark become visible together.

use pgrx::spi::{quote_identifier, quote_literal};

use super::definition::{micros, spaces_of};
use crate::catalog::view::{Kind, Reads};

pub struct Reading<'a> {
    pub view_id: i32,
    pub name: &'a str,
    pub kind: Kind,
    pub reads: &'a Reads,
    pub entity_type: &'a str,
    /// As an SQL interval.
    pub retention: Option<&'a str>,
    pub ttl: Option<i64>,
    /// The only entities that matter to a cohort.
    pub entity_ids: Option<&'a [String]>,
}

impl Reading<'_> {
    pub fn query(&self) -> String {
        let mut conditions = Vec::new();
        if let Some(column) = self.kind.time_column() {
            let past = |interval: &str| {
                format!(
                    "d.{column} OPERATOR(pg_catalog.>=) (pg_catalog.now() OPERATOR(pg_catalog.-) {interval})"
                )
            };
            if let Some(retention) = self.retention {
                conditions.push(past(&format!(
                    "{}::pg_catalog.interval",
                    quote_literal(retention)
                )));
            }
            if let Some(ttl) = self.ttl {
                conditions.push(past(&micros(ttl)));
            }
        }
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        format!(
            "SELECT d.*, {} AS stale_since FROM cvx_view_data.{} d{condition}",
            self.stale_since(),
            quote_identifier(self.name)
        )
    }

    /// The earliest change that the row `d` does not hold; NULL when there is none. LEAST passes over NULLs.
    fn stale_since(&self) -> String {
        let view_id = self.view_id;
        let source = match self.reads {
            Reads::Space(id) => format!("l.source OPERATOR(pg_catalog.=) {id}"),
            Reads::Table(id) => format!("l.source OPERATOR(pg_catalog.=) (-{id})"),
            Reads::Model(model) => format!(
                "l.source OPERATOR(pg_catalog.=) ANY (ARRAY({}))",
                spaces_of(model)
            ),
        };
        let logged = |which: &str| {
            format!("(SELECT pg_catalog.min(l.dirty_at) FROM cvx.invalidation l WHERE {source} AND {which})")
        };
        let noted = |which: &str| {
            format!(
                "(SELECT pg_catalog.min(s.stale_since) FROM cvx.stale s
                  WHERE s.view_id OPERATOR(pg_catalog.=) {view_id} AND {which})"
            )
        };
        let state = |column: &str, which: &str| {
            format!(
                "(SELECT t.{column} FROM cvx.view_state t
                  WHERE t.view_id OPERATOR(pg_catalog.=) {view_id}{which})"
            )
        };
        let mut times = Vec::new();
        if self.kind.is_per_entity() {
            let id = "(d.entity_id::pg_catalog.text COLLATE pg_catalog.\"C\")";
            for which in [
                format!("l.entity_id OPERATOR(pg_catalog.=) {id}"),
                String::from("l.entity_id IS NULL"),
            ] {
                times.push(logged(&which));
                times.push(noted(&which.replace("l.entity_id", "s.entity_id")));
            }
            // Entities after the sweep's position have not been swept yet.
            times.push(state(
                "sweep_since",
                &format!(
                    " AND (t.sweep_position IS NULL OR d.entity_id OPERATOR(pg_catalog.>) t.sweep_position::{})",
                    self.entity_type
                ),
            ));
        } else {
            times.push(logged(&self.any_member()));
            times.push(noted("true"));
            times.push(state("sweep_since", ""));
        }
        times.push(state("untracked_since", ""));
        format!("LEAST({})", times.join(", "))
    }

    /// Which of the log's entries may concern a cohort.
    fn any_member(&self) -> String {
        match self.entity_ids {
            None => String::from("true"),
            Some(ids) => {
                let ids: Vec<String> = ids.iter().map(quote_literal).collect();
                format!(
                    "(l.entity_id IS NULL OR l.entity_id OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.text[]))",
                    ids.join(", ")
                )
            }
        }
    }
}
