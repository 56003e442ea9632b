//! Drift and velocity: entities that have moved too far of late, or move too fast.

use cvx_math::fdr::benjamini_hochberg;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_literal;
use serde_json::json;

use super::retrain::Jump;
use super::scope::{Scope, Values};
use super::{Finding, Measured, retrain};
use crate::catalog::internal;
use crate::types::TimestampTz;

/// What is measured of each entity, and what is too much.
pub struct Measure {
    /// The column of a view that holds it.
    pub feature: &'static str,
    /// The value as SQL over a trajectory `t`.
    value: String,
    p_value: String,
    threshold: f64,
    /// Microseconds before the last point that count.
    span: Option<i64>,
    /// How old the last point may be.
    age: Option<i64>,
    fdr: Option<f64>,
    metric: String,
}

const DAY: i64 = 86_400_000_000;

impl Measure {
    pub fn drift(threshold: f64, window: i64, metric: &str, fdr: Option<f64>) -> Self {
        let quoted = quote_literal(metric);
        Measure {
            feature: "drift",
            value: format!("cvx.drift(t, {quoted})"),
            p_value: format!("cvx.drift_p_value(t, {quoted})"),
            threshold,
            span: Some(window),
            age: Some(window),
            fdr,
            metric: metric.to_owned(),
        }
    }

    pub fn velocity(threshold: f64, window: Option<i64>, fdr: Option<f64>) -> Self {
        Measure {
            feature: "speed",
            value: String::from("cvx.speed(t)"),
            p_value: String::from("cvx.velocity_p_value(t)"),
            threshold,
            span: None,
            age: window,
            fdr,
            metric: String::from("l2"),
        }
    }

    fn is_drift(&self) -> bool {
        self.span.is_some()
    }

    /// Where a view holds just this.
    fn fits(&self, config: &crate::views::config::Config) -> bool {
        if self.is_drift() {
            config.window == self.span && config.metric == self.metric
        } else {
            config.window.is_none() && config.unit == DAY
        }
    }

    pub fn message(&self, entity: &str, value: f64) -> String {
        let threshold = self.threshold;
        if self.is_drift() {
            let window = super::payload::interval(self.span.unwrap_or_default());
            format!("{entity} drifted by {value:.4} within {window} (threshold {threshold})")
        } else {
            format!("{entity} moves by {value:.4} a day (threshold {threshold} a day)")
        }
    }
}

/// Entities beyond the threshold, the farthest first. As the monitor's owner, in a restricted context.
pub fn find(scope: &Scope, it: &Measure, owner: pg_sys::Oid) -> Result<Vec<Finding>, ErrorReport> {
    let mut rows = match it.fdr {
        // The rate is over all entities that were looked at, and views hold no p-values.
        Some(_) => read(&computed(scope, it, "true"), &[])?,
        None => match scope.values(Some(it.feature), |config| it.fits(config), owner)? {
            Values::View { it: view, marked } => {
                let data = of_view(it, &view.relation("cvx_view_data"));
                let query = match marked.is_empty() {
                    true => data,
                    false => with_marked(it, &data, &view.relation("cvx_view_definition")),
                };
                read(&query, &[marked.into()])?
            }
            Values::Computed => read(&computed(scope, it, &beyond(it, "m.value")), &[])?,
        },
    };
    if let Some(rate) = it.fdr {
        let p: Vec<f64> = rows.iter().map(|row| row.p_value.unwrap_or(1.0)).collect();
        let significant = benjamini_hochberg(&p, rate);
        rows = rows
            .into_iter()
            .zip(significant)
            .filter(|(row, significant)| *significant && row.value > it.threshold)
            .map(|(row, _)| row)
            .collect();
    }
    if let crate::views::definition::Points::Model(model) = &scope.points {
        retrain::subtract(model, &mut rows, it.span, |row, jump| it.explained(row, jump))?;
    }
    rows.sort_by(|a, b| {
        b.value
            .total_cmp(&a.value)
            .then_with(|| a.entity_id.cmp(&b.entity_id))
    });
    Ok(rows.into_iter().map(|row| finding(scope, it, row)).collect())
}

impl Measure {
    /// Whether less than the threshold is left of the value when what alignment may be off by is taken away.
    pub fn explained(&self, row: &Measured, jump: &Jump) -> bool {
        let left = if self.is_drift() {
            jump.drift_beyond_error(&self.metric)
        } else {
            jump.speed_beyond_error(row.value)
        };
        left.is_some_and(|left| left <= self.threshold)
    }
}

fn finding(scope: &Scope, it: &Measure, row: Measured) -> Finding {
    Finding {
        message: it.message(&row.entity_id, row.value),
        entity_id: Some(row.entity_id),
        space: scope.space.clone(),
        ts: Some(row.end_ts),
        value: Some(row.value),
        threshold: Some(it.threshold),
        p_value: row.p_value,
        severity: None,
        details: json!({}),
    }
}

fn beyond(it: &Measure, value: &str) -> String {
    format!(
        "{value} OPERATOR(pg_catalog.>) {}::pg_catalog.float8",
        quote_literal(it.threshold.to_string())
    )
}

fn recent(it: &Measure, end: &str) -> String {
    match it.age {
        Some(age) => format!(
            "{end} OPERATOR(pg_catalog.>=) (pg_catalog.now() OPERATOR(pg_catalog.-) {})",
            crate::views::definition::micros(age)
        ),
        None => String::from("true"),
    }
}

fn computed(scope: &Scope, it: &Measure, condition: &str) -> String {
    let p_value = if it.fdr.is_some() {
        it.p_value.as_str()
    } else {
        "NULL::pg_catalog.float8"
    };
    format!(
        "SELECT m.entity_id, m.end_ts, m.value, m.p_value FROM (
            SELECT g.entity_id, g.end_ts, {} AS value, {p_value} AS p_value FROM ({}) g OFFSET 0) m
         WHERE m.value IS NOT NULL AND {condition}",
        it.value,
        scope.trajectories(it.span, it.age)
    )
}

/// What the view holds beyond the threshold.
fn of_view(it: &Measure, data: &str) -> String {
    let column = it.feature;
    format!(
        "SELECT d.entity_id::pg_catalog.text, d.end_ts, d.{column}, NULL::pg_catalog.float8 FROM {data} d
         WHERE {} AND {}",
        beyond(it, &format!("d.{column}")),
        recent(it, "d.end_ts")
    )
}

/// But for entities that have changed since ($1), which are computed.
fn with_marked(it: &Measure, data: &str, definition: &str) -> String {
    let column = it.feature;
    format!(
        "{data} AND NOT d.entity_id OPERATOR(pg_catalog.=) ANY ($1)
         UNION ALL
         SELECT c.entity_id::pg_catalog.text, c.end_ts, c.{column}, NULL FROM pg_catalog.unnest($1) m(id)
         CROSS JOIN LATERAL (SELECT * FROM {definition} w WHERE w.entity_id OPERATOR(pg_catalog.=) m.id) c
         WHERE {} AND {}",
        beyond(it, &format!("c.{column}")),
        recent(it, "c.end_ts")
    )
}

fn read(query: &str, arguments: &[pgrx::datum::DatumWithOid<'_>]) -> Result<Vec<Measured>, ErrorReport> {
    Spi::connect(|client| {
        let rows = client.select(query, None, arguments)?;
        rows.map(|row| {
            Ok(Measured {
                entity_id: row.get(1)?.unwrap_or_default(),
                end_ts: row
                    .get::<TimestampWithTimeZone>(2)?
                    .map(TimestampTz::from)
                    .unwrap_or_default(),
                value: row.get(3)?.unwrap_or_default(),
                p_value: row.get(4)?,
            })
        })
        .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}
