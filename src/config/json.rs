//! Parts of a declaration that are given as JSON, to functions of SQL.

use crate::keys::Keys;
use crate::{Error, value};
use serde_json::Value as Json;
use toml::Value;

/// Most levels of nesting: what is stored can be printed as TOML, which is read up to 80 levels deep.
const MAX_DEPTH: usize = 64;

/// A condition, read by the same rules as a declaration's; what is left is what TOML would give.
///
/// # Errors
/// As [`crate::parse`], with paths such as `condition.threshold`.
pub fn condition(given: &Json) -> Result<Json, Error> {
    let read = |table| crate::condition::read(&Keys::new("", toml::Table::new()), table);
    table("condition", given).and_then(read).map_err(|error| {
        shown(
            error,
            r#"{"type": "drift_exceeds", "threshold": 0.3, "window": "7 days"}"#,
        )
    })
}

/// One action or a list of them; see [`condition`].
///
/// # Errors
/// As [`crate::parse`], with paths such as `action[0].url`.
pub fn action(given: &Json) -> Result<Json, Error> {
    let read = |found| crate::action::read(&Keys::new("", toml::Table::new()), found);
    to_toml("action", given, 0).and_then(read).map_err(|error| {
        shown(
            error,
            r#"{"type": "emit_event"} or [{"type": "webhook_post", "url": "https://host/path"}]"#,
        )
    })
}

/// Which entities a monitor is about; see [`condition`].
///
/// # Errors
/// As [`crate::parse`], with paths such as `entity_filter.entity_ids`.
pub fn entity_filter(given: &Json) -> Result<Json, Error> {
    let read = |table| crate::condition::read_filter(&Keys::new("", toml::Table::new()), table);
    table("entity_filter", given).and_then(read).map_err(|error| {
        shown(
            error,
            r#"{"entity_ids": ["a", "b"]} or {"attrs": {"plan": "pro"}}"#,
        )
    })
}

/// An error that says what to do instead, by an example when it has nothing better.
fn shown(error: Error, example: &str) -> Error {
    match (&error.detail, &error.hint) {
        (None, None) => error.hint(format!("For example: {example}.")),
        _ => error,
    }
}

fn table(name: &str, given: &Json) -> Result<toml::Table, Error> {
    match to_toml(name, given, 0)? {
        Value::Table(table) => Ok(table),
        other => {
            let found = value::kind(&other);
            Err(Error::new(format!("{name} must be an object, found {found}")))
        }
    }
}

fn to_toml(path: &str, given: &Json, depth: usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        let what = format!("is nested more than {MAX_DEPTH} levels deep");
        let top: String = path.chars().take_while(|c| !matches!(c, '.' | '[')).collect();
        return Err(Error::new(format!("{top} {what}")));
    }
    Ok(match given {
        Json::Null => {
            let error = Error::new(format!("{path} is null"));
            return Err(error.hint("Leave the key out."));
        }
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(float)) if number.is_f64() => Value::Float(float),
            _ => {
                return Err(Error::new(format!(
                    "{path} is {number}, outside the range of bigint"
                )));
            }
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(values) => {
            let values = values.iter().enumerate();
            let values = values.map(|(index, it)| to_toml(&format!("{path}[{index}]"), it, depth + 1));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Json::Object(map) => {
            let pairs = map.iter().map(|(key, it)| {
                let path = format!("{path}.{}", value::shown_key(key));
                Ok((key.clone(), to_toml(&path, it, depth + 1)?))
            });
            Value::Table(pairs.collect::<Result<_, Error>>()?)
        }
    })
}
