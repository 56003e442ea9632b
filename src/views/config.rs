//! The options of a view: the JSON of cvx.create_view's `config`, checked.

use pgrx::pg_sys::panic::ErrorReport;
use serde_json::{Map, Value};

use super::invalid;
use crate::catalog::view::Kind;
use crate::types::{TimestampTz, interval, timestamp};

/// More than this is no configuration.
const MOST_BYTES: usize = 1 << 20;

/// A feature of a trajectory, by its name in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureKind {
    pub name: &'static str,
    pub sql_type: &'static str,
}

const fn scalar(name: &'static str) -> FeatureKind {
    FeatureKind {
        name,
        sql_type: "pg_catalog.float8",
    }
}

pub const FEATURES: [FeatureKind; 13] = [
    scalar("drift"),
    scalar("drift_l2"),
    scalar("speed"),
    scalar("mean_speed"),
    scalar("path_length"),
    scalar("efficiency"),
    scalar("volatility"),
    scalar("drift_entropy"),
    scalar("stability_score"),
    scalar("hurst"),
    FeatureKind {
        name: "velocity",
        sql_type: "vector",
    },
    FeatureKind {
        name: "acceleration",
        sql_type: "vector",
    },
    FeatureKind {
        name: "drift_report",
        sql_type: "pg_catalog.jsonb",
    },
];
/// The first of FEATURES, which are numbers, are those of a view that names none.
const DEFAULTS: usize = 10;

#[derive(Clone, Debug)]
pub struct Config {
    pub features: Vec<FeatureKind>,
    /// Microseconds, as `unit` and `ttl`.
    pub window: Option<i64>,
    pub origin: TimestampTz,
    pub metric: String,
    pub unit: i64,
    pub top: i64,
    pub history: bool,
    pub ttl: Option<i64>,
    pub ingested_at_column: Option<String>,
    pub query: Option<String>,
    /// Arguments of the change point function, as SQL.
    pub detection: Vec<(&'static str, String)>,
}

impl Config {
    /// Reads what create_view was given. Every key that the type does not know is an error.
    pub fn parse(kind: Kind, given: &Value) -> Result<Config, ErrorReport> {
        let Value::Object(keys) = given else {
            return Err(invalid(
                "the config of a view is a JSON object",
                "For example: '{\"window\": \"30 days\"}'.",
            ));
        };
        if given.to_string().len() > MOST_BYTES {
            return Err(invalid(
                "the config of a view is larger than 1 MB",
                "A list of entities belongs into a table that a cohort's query reads.",
            ));
        }
        let mut keys = Keys {
            kind,
            left: keys.clone(),
            known: Vec::new(),
        };
        // Read by cvx.freshness_status.
        keys.interval("freshness_sla")?;
        let mut config = Config {
            features: Vec::new(),
            window: None,
            origin: 0,
            metric: String::from("cosine"),
            unit: 86_400_000_000,
            top: 10,
            history: false,
            ttl: keys.interval("ttl")?,
            ingested_at_column: keys.text("ingested_at_column")?,
            query: None,
            detection: Vec::new(),
        };
        if kind != Kind::ChangepointCache {
            config.window = keys.interval("window")?;
            if let Some(metric) = keys.text("metric")? {
                if metric != "cosine" && metric != "l2" {
                    return Err(keys.wrong("metric", &format!("{metric:?}"), "\"cosine\" or \"l2\""));
                }
                config.metric = metric;
            }
        }
        match kind {
            Kind::TemporalFeatures => {
                config.features = keys.features()?;
                config.top = keys.integer("top", 1, 16_000)?.unwrap_or(config.top);
                config.unit = keys.interval("unit")?.unwrap_or(config.unit);
                config.history = keys.bool("history")?;
            }
            Kind::DriftSummary => {
                config.unit = keys.interval("unit")?.unwrap_or(config.unit);
                config.history = keys.bool("history")?;
                config.origin = keys.time("origin")?.unwrap_or(0);
                if config.window.is_none() {
                    return Err(invalid(
                        "a drift_summary needs a window",
                        "For example: '{\"window\": \"7 days\"}'.",
                    ));
                }
            }
            Kind::ChangepointCache => config.detection = keys.detection()?,
            Kind::CohortSnapshot => config.query = keys.text("query")?,
        }
        keys.end()?;
        Ok(config)
    }
}

/// The keys that have not been taken yet.
struct Keys {
    kind: Kind,
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Keys {
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.remove(key).filter(|it| !it.is_null())
    }

    fn wrong(&self, key: &str, found: &str, expected: &str) -> ErrorReport {
        let found: String = found.chars().take(200).collect();
        invalid(
            format!("invalid {key} of a {}: {found}", self.kind.name()),
            format!("Expected {expected}."),
        )
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, ErrorReport> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, &other.to_string(), "a text")),
        }
    }

    fn bool(&mut self, key: &'static str) -> Result<bool, ErrorReport> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(it)) => Ok(it),
            Some(other) => Err(self.wrong(key, &other.to_string(), "true or false")),
        }
    }

    fn integer(&mut self, key: &'static str, least: i64, most: i64) -> Result<Option<i64>, ErrorReport> {
        let Some(found) = self.take(key) else {
            return Ok(None);
        };
        match found.as_i64().filter(|it| (least..=most).contains(it)) {
            Some(it) => Ok(Some(it)),
            None => Err(self.wrong(
                key,
                &found.to_string(),
                &format!("an integer from {least} to {most}"),
            )),
        }
    }

    /// Microseconds: of a fixed length, so that what is computed does not depend on a time zone.
    fn interval(&mut self, key: &'static str) -> Result<Option<i64>, ErrorReport> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        // Without a NUL by then.
        let it = interval::from_text(&std::ffi::CString::new(text.as_str()).unwrap_or_default());
        if it.months() != 0 {
            return Err(self.wrong(
                key,
                &format!("{text:?}"),
                "an interval without months and years, which differ in length",
            ));
        }
        match interval::step_micros(key, &it) {
            Ok(micros) => Ok(Some(micros)),
            Err(_) => Err(self.wrong(key, &format!("{text:?}"), "an interval greater than zero")),
        }
    }

    fn time(&mut self, key: &'static str) -> Result<Option<TimestampTz>, ErrorReport> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let parsed = std::ffi::CString::new(text.as_str()).map(|it| timestamp::from_text(&it));
        match parsed.ok().filter(|it| timestamp::is_finite(*it)) {
            Some(ts) => Ok(Some(ts)),
            None => Err(self.wrong(key, &format!("{text:?}"), "a finite timestamp")),
        }
    }

    fn features(&mut self) -> Result<Vec<FeatureKind>, ErrorReport> {
        const EXPECTED: &str = "a list of names of features, each once";
        let Some(found) = self.take("features") else {
            return Ok(FEATURES[..DEFAULTS].to_vec());
        };
        let names = match &found {
            Value::Array(names) if !names.is_empty() => names,
            other => return Err(self.wrong("features", &other.to_string(), EXPECTED)),
        };
        let mut features: Vec<FeatureKind> = Vec::new();
        for name in names {
            let known = FEATURES.iter().find(|it| name.as_str() == Some(it.name));
            match known {
                None => {
                    let names: Vec<&str> = FEATURES.iter().map(|it| it.name).collect();
                    return Err(self.wrong(
                        "feature",
                        &name.to_string(),
                        &format!("one of {}", names.join(", ")),
                    ));
                }
                Some(it) if features.contains(it) => {
                    return Err(self.wrong("features", &format!("{} twice", it.name), EXPECTED));
                }
                Some(it) => features.push(*it),
            }
        }
        Ok(features)
    }

    fn detection(&mut self) -> Result<Vec<(&'static str, String)>, ErrorReport> {
        let mut arguments = Vec::new();
        for key in ["method", "cost"] {
            if let Some(text) = self.text(key)? {
                arguments.push((key, pgrx::spi::quote_literal(text)));
            }
        }
        for key in ["penalty", "alpha", "gamma"] {
            match self.take(key) {
                None => {}
                Some(Value::Number(it)) => arguments.push((key, format!("'{it}'::pg_catalog.float8"))),
                Some(other) => return Err(self.wrong(key, &other.to_string(), "a number")),
            }
        }
        if let Some(it) = self.integer("min_size", 1, i32::MAX.into())? {
            arguments.push(("min_size", it.to_string()));
        }
        if self.bool("autocorrelated")? {
            arguments.push(("autocorrelated", String::from("true")));
        }
        Ok(arguments)
    }

    fn end(self) -> Result<(), ErrorReport> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => {
                let shown: String = key.chars().take(100).collect();
                Err(invalid(
                    format!("unknown option of a {}: {shown:?}", self.kind.name()),
                    format!("It has: {}.", self.known.join(", ")),
                ))
            }
        }
    }
}
