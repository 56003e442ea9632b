//! Which entities a monitor looks at, and where their points are.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_literal;
use serde_json::{Value, json};

use crate::catalog::view::{Kind, Reads, View};
use crate::catalog::{internal, rights, space::Space, view};
use crate::views::config::Config;
use crate::views::definition::{Columns, Definition, Filter, Points, micros, spaces_of};
use crate::views::source;

/// Marked entities that are computed beside what a view holds; of more all are computed.
const MOST_MARKED: i64 = 5_000;

/// A space, or a model: the canonical trajectories of its versions.
pub struct Scope {
    pub points: Points,
    /// The space's name, when it is one.
    pub space: Option<String>,
    filter: Filter,
    config: Config,
    vector_schema: String,
}

/// Where the values of a condition are to be had.
pub enum Values {
    /// A view holds them, but those of some entities, which have changed since.
    View {
        it: Box<View>,
        marked: Vec<String>,
    },
    Computed,
}

impl Scope {
    /// What a monitor looks at: its model, its space, or all spaces, one by one.
    pub fn all_of(it: &cvx_config::Monitor) -> Result<Vec<Scope>, ErrorReport> {
        if let Some(model) = &it.model {
            return Ok(vec![Scope::new(Points::Model(model.clone()), None, it)?]);
        }
        let names = match &it.space {
            Some(name) => vec![name.clone()],
            None => rights::as_extension_owner(space_names)?,
        };
        names
            .into_iter()
            .map(|name| {
                let space = Space::by_name(&name)?;
                Scope::new(Points::Table(Columns::of_space(space.space_id)), Some(name), it)
            })
            .collect()
    }

    /// The one thing that a monitor looks at which names one.
    pub fn of(it: &cvx_config::Monitor) -> Result<Scope, ErrorReport> {
        let first = Scope::all_of(it)?.into_iter().next();
        first.ok_or_else(|| super::invalid("the monitor looks at no space", "Name a space or a model."))
    }

    fn new(points: Points, space: Option<String>, it: &cvx_config::Monitor) -> Result<Self, ErrorReport> {
        Ok(Scope {
            points,
            space,
            filter: filter_of(it.entity_filter.as_ref()),
            config: Config::parse(Kind::TemporalFeatures, &json!({}))?,
            vector_schema: source::vector_schema()?,
        })
    }

    /// Whether not all entities are the monitor's.
    pub fn is_filtered(&self) -> bool {
        self.filter.entity_ids.is_some() || self.filter.attrs.is_some()
    }

    /// The condition that `entity`, an expression, is one of the monitor's entities.
    pub fn of_entity(&self, entity: &str) -> String {
        let definition = Definition {
            kind: Kind::TemporalFeatures,
            config: &self.config,
            points: &self.points,
            filter: &self.filter,
            entity_type: "pg_catalog.text",
            vector_schema: &self.vector_schema,
        };
        definition.of_entity(entity)
    }

    /// (entity_id, end_ts, t): the points of each entity in the last `span` before its last one, of those entities whose
    /// last point is at most `age` old.
    pub fn trajectories(&self, span: Option<i64>, age: Option<i64>) -> String {
        let recent = |end: &str| match age {
            Some(age) => format!(
                "{end} OPERATOR(pg_catalog.>=) (pg_catalog.now() OPERATOR(pg_catalog.-) {})",
                micros(age)
            ),
            None => String::from("true"),
        };
        let slice = |t: &str, end: &str| match span {
            Some(span) => format!(
                "cvx.slice({t}, {end} OPERATOR(pg_catalog.-) {}, NULL)",
                micros(span)
            ),
            None => t.to_owned(),
        };
        match &self.points {
            Points::Table(it) => {
                // Older points are in nobody's span.
                let needed = match (span, age) {
                    (Some(span), Some(age)) => format!(
                        " AND {} OPERATOR(pg_catalog.>=) (pg_catalog.now() OPERATOR(pg_catalog.-) {})",
                        it.ts,
                        micros(span.saturating_add(age))
                    ),
                    _ => String::new(),
                };
                format!(
                    "SELECT {entity} AS entity_id, pg_catalog.max({ts}) AS end_ts, {t} AS t
                     FROM {relation} s WHERE {condition}{needed} AND {chosen} GROUP BY {entity} HAVING {recent}",
                    entity = it.entity,
                    ts = it.ts,
                    t = slice(
                        &format!("cvx.trajectory_agg({}, {})", it.ts, it.vec),
                        &format!("pg_catalog.max({})", it.ts)
                    ),
                    relation = it.relation,
                    condition = it.condition("s"),
                    chosen = self.of_entity(&it.entity),
                    recent = recent(&format!("pg_catalog.max({})", it.ts)),
                )
            }
            Points::Model(model) => {
                let spaces = spaces_of(model);
                format!(
                    "SELECT n.entity_id, cvx.end_ts(c.t) AS end_ts, {t} AS t
                     FROM (SELECT s.entity_id FROM cvx.embedding s
                           WHERE s.space_id OPERATOR(pg_catalog.=) ANY (ARRAY({spaces})) AND {chosen}
                           GROUP BY s.entity_id HAVING {recent}) n
                     CROSS JOIN LATERAL (SELECT cvx.canonical(n.entity_id, {model}) AS t OFFSET 0) c",
                    t = slice("c.t", "cvx.end_ts(c.t)"),
                    chosen = self.of_entity("s.entity_id"),
                    recent = recent("pg_catalog.max(s.ts)"),
                    model = quote_literal(model)
                )
            }
        }
    }

    /// (entity_id, end_ts): the last point of each entity; of `source` alone when one is named.
    pub fn ends(&self, source: Option<&str>) -> String {
        let condition = match &self.points {
            Points::Table(it) => it.condition("s"),
            Points::Model(model) => {
                format!(
                    "s.space_id OPERATOR(pg_catalog.=) ANY (ARRAY({}))",
                    spaces_of(model)
                )
            }
        };
        let of_source = match source {
            Some(source) => format!(" AND s.source OPERATOR(pg_catalog.=) {}", quote_literal(source)),
            None => String::new(),
        };
        format!(
            "SELECT s.entity_id, pg_catalog.max(s.ts) AS end_ts FROM cvx.embedding s
             WHERE {condition}{of_source} AND {} GROUP BY s.entity_id",
            self.of_entity("s.entity_id")
        )
    }

    /// A view of the same owner that holds `feature` (None: only the ends) over the same points, if one is up to date but
    /// for a few entities.
    pub fn values(
        &self,
        feature: Option<&str>,
        fits: impl Fn(&Config) -> bool,
        owner: pg_sys::Oid,
    ) -> Result<Values, ErrorReport> {
        // A filter is the view's own affair.
        if self.is_filtered() {
            return Ok(Values::Computed);
        }
        let reads = match &self.points {
            Points::Table(it) => Reads::Space(it.space_id.unwrap_or_default()),
            Points::Model(model) => Reads::Model(model.clone()),
        };
        rights::as_extension_owner(|| {
            for it in view::all()? {
                let holds = |name| it.features().iter().any(|feature| feature.name == name);
                if it.kind == Kind::TemporalFeatures
                    && it.reads == reads
                    && it.owner_oid == Some(owner)
                    && it.sweep.is_none()
                    && it.config.ttl.is_none()
                    && feature.is_none_or(holds)
                    && fits(&it.config)
                    && view::is_whole(it.view_id)?
                    && let Some(marked) = view::marked_entities(it.view_id, MOST_MARKED)?
                {
                    return Ok(Values::View {
                        it: Box::new(it),
                        marked,
                    });
                }
            }
            Ok(Values::Computed)
        })
    }
}

fn space_names() -> Result<Vec<String>, ErrorReport> {
    Spi::connect(|client| {
        let rows = client.select("SELECT s.name FROM cvx.space s ORDER BY s.space_id", None, &[])?;
        rows.map(|row| row.get::<String>(1).map(Option::unwrap_or_default))
            .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// The filter of a monitor, as src/config has checked it.
fn filter_of(given: Option<&Value>) -> Filter {
    let key = |name| given.and_then(|it| it.get(name));
    let ids = key("entity_ids").and_then(Value::as_array);
    Filter {
        entity_ids: ids.map(|ids| ids.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        attrs: key("attrs").cloned(),
    }
}
