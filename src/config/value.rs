//! TOML values: as JSON, and how messages name them.

use crate::Error;
use serde_json::{Map, Number, Value as Json};
use toml::Value;

/// Most characters of a key that a message shows.
const SHOWN_CHARS: usize = 64;

/// Dates and times become text in ISO 8601. `path` names the value in an error.
///
/// # Errors
/// What JSON or PostgreSQL cannot hold: infinity, not-a-number, the NUL character.
pub fn to_json(path: &str, value: Value) -> Result<Json, Error> {
    Ok(match value {
        Value::String(text) => {
            no_nul(path, &text)?;
            Json::String(text)
        }
        Value::Integer(number) => Json::from(number),
        Value::Float(number) => Number::from_f64(number)
            .map(Json::Number)
            .ok_or_else(|| Error::new(format!("{path} is {number}, not a finite number")))?,
        Value::Boolean(flag) => Json::Bool(flag),
        Value::Datetime(time) => Json::String(time.to_string()),
        Value::Array(values) => {
            let values = values.into_iter().enumerate();
            let values = values.map(|(index, value)| to_json(&format!("{path}[{index}]"), value));
            Json::Array(values.collect::<Result<_, _>>()?)
        }
        Value::Table(table) => Json::Object(to_map(path, table)?),
    })
}

/// As [`to_json`].
pub fn to_map(path: &str, table: toml::Table) -> Result<Map<String, Json>, Error> {
    let mut map = Map::new();
    for (key, value) in table {
        let path = format!("{path}.{}", shown_key(&key));
        no_nul(&path, &key)?;
        map.insert(key, to_json(&path, value)?);
    }
    Ok(map)
}

fn no_nul(path: &str, text: &str) -> Result<(), Error> {
    if text.contains('\0') {
        return Err(Error::new(format!("{path} holds a NUL character")));
    }
    Ok(())
}

/// A key as TOML writes it, cut when it is long.
pub fn shown_key(key: &str) -> String {
    match key.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", crate::print::key(&key[..end])),
        None => crate::print::key(key),
    }
}

/// A value's type in a message.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
