//! What is told of an alert: one JSON object, for webhooks whole, for NOTIFY short enough.

use serde_json::{Map, Value, json};

use super::Finding;

/// NOTIFY refuses payloads of 8000 bytes.
const MOST_BYTES: usize = 7999;
/// What is left of a text when the object is too long.
const SHORT_TEXT: usize = 500;

/// An alert that has its row.
pub struct Alert<'a> {
    pub alert_id: i64,
    pub event_id: &'a str,
    pub fired_at: &'a str,
    pub severity: &'a str,
    pub is_test: bool,
    /// The time of the finding as PostgreSQL writes it in JSON.
    pub ts: Option<&'a str>,
    pub monitor: &'a cvx_config::Monitor,
    pub condition: &'static str,
    pub finding: &'a Finding,
}

impl Alert<'_> {
    /// The whole of it.
    pub fn body(&self) -> Map<String, Value> {
        let (monitor, finding) = (self.monitor, self.finding);
        let object = json!({
            "id": self.event_id,
            "alert_id": self.alert_id,
            "monitor": monitor.name,
            "description": monitor.description,
            "severity": self.severity,
            "condition": self.condition,
            "space": finding.space.as_ref().or(monitor.space.as_ref()),
            "model": monitor.model,
            "entity_id": finding.entity_id,
            "ts": self.ts,
            "fired_at": self.fired_at,
            "value": finding.value,
            "threshold": finding.threshold,
            "p_value": finding.p_value,
            "message": finding.message,
            "details": finding.details,
            "test": self.is_test,
        });
        match object {
            Value::Object(object) => object,
            _ => Map::new(),
        }
    }
}

/// The object as text that NOTIFY takes: details go first, then long texts are cut; alert_id leads to the row.
pub fn notification(mut object: Map<String, Value>) -> String {
    let whole = Value::Object(object.clone()).to_string();
    if whole.len() <= MOST_BYTES {
        return whole;
    }
    object.insert(String::from("truncated"), Value::Bool(true));
    object.remove("details");
    let text = Value::Object(object.clone()).to_string();
    if text.len() <= MOST_BYTES {
        return text;
    }
    for value in object.values_mut() {
        if let Value::String(text) = value {
            shorten(text);
        }
    }
    Value::Object(object).to_string()
}

/// Cut so that even escaped, six bytes for one, all texts together fit.
fn shorten(text: &mut String) {
    let escaped = |text: &str| Value::from(text).to_string().len();
    if escaped(text) <= SHORT_TEXT {
        return;
    }
    let mut used = 2;
    let end = text
        .char_indices()
        .find(|(_, c)| {
            used += escaped(c.encode_utf8(&mut [0; 4])) - 2;
            used > SHORT_TEXT
        })
        .map_or(text.len(), |(place, _)| place);
    text.truncate(end);
}

/// A length of time in words: 7 d, 12 h, 90 min, 1.5 s.
pub fn interval(micros: i64) -> String {
    const UNITS: [(i64, &str); 3] = [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min")];
    for (unit, name) in UNITS {
        if micros >= unit {
            let count = (micros as f64 / unit as f64 * 10.0).round() / 10.0;
            return format!("{count} {name}");
        }
    }
    format!("{} s", (micros as f64 / 1e6 * 10.0).round() / 10.0)
}
