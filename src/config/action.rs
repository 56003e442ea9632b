//! What a monitor does with an alert.

use crate::keys::Keys;
use crate::monitor::type_of;
use crate::{Error, value};
use serde_json::{Map, Value as Json, json};
use std::collections::HashSet;
use toml::Value;

const ACTIONS: [&str; 3] = ["emit_event", "webhook_post", "log"];
const LOG_LEVELS: [&str; 5] = ["debug", "info", "notice", "warning", "log"];
/// Each alert goes through all of them.
const MAX_ACTIONS: usize = 16;
const MAX_HEADERS: usize = 32;
/// Headers that carry credentials: never as plain text.
const SECRET_HEADERS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];
/// Headers that frame the request, or that say which alert it carries and who signed it.
const OWN_HEADERS: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const OWN_PREFIX: &str = "webhook-";

/// One action or a list of them, in the form in which it is given.
pub fn read(owner: &Keys, found: Value) -> Result<Json, Error> {
    match found {
        Value::Table(table) => one(owner.within("action", table)),
        Value::Array(values) if values.is_empty() => Err(owner.error("action", "is an empty list")),
        Value::Array(values) if values.len() > MAX_ACTIONS => {
            let what = format_args!("has {} entries, more than {MAX_ACTIONS}", values.len());
            Err(owner.error("action", what))
        }
        Value::Array(values) => {
            let each = |(index, value)| match value {
                Value::Table(table) => one(owner.within(&format!("action[{index}]"), table)),
                other => Err(owner.wrong(&format!("action[{index}]"), "a table", &other)),
            };
            let actions = values.into_iter().enumerate().map(each);
            Ok(Json::Array(actions.collect::<Result<_, _>>()?))
        }
        other => Err(owner.wrong("action", "a table or a list of them", &other)),
    }
}

fn one(mut keys: Keys) -> Result<Json, Error> {
    let kind = type_of(&mut keys, &ACTIONS)?;
    let mut out = Map::from_iter([("type".to_owned(), json!(kind))]);
    match kind {
        "webhook_post" => {
            let url = keys.required("url")?;
            check_url(&keys, &url)?;
            out.insert("url".to_owned(), json!(url));
            if let Some(found) = keys.take("headers") {
                out.insert("headers".to_owned(), headers(&keys, found)?);
            }
            if let Some(found) = keys.take("secret") {
                out.insert("secret".to_owned(), reference(&keys, "secret", found)?);
            }
        }
        "log" => {
            if let Some(level) = keys.word("level", &LOG_LEVELS)? {
                out.insert("level".to_owned(), json!(level));
            }
        }
        _ => {}
    }
    keys.finish()?;
    Ok(Json::Object(out))
}

fn check_url(keys: &Keys, url: &str) -> Result<(), Error> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err(keys.error("url", "does not start with https:// or http://"));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        let error = keys.error("url", "holds a user name or password");
        return Err(
            error.hint("Put it into headers as { secret = \"NAME\" }, and the secret into cvx.secret.")
        );
    }
    if host.is_empty() || host.starts_with(':') || url.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(keys.error("url", "is not a URL"));
    }
    Ok(())
}

fn headers(keys: &Keys, found: Value) -> Result<Json, Error> {
    let Value::Table(table) = found else {
        return Err(keys.wrong("headers", "a table", &found));
    };
    if table.len() > MAX_HEADERS {
        let what = format_args!("has {} entries, more than {MAX_HEADERS}", table.len());
        return Err(keys.error("headers", what));
    }
    let mut seen = HashSet::new();
    let mut out = Map::new();
    for (name, value) in table {
        let path = format!("headers.{}", value::shown_key(&name));
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            return Err(keys.error(&path, "is not the name of a header"));
        }
        let plain = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&plain.as_str()) || plain.starts_with(OWN_PREFIX) {
            return Err(keys.error(&path, "is a header that cvx sets itself"));
        }
        let json = match value {
            Value::String(text) if !SECRET_HEADERS.contains(&plain.as_str()) => {
                if text.contains(char::is_control) {
                    return Err(keys.error(&path, "holds a control character"));
                }
                Json::String(text)
            }
            other => reference(keys, &path, other)?,
        };
        if !seen.insert(plain) {
            return Err(keys.error(&path, "stands there twice"));
        }
        out.insert(name, json);
    }
    Ok(Json::Object(out))
}

/// `{ secret = "NAME" }` or `{ env = "NAME" }`; whatever else stands there is not shown.
fn reference(keys: &Keys, key: &str, found: Value) -> Result<Json, Error> {
    if let Value::Table(table) = &found
        && table.len() == 1
        && let Some((kind @ ("secret" | "env"), Value::String(name))) =
            table.iter().next().map(|(kind, name)| (kind.as_str(), name))
        && !name.is_empty()
        && !name.contains('\0')
    {
        return Ok(json!({ kind: name }));
    }
    let error = keys.error(key, "must refer to a secret");
    Err(error.hint("Write { secret = \"NAME\" } for a row of cvx.secret, or { env = \"NAME\" }."))
}
