//! What a monitor looks for, and at which entities.

use crate::duration::Length;
use crate::keys::Keys;
use crate::monitor::{interval, type_of};
use crate::{Error, duration};
use serde_json::{Map, Value as Json, json};
use toml::Value;

const CONDITIONS: [&str; 8] = [
    "drift_exceeds",
    "velocity_exceeds",
    "silence_exceeds",
    "change_point_detected",
    "custom_query",
    "reject_ratio_exceeds",
    "freshness_exceeds",
    "population_drift_exceeds",
];
const METRICS: [&str; 2] = ["cosine", "l2"];
const METHODS: [&str; 3] = ["centroid", "mmd", "psi"];
/// Most entities that a filter names.
const MAX_ENTITY_IDS: usize = 100_000;
const MAX_RANGE_CHARS: usize = 200;

/// A condition that is being read: its keys, and what of them is kept.
struct Reader {
    keys: Keys,
    out: Map<String, Json>,
}

impl Reader {
    fn put(&mut self, key: &'static str, value: Option<Json>) -> Option<()> {
        value.map(|it| drop(self.out.insert(key.to_owned(), it)))
    }

    /// A number above 0, and up to `most` when there is such a bound.
    fn optional_number(&mut self, key: &'static str, most: Option<f64>) -> Result<Option<()>, Error> {
        let number = self.keys.positive(key, most)?;
        Ok(self.put(key, number))
    }

    fn number(&mut self, key: &'static str, most: Option<f64>) -> Result<(), Error> {
        self.optional_number(key, most)?
            .ok_or_else(|| self.keys.missing(key))
    }

    /// A number above 0 and below 1.
    fn probability(&mut self, key: &'static str) -> Result<(), Error> {
        if self.optional_number(key, Some(1.0))?.is_some() && self.out[key].as_f64() == Some(1.0) {
            return Err(self.keys.error(key, "is 1, not below 1"));
        }
        Ok(())
    }

    fn optional_interval(&mut self, key: &'static str) -> Result<Option<()>, Error> {
        let text = interval(&mut self.keys, key, Length::Positive)?;
        Ok(self.put(key, text.map(Json::from)))
    }

    fn interval(&mut self, key: &'static str) -> Result<(), Error> {
        self.optional_interval(key)?.ok_or_else(|| self.keys.missing(key))
    }

    fn optional_text(&mut self, key: &'static str) -> Result<(), Error> {
        let text = self.keys.optional(key)?;
        self.put(key, text.map(Json::from));
        Ok(())
    }

    fn optional_word(&mut self, key: &'static str, words: &[&str]) -> Result<Option<()>, Error> {
        let word = self.keys.word(key, words)?;
        Ok(self.put(key, word.map(Json::from)))
    }

    /// The stretch that a population is compared with: an interval before the window, or a range of time.
    fn baseline(&mut self) -> Result<(), Error> {
        let text = self.keys.required("baseline")?;
        if !is_range(&text) && duration::length(&text) != Some(Length::Positive) {
            let what = format_args!("is {text:?}, neither an interval above 0 nor a range of time");
            let hint = "Write it as 30d, the stretch before the window, or as [2026-01-01,2026-02-01).";
            return Err(self.keys.error("baseline", what).hint(hint));
        }
        self.put("baseline", Some(Json::from(text)));
        Ok(())
    }
}

/// Whether a text has the form of PostgreSQL's ranges, with an upper end. The ends are PostgreSQL's to read.
fn is_range(text: &str) -> bool {
    let inner = text.trim().strip_prefix(['[', '(']);
    let inner = inner.and_then(|it| it.strip_suffix([']', ')']));
    let Some((from, to)) = inner.and_then(|it| it.split_once(',')) else {
        return false;
    };
    let is_end = |end: &str| !end.contains([',', '[', ']', '(', ')']);
    text.len() <= MAX_RANGE_CHARS && is_end(from) && is_end(to) && !to.trim_matches([' ', '"']).is_empty()
}

pub fn read(owner: &Keys, table: toml::Table) -> Result<Json, Error> {
    let mut keys = owner.within("condition", table);
    let kind = type_of(&mut keys, &CONDITIONS)?;
    let out = Map::from_iter([("type".to_owned(), json!(kind))]);
    let mut it = Reader { keys, out };
    match kind {
        "drift_exceeds" => {
            it.number("threshold", None)?;
            it.interval("window")?;
            it.optional_word("metric", &METRICS)?;
            it.optional_number("fdr", Some(1.0))?;
        }
        "velocity_exceeds" => {
            it.number("threshold", None)?;
            it.optional_interval("window")?;
            it.optional_number("fdr", Some(1.0))?;
        }
        "silence_exceeds" | "freshness_exceeds" => {
            it.interval("duration")?;
            it.optional_text("source")?;
        }
        "change_point_detected" => {
            it.number("min_severity", Some(1.0))?;
            it.probability("hazard")?;
            it.probability("threshold")?;
            it.optional_number("fdr", Some(1.0))?;
        }
        "reject_ratio_exceeds" => {
            it.number("threshold", Some(1.0))?;
            it.optional_text("source")?;
            it.optional_interval("window")?;
        }
        "population_drift_exceeds" => {
            let method = it.optional_word("method", &METHODS)?;
            method.ok_or_else(|| it.keys.missing("method"))?;
            it.number("threshold", None)?;
            it.baseline()?;
            it.interval("window")?;
        }
        _ => {
            let sql = it.keys.required("sql")?;
            it.put("sql", Some(Json::from(sql)));
        }
    }
    it.keys.finish()?;
    Ok(Json::Object(it.out))
}

/// The entities that a monitor is about: by name, by what their attrs contain, or both.
pub fn read_filter(owner: &Keys, table: toml::Table) -> Result<Json, Error> {
    let mut keys = owner.within("entity_filter", table);
    let mut out = Map::new();
    match keys.take("entity_ids") {
        None => {}
        Some(Value::Array(ids)) if (1..=MAX_ENTITY_IDS).contains(&ids.len()) => {
            let ids = ids.into_iter().enumerate();
            let ids = ids.map(|(index, id)| entity_id(&keys, index, id));
            out.insert("entity_ids".to_owned(), ids.collect::<Result<_, _>>()?);
        }
        Some(Value::Array(ids)) => {
            let what = format_args!("has {} entries, not 1 to {MAX_ENTITY_IDS}", ids.len());
            return Err(keys.error("entity_ids", what));
        }
        Some(other) => return Err(keys.wrong("entity_ids", "a list", &other)),
    }
    match keys.take("attrs") {
        None => {}
        Some(attrs @ Value::Table(_)) => {
            out.insert("attrs".to_owned(), keys.json("attrs", attrs)?);
        }
        Some(other) => return Err(keys.wrong("attrs", "a table", &other)),
    }
    if out.is_empty() && keys.next_unread().is_none() {
        let error = owner.error("entity_filter", "is empty");
        return Err(error.hint("Its keys are entity_ids and attrs."));
    }
    keys.finish()?;
    Ok(Json::Object(out))
}

/// An integer is taken as the text that it is written as.
fn entity_id(keys: &Keys, index: usize, id: Value) -> Result<Json, Error> {
    let path = format!("entity_ids[{index}]");
    match id {
        Value::String(text) if text.is_empty() => Err(keys.error(&path, "is empty")),
        Value::Integer(number) => Ok(Json::from(number.to_string())),
        text @ Value::String(_) => keys.json(&path, text),
        other => Err(keys.wrong(&path, "a text", &other)),
    }
}
