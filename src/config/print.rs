//! A declaration as TOML that a person would have written.

use crate::monitor::{DEFAULT_INTERVAL, DEFAULT_SEVERITY};
use crate::schedule::DEFAULT_TIME_ZONE;
use crate::source::{COMMON, DEFAULT_PRIORITY};
use crate::{Declaration, Monitor, Source};
use serde_json::{Map, Number, Value, json};

/// A value that would end beyond this column is broken into lines or gets a table of its own.
const MAX_COLUMN: usize = 110;

/// The order in which keys of configurations, conditions and actions stand; others follow by name.
const ORDER: [&str; 42] = [
    "type",
    "min_severity",
    "threshold",
    "window",
    "baseline",
    "metric",
    "method",
    "hazard",
    "fdr",
    "url",
    "bucket",
    "prefix",
    "brokers",
    "topic",
    "group_id",
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "table",
    "query",
    "where",
    "partition_format",
    "endpoint",
    "region",
    "format",
    "entity_id_column",
    "entity_id_field",
    "vector_column",
    "vector_field",
    "timestamp_column",
    "timestamp_field",
    "timestamp_unit",
    "from",
    "to",
    "entity_ids",
    "duration",
    "sql",
    "headers",
    "secret",
    "level",
];

/// Prints a declaration so that [`crate::parse`] reads the same: sources, then monitors, in the order given,
/// each with its keys in a fixed order and without those that have their default. What TOML has no word for
/// is left out (null) or becomes a number with a decimal point (an integer above 2^63).
pub fn print(declaration: &Declaration) -> String {
    let mut out = String::new();
    for source in &declaration.sources {
        print_source(&mut out, source);
    }
    for monitor in &declaration.monitors {
        print_monitor(&mut out, monitor);
    }
    out
}

fn print_source(out: &mut String, source: &Source) {
    start(out, "[[sources]]");
    let mut pairs = vec![
        ("name", json!(source.name)),
        ("type", json!(source.source_type)),
        ("space", json!(source.space)),
        ("schedule", json!(source.schedule)),
    ];
    if source.time_zone != DEFAULT_TIME_ZONE {
        pairs.push(("time_zone", json!(source.time_zone)));
    }
    if !source.incremental {
        pairs.push(("incremental", json!(false)));
    }
    if source.priority != DEFAULT_PRIORITY {
        pairs.push(("priority", json!(source.priority)));
    }
    pairs.push(("model", json!(source.model)));
    let common = |name| Some((name, source.config.get(name)?.clone()));
    pairs.extend(COMMON.into_iter().filter_map(common));
    let mut own = source.config.clone();
    own.retain(|name, value| !COMMON.contains(&name.as_str()) && !value.is_null());
    let pairs = pairs.iter().map(|(name, value)| (*name, value)).collect();
    table(out, "sources", pairs);
    if !own.is_empty() {
        headed(out, &format!("sources.{}", key(&source.source_type)), &own);
    }
}

fn print_monitor(out: &mut String, monitor: &Monitor) {
    start(out, "[[monitors]]");
    let unless = |default: &str, value: &str| json!((value != default).then_some(value));
    let interval = match monitor.schedule {
        None => unless(DEFAULT_INTERVAL, &monitor.check_interval),
        Some(_) => Value::Null,
    };
    let pairs = [
        ("name", json!(monitor.name)),
        ("description", unless("", &monitor.description)),
        ("space", json!(monitor.space)),
        ("model", json!(monitor.model)),
        ("condition", monitor.condition.clone()),
        ("action", monitor.action.clone()),
        ("entity_filter", json!(monitor.entity_filter)),
        ("check_interval", json!(interval)),
        ("schedule", json!(monitor.schedule)),
        ("time_zone", unless(DEFAULT_TIME_ZONE, &monitor.time_zone)),
        ("severity", unless(DEFAULT_SEVERITY, &monitor.severity)),
        ("cooldown", unless(DEFAULT_INTERVAL, &monitor.cooldown)),
    ];
    let pairs = pairs.iter().map(|(name, value)| (*name, value)).collect();
    table(out, "monitors", pairs);
}

fn start(out: &mut String, header: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(header);
    out.push('\n');
}

fn headed(out: &mut String, path: &str, map: &Map<String, Value>) {
    out.push_str(&format!("[{path}]\n"));
    table(out, path, ordered(map));
}

/// The pairs in their order, objects that do not fit into a line behind the rest as tables of their own.
fn table(out: &mut String, path: &str, pairs: Vec<(&str, &Value)>) {
    let mut tables = Vec::new();
    for (name, value) in pairs {
        if value.is_null() {
            continue;
        }
        let name = key(name);
        match value {
            Value::String(text) if text.contains('\n') => {
                out.push_str(&format!("{name} = {}\n", lines(text)));
                continue;
            }
            _ => {}
        }
        let line = format!("{name} = {}", inline(value));
        let fits = line.chars().count() <= MAX_COLUMN;
        match value {
            Value::Object(map) if !map.is_empty() && (!fits || line.contains("\\n")) => {
                tables.push((name, map));
            }
            Value::Array(values) if !fits => {
                out.push_str(&format!("{name} = [\n"));
                for value in values.iter().filter(|value| !value.is_null()) {
                    out.push_str(&format!("    {},\n", inline(value)));
                }
                out.push_str("]\n");
            }
            _ => {
                out.push_str(&line);
                out.push('\n');
            }
        }
    }
    for (name, map) in tables {
        headed(out, &format!("{path}.{name}"), map);
    }
}

fn ordered(map: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut pairs: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let rank = |name: &str| ORDER.iter().position(|it| *it == name).unwrap_or(ORDER.len());
    pairs.sort_by_key(|&(name, _)| (rank(name), name));
    pairs
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(it) => number(it),
        Value::String(text) => quoted(text),
        Value::Array(values) => {
            let values = values.iter().filter(|value| !value.is_null()).map(inline);
            format!("[{}]", values.collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pairs = ordered(map).into_iter().filter(|(_, value)| !value.is_null());
            let pairs: Vec<_> = pairs
                .map(|(name, value)| format!("{} = {}", key(name), inline(value)))
                .collect();
            if pairs.is_empty() {
                return "{}".to_owned();
            }
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

/// Rust's shortest form of a float, which always has a decimal point or an exponent, is TOML's as well.
fn number(it: &Number) -> String {
    match it.as_i64() {
        Some(integer) => integer.to_string(),
        None => it
            .as_f64()
            .map_or_else(|| it.to_string(), |float| format!("{float:?}")),
    }
}

/// A key, bare where TOML allows it.
pub fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    quoted(name)
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => escaped(&mut out, c),
        }
    }
    out.push('"');
    out
}

/// A text of several lines, as such: the first newline is not part of it, and no three quotes follow each
/// other.
fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str("\"\"\"\n");
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\n' => out.push('\n'),
            '"' if matches!(characters.peek(), None | Some('"')) => out.push_str("\\\""),
            '"' => out.push('"'),
            c => escaped(&mut out, c),
        }
    }
    out.push_str("\"\"\"");
    out
}

fn escaped(out: &mut String, c: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        c => out.push(c),
    }
}
