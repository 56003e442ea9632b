//! The SQL of a view: the query that it materializes, and how its relations are made of it.
//!
//! Names and operators are qualified: the text means the same whatever the session's search_path.

use pgrx::spi::{quote_identifier, quote_literal};
use serde_json::Value;

use super::config::{Config, FeatureKind};
use crate::catalog::view::{Kind, View};

/// Where the points come from.
#[derive(Clone, Debug)]
pub enum Points {
    Table(Columns),
    /// The canonical trajectories of a model.
    Model(String),
}

/// A relation with points; expressions over its alias `s`.
#[derive(Clone, Debug)]
pub struct Columns {
    pub relation: String,
    /// The space, when the relation is cvx.embedding.
    pub space_id: Option<i32>,
    pub entity: String,
    pub ts: String,
    pub vec: String,
    pub ingested_at: String,
}

impl Columns {
    /// Which of the relation's rows, under an alias.
    pub fn condition(&self, alias: &str) -> String {
        match self.space_id {
            Some(id) => format!("{alias}.space_id OPERATOR(pg_catalog.=) {id}"),
            None => format!("{} IS NOT NULL", self.entity),
        }
    }
}

/// Which entities.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub entity_ids: Option<Vec<String>>,
    pub attrs: Option<Value>,
}

pub struct Definition<'a> {
    pub kind: Kind,
    pub config: &'a Config,
    pub points: &'a Points,
    pub filter: &'a Filter,
    /// The SQL type of an entity's id.
    pub entity_type: &'a str,
    /// The schema of pgvector.
    pub vector_schema: &'a str,
}

/// A feature of a view as SQL over a trajectory `t`.
pub struct Feature {
    pub name: String,
    pub expr: String,
    pub sql_type: &'static str,
}

/// Which points before a point belong to what is computed there.
pub enum Span {
    Whole,
    /// The last microseconds.
    Sliding(i64),
    /// Bins of so many microseconds from an origin.
    Tumbling {
        width: i64,
        origin: i64,
    },
}

pub fn micros(it: i64) -> String {
    format!("'{it} microseconds'::pg_catalog.interval")
}

/// A timestamptz, exactly.
pub fn instant(micros_since_2000: i64) -> String {
    let offset = micros(micros_since_2000);
    format!("('2000-01-01 00:00:00+00'::pg_catalog.timestamptz OPERATOR(pg_catalog.+) {offset})")
}

fn feature(kind: &FeatureKind, config: &Config) -> Feature {
    let name = kind.name;
    let metric = quote_literal(&config.metric);
    let unit = micros(config.unit);
    let expr = match name {
        "drift" => format!("cvx.drift(t, {metric})"),
        "drift_l2" => String::from("cvx.drift(t, 'l2')"),
        "velocity" | "speed" | "acceleration" => format!("cvx.{name}(t, unit => {unit})"),
        "mean_speed" | "volatility" => format!("cvx.{name}(t, {unit})"),
        "drift_report" => format!(
            "(SELECT pg_catalog.to_jsonb(r) FROM cvx.drift_report(t, {}) r)",
            config.top
        ),
        _ => format!("cvx.{name}(t)"),
    };
    Feature {
        name: name.to_owned(),
        expr,
        sql_type: kind.sql_type,
    }
}

/// The values that a view holds of a trajectory: those of temporal_features, or of a window of drift_summary.
pub fn features(kind: Kind, config: &Config) -> Vec<Feature> {
    match kind {
        Kind::TemporalFeatures => config.features.iter().map(|it| feature(it, config)).collect(),
        Kind::DriftSummary => {
            let (metric, unit) = (quote_literal(&config.metric), micros(config.unit));
            let number = |name: &str, expr: String| Feature {
                name: name.to_owned(),
                expr,
                sql_type: "pg_catalog.float8",
            };
            let duration = "pg_catalog.date_part('epoch', cvx.duration(t))";
            let seconds = format!("pg_catalog.date_part('epoch', {unit})");
            vec![
                number("drift", format!("cvx.drift(t, {metric})")),
                number(
                    "rate",
                    format!(
                        "cvx.drift(t, {metric}) OPERATOR(pg_catalog./) \
                         NULLIF({duration} OPERATOR(pg_catalog./) {seconds}, 0)"
                    ),
                ),
                number("trend", format!("cvx.drift_trend(t, {metric}, {unit})")),
            ]
        }
        Kind::ChangepointCache | Kind::CohortSnapshot => Vec::new(),
    }
}

/// The arguments of a change point function after the first.
pub fn detection(config: &Config) -> String {
    let arguments = config.detection.iter();
    arguments
        .map(|(name, value)| format!(", {name} => {value}"))
        .collect()
}

pub fn span(kind: Kind, config: &Config) -> Span {
    match (kind, config.window) {
        (Kind::DriftSummary, Some(width)) => Span::Tumbling {
            width,
            origin: config.origin,
        },
        (_, Some(window)) => Span::Sliding(window),
        (_, None) => Span::Whole,
    }
}

impl Definition<'_> {
    /// The query that computes the view from nothing.
    pub fn query(&self) -> String {
        match self.kind {
            Kind::TemporalFeatures => self.temporal_features(),
            Kind::DriftSummary => self.drift_summary(),
            Kind::ChangepointCache => self.changepoint_cache(),
            Kind::CohortSnapshot => self.cohort_snapshot(),
        }
    }

    /// The points of history: entity_id, ts, vec, ingested_at.
    pub fn points(&self) -> String {
        match self.points {
            Points::Table(it) => format!(
                "SELECT {} AS entity_id, {} AS ts, {} AS vec, {} AS ingested_at FROM {} s WHERE {} AND {}",
                it.entity,
                it.ts,
                it.vec,
                it.ingested_at,
                it.relation,
                it.condition("s"),
                self.of_entity(&it.entity)
            ),
            Points::Model(model) => format!(
                "SELECT n.entity_id, c.ts, c.vec, e.ingested_at FROM ({}) n
                 CROSS JOIN LATERAL cvx.canonical_trajectory(n.entity_id, {}) c
                 JOIN cvx.space p ON p.name OPERATOR(pg_catalog.=) c.original_space
                 JOIN cvx.embedding e ON e.space_id OPERATOR(pg_catalog.=) p.space_id
                  AND e.entity_id OPERATOR(pg_catalog.=) n.entity_id AND e.ts OPERATOR(pg_catalog.=) c.ts
                 WHERE {}",
                entities_of(model),
                quote_literal(model),
                self.of_entity("n.entity_id")
            ),
        }
    }

    /// Whether an entity is one of those asked for.
    pub fn of_entity(&self, entity: &str) -> String {
        let mut conditions = vec![String::from("true")];
        if let Some(ids) = &self.filter.entity_ids {
            let ids: Vec<String> = ids.iter().map(quote_literal).collect();
            conditions.push(format!(
                "{entity} OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::{}[])",
                ids.join(", "),
                self.entity_type
            ));
        }
        if let Some(query) = &self.config.query {
            conditions.push(format!("{entity} OPERATOR(pg_catalog.=) ANY (\n{query}\n)"));
        }
        if let Some(attrs) = &self.filter.attrs {
            let condition = match self.points {
                Points::Table(it) => it.condition("l"),
                Points::Model(model) => format!(
                    "l.space_id OPERATOR(pg_catalog.=) ANY (ARRAY({}))",
                    spaces_of(model)
                ),
            };
            conditions.push(format!(
                "(SELECT l.attrs FROM cvx.embedding l WHERE {condition}
                   AND l.entity_id OPERATOR(pg_catalog.=) {entity} ORDER BY l.ts DESC, l.space_id DESC LIMIT 1)
                 OPERATOR(pg_catalog.@>) {}::pg_catalog.jsonb",
                quote_literal(attrs.to_string())
            ));
        }
        conditions.join(" AND ")
    }

    /// (entity_id, t) of every entity, `t` evaluated once.
    fn trajectories(&self) -> String {
        let sliced =
            |t: &str, end: &str| match self.config.window.filter(|_| self.kind == Kind::TemporalFeatures) {
                Some(window) => format!(
                    "cvx.slice({t}, {end} OPERATOR(pg_catalog.-) {}, NULL)",
                    micros(window)
                ),
                None => t.to_owned(),
            };
        match self.points {
            Points::Table(it) => format!(
                "SELECT {entity} AS entity_id, {t} AS t FROM {relation} s WHERE {condition} GROUP BY {entity}",
                entity = it.entity,
                t = sliced(
                    &format!("cvx.trajectory_agg({}, {})", it.ts, it.vec),
                    &format!("pg_catalog.max({})", it.ts)
                ),
                relation = it.relation,
                condition = it.condition("s")
            ),
            Points::Model(model) => format!(
                "SELECT n.entity_id, w.t FROM ({entities}) n CROSS JOIN LATERAL (
                   SELECT {t} AS t FROM (SELECT cvx.canonical(n.entity_id, {model}) AS t OFFSET 0) c OFFSET 0) w",
                entities = entities_of(model),
                t = sliced("c.t", "cvx.end_ts(c.t)"),
                model = quote_literal(model)
            ),
        }
    }

    fn temporal_features(&self) -> String {
        let mut columns = String::new();
        for it in features(self.kind, self.config) {
            columns.push_str(&format!(", {} AS {}", it.expr, quote_identifier(&it.name)));
        }
        format!(
            "SELECT g.entity_id, cvx.num_points(t) AS num_points, cvx.start_ts(t) AS start_ts,
                cvx.end_ts(t) AS end_ts{columns}
             FROM ({}) g WHERE g.t IS NOT NULL AND {}",
            self.trajectories(),
            self.of_entity("g.entity_id")
        )
    }

    fn drift_summary(&self) -> String {
        let window = micros(self.config.window.unwrap_or_default());
        let origin = instant(self.config.origin);
        let bin = |ts: &str| format!("pg_catalog.date_bin({window}, {ts}, {origin})");
        let windows = match self.points {
            Points::Table(it) => format!(
                "SELECT {entity} AS entity_id, {bin} AS window_start, cvx.trajectory_agg({ts}, {vec}) AS t
                 FROM {relation} s WHERE {condition} GROUP BY {entity}, {bin}",
                entity = it.entity,
                bin = bin(&it.ts),
                ts = it.ts,
                vec = it.vec,
                relation = it.relation,
                condition = it.condition("s")
            ),
            Points::Model(model) => format!(
                "SELECT n.entity_id, {bin} AS window_start, cvx.trajectory_agg(c.ts, c.vec) AS t
                 FROM ({entities}) n CROSS JOIN LATERAL cvx.canonical_trajectory(n.entity_id, {model}) c
                 GROUP BY n.entity_id, {bin}",
                bin = bin("c.ts"),
                entities = entities_of(model),
                model = quote_literal(model)
            ),
        };
        let columns: Vec<String> = features(self.kind, self.config)
            .iter()
            .map(|it| format!("{} AS {}", it.expr, it.name))
            .collect();
        format!(
            "SELECT g.entity_id, g.window_start, g.window_start OPERATOR(pg_catalog.+) {window} AS window_end,
                cvx.num_points(t) AS count, {}
             FROM ({windows}) g WHERE g.t IS NOT NULL AND {}",
            columns.join(", "),
            self.of_entity("g.entity_id")
        )
    }

    fn changepoint_cache(&self) -> String {
        let arguments = detection(self.config);
        match self.points {
            Points::Table(_) => format!(
                "SELECT g.entity_id, c.ts, c.index, c.severity
                 FROM ({}) g CROSS JOIN LATERAL cvx.changepoints(g.t{arguments}) c WHERE {}",
                self.trajectories(),
                self.of_entity("g.entity_id")
            ),
            Points::Model(model) => format!(
                "SELECT n.entity_id, c.ts, c.severity, c.classification, c.model_boundary, c.confidence,
                    c.alignment_residual, c.alignment_error, c.model_version
                 FROM ({}) n CROSS JOIN LATERAL cvx.model_changepoints(n.entity_id, {}{arguments}) c WHERE {}",
                entities_of(model),
                quote_literal(model),
                self.of_entity("n.entity_id")
            ),
        }
    }

    fn cohort_snapshot(&self) -> String {
        let points = match self.points {
            Points::Table(it) => format!(
                "SELECT {} AS entity_id, {} AS ts, {} AS vec FROM {} s WHERE {} AND {} IS NOT NULL AND {} IS NOT NULL AND {}",
                it.entity,
                it.ts,
                it.vec,
                it.relation,
                it.condition("s"),
                it.ts,
                it.vec,
                self.of_entity(&it.entity)
            ),
            Points::Model(model) => format!(
                "SELECT n.entity_id, c.ts, c.vec FROM ({}) n
                 CROSS JOIN LATERAL cvx.canonical_trajectory(n.entity_id, {}) c WHERE {}",
                entities_of(model),
                quote_literal(model),
                self.of_entity("n.entity_id")
            ),
        };
        let schema = quote_identifier(self.vector_schema);
        let operator = if self.config.metric == "l2" { "<->" } else { "<=>" };
        // Sums are taken in a fixed order: their last bits depend on it, and a view equals its definition to the last bit.
        // A mean of norm zero has no direction: NULL, as cvx.drift has it.
        let distance = |a: &str, b: &str| {
            format!("NULLIF({a} OPERATOR({schema}.{operator}) {b}, 'NaN'::pg_catalog.float8)")
        };
        let recent = match self.config.window {
            Some(window) => format!(
                " WHERE p.ts OPERATOR(pg_catalog.>=) ((SELECT pg_catalog.max(m.ts) FROM points m)
                    OPERATOR(pg_catalog.-) {})",
                micros(window)
            ),
            None => String::new(),
        };
        format!(
            "WITH points AS MATERIALIZED ({points}),
             members AS MATERIALIZED (
               SELECT p.entity_id, pg_catalog.count(*)::pg_catalog.int4 AS num_points,
                  {schema}.avg(p.vec ORDER BY p.ts) AS mean
               FROM points p{recent} GROUP BY p.entity_id),
             cohort AS MATERIALIZED (
               SELECT {schema}.avg(m.mean ORDER BY m.entity_id) AS centroid,
                  cvx._check_cohort(pg_catalog.count(*)) AS fits
               FROM members m)
             SELECT m.entity_id, m.num_points, {centroid_distance} AS centroid_distance,
                d.mean_divergence, d.others, d.divergences
             FROM members m CROSS JOIN cohort c CROSS JOIN LATERAL (
               SELECT pg_catalog.avg(x.divergence ORDER BY x.entity_id) AS mean_divergence,
                  pg_catalog.array_agg(x.entity_id ORDER BY x.entity_id) AS others,
                  pg_catalog.array_agg(x.divergence ORDER BY x.entity_id) AS divergences
               FROM (SELECT o.entity_id, {divergence} AS divergence FROM members o
                     WHERE o.entity_id OPERATOR(pg_catalog.<>) m.entity_id) x) d
             WHERE c.fits",
            centroid_distance = distance("m.mean", "c.centroid"),
            divergence = distance("m.mean", "o.mean")
        )
    }
}

/// The entities of a model, whichever version has them, as a query.
pub fn entities_of(model: &str) -> String {
    format!(
        "SELECT DISTINCT s.entity_id FROM cvx.embedding s
         WHERE s.space_id OPERATOR(pg_catalog.=) ANY (ARRAY({}))",
        spaces_of(model)
    )
}

/// The ids of a model's spaces, as a subquery.
pub fn spaces_of(model: &str) -> String {
    format!(
        "SELECT v.space_id FROM cvx.model_version v
         WHERE v.model OPERATOR(pg_catalog.=) {} AND v.space_id IS NOT NULL",
        quote_literal(model)
    )
}

impl View {
    pub fn features(&self) -> Vec<Feature> {
        features(self.kind, &self.config)
    }

    pub fn span(&self) -> Span {
        span(self.kind, &self.config)
    }

    pub fn relation(&self, schema: &str) -> String {
        format!("{schema}.{}", quote_identifier(&self.name))
    }

    pub fn entity_type(&self) -> &str {
        &self.entity_type
    }
}
