//! What a monitor looks for, as src/config has checked it, with PostgreSQL's intervals.

use std::ffi::CString;

use pgrx::pg_sys::panic::ErrorReport;
use serde_json::{Map, Value};

use super::invalid;
use crate::types::interval;

const DAY: i64 = 86_400_000_000;
/// One change in so many points, unless the condition says otherwise.
const HAZARD: f64 = 1.0 / 250.0;

/// Intervals are microseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Drift {
        threshold: f64,
        window: i64,
        metric: String,
        fdr: Option<f64>,
    },
    Velocity {
        threshold: f64,
        window: Option<i64>,
        fdr: Option<f64>,
    },
    Silence {
        duration: i64,
        source: Option<String>,
    },
    ChangePoint {
        min_severity: f64,
        hazard: f64,
        threshold: f64,
        fdr: Option<f64>,
    },
    Query {
        sql: String,
    },
    RejectRatio {
        threshold: f64,
        source: Option<String>,
        window: i64,
    },
    Freshness {
        duration: i64,
        source: Option<String>,
    },
    Population {
        method: String,
        threshold: f64,
        baseline: Baseline,
        window: i64,
    },
}

/// What a population is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Baseline {
    /// The stretch of this length before the window.
    Before(i64),
    /// A range of time, as text.
    Range(String),
}

impl Condition {
    /// Reads what cvx.monitor holds.
    pub fn parse(given: &Value) -> Result<Condition, ErrorReport> {
        let empty = Map::new();
        let keys = Keys(given.as_object().unwrap_or(&empty));
        let fdr = keys.number("fdr");
        Ok(match keys.text("type").as_deref().unwrap_or_default() {
            "drift_exceeds" => Condition::Drift {
                threshold: keys.required_number("threshold")?,
                window: keys.required_interval("window")?,
                metric: keys.text("metric").unwrap_or_else(|| String::from("cosine")),
                fdr,
            },
            "velocity_exceeds" => Condition::Velocity {
                threshold: keys.required_number("threshold")?,
                window: keys.interval("window")?,
                fdr,
            },
            "silence_exceeds" => Condition::Silence {
                duration: keys.required_interval("duration")?,
                source: keys.text("source"),
            },
            "change_point_detected" => Condition::ChangePoint {
                min_severity: keys.required_number("min_severity")?,
                hazard: keys.number("hazard").unwrap_or(HAZARD),
                threshold: keys.number("threshold").unwrap_or(0.5),
                fdr,
            },
            "custom_query" => Condition::Query {
                sql: keys.text("sql").ok_or_else(|| keys.missing("sql"))?,
            },
            "reject_ratio_exceeds" => Condition::RejectRatio {
                threshold: keys.required_number("threshold")?,
                source: keys.text("source"),
                window: keys.interval("window")?.unwrap_or(DAY),
            },
            "freshness_exceeds" => Condition::Freshness {
                duration: keys.required_interval("duration")?,
                source: keys.text("source"),
            },
            "population_drift_exceeds" => Condition::Population {
                method: keys.text("method").ok_or_else(|| keys.missing("method"))?,
                threshold: keys.required_number("threshold")?,
                baseline: keys.baseline()?,
                window: keys.required_interval("window")?,
            },
            other => {
                return Err(invalid(
                    format!("unknown type of condition: {other:?}"),
                    "It was not written by cvx.create_monitor.",
                ));
            }
        })
    }

    pub fn name(&self) -> &'static str {
        match self {
            Condition::Drift { .. } => "drift_exceeds",
            Condition::Velocity { .. } => "velocity_exceeds",
            Condition::Silence { .. } => "silence_exceeds",
            Condition::ChangePoint { .. } => "change_point_detected",
            Condition::Query { .. } => "custom_query",
            Condition::RejectRatio { .. } => "reject_ratio_exceeds",
            Condition::Freshness { .. } => "freshness_exceeds",
            Condition::Population { .. } => "population_drift_exceeds",
        }
    }

    /// Whether it is looked at when embeddings come, and not by the clock.
    pub fn is_event_driven(&self) -> bool {
        matches!(self, Condition::ChangePoint { .. })
    }

    pub fn is_query(&self) -> bool {
        matches!(self, Condition::Query { .. })
    }

    /// Whether the same point of an entity raises one alert only, however long it stays the last.
    pub fn alerts_once_a_point(&self) -> bool {
        matches!(
            self,
            Condition::Drift { .. } | Condition::Velocity { .. } | Condition::ChangePoint { .. }
        )
    }
}

struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    fn missing(&self, key: &str) -> ErrorReport {
        invalid(
            format!("the condition has no {key}"),
            "It was not written by cvx.create_monitor.",
        )
    }

    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(str::to_owned)
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    fn required_number(&self, key: &str) -> Result<f64, ErrorReport> {
        self.number(key).ok_or_else(|| self.missing(key))
    }

    fn interval(&self, key: &'static str) -> Result<Option<i64>, ErrorReport> {
        self.text(key).map(|text| micros(key, &text)).transpose()
    }

    fn required_interval(&self, key: &'static str) -> Result<i64, ErrorReport> {
        self.interval(key)?.ok_or_else(|| self.missing(key))
    }

    fn baseline(&self) -> Result<Baseline, ErrorReport> {
        let text = self.text("baseline").ok_or_else(|| self.missing("baseline"))?;
        if text.trim_start().starts_with(['[', '(']) {
            return Ok(Baseline::Range(text));
        }
        micros("baseline", &text).map(Baseline::Before)
    }
}

/// An interval of a condition. Raises what PostgreSQL says of a text that is none.
fn micros(key: &'static str, text: &str) -> Result<i64, ErrorReport> {
    let it = interval::from_text(&CString::new(text).unwrap_or_default());
    if it.months() != 0 {
        return Err(invalid(
            format!("condition.{key} is {text:?}, with months or years, which differ in length"),
            "Write it in days: a month as 30 days.",
        ));
    }
    Ok(interval::step_micros(key, &it)?)
}
