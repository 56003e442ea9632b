//! `[[sources]]`.

use crate::keys::Keys;
use crate::{Error, Source, nearest, value};
use toml::Value;

pub const TYPES: [&str; 5] = ["s3_parquet", "kafka", "rest_api", "grpc_stream", "postgres"];
/// Options of every type, which stand in the source's own table.
pub const COMMON: [&str; 5] = [
    "filter",
    "max_reject_ratio",
    "batch_rows",
    "batch_bytes",
    "batch_interval_ms",
];
pub const DEFAULT_PRIORITY: i32 = 100;

pub fn read(index: usize, table: toml::Table) -> Result<Source, Error> {
    let mut keys = Keys::new(format!("sources[{index}]"), table);
    let name = keys.required("name")?;
    keys.rename(format!("source {name:?}"));
    let source_type = keys.required("type")?;
    let own = TYPES.into_iter().find(|known| *known == source_type);
    let Some(own) = own else {
        let error = keys.error("type", format_args!("is {source_type:?}, an unknown type"));
        return Err(match nearest(&source_type, TYPES) {
            Some(meant) => error.hint(format!("Perhaps {meant} is meant.")),
            None => error.hint(format!("The types are {}.", TYPES.join(", "))),
        });
    };
    let space = keys.required("space")?;
    let (schedule, time_zone) = keys.schedule()?;
    let incremental = keys.flag("incremental", true)?;
    let priority = keys.integer("priority", DEFAULT_PRIORITY)?;
    let model = keys.optional("model")?;
    let config = config(&mut keys, own)?;
    if let Some((other, Value::Table(_))) = keys.next_unread()
        && TYPES.contains(&other)
    {
        let message = format!("the source is of type {own} and has a table {other}");
        return Err(Error::new(format!("source {name:?}: {message}")));
    }
    keys.finish()?;
    Ok(Source {
        name,
        source_type,
        space,
        config,
        schedule,
        time_zone,
        incremental,
        priority,
        model,
    })
}

/// The common options and the type's own keys.
fn config(keys: &mut Keys, own: &'static str) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
    let mut config = match keys.take(own) {
        None => serde_json::Map::new(),
        Some(Value::Table(table)) => value::to_map(&keys.path(own), table)?,
        Some(other) => {
            let error = keys.wrong(own, "a table", &other);
            return Err(error.hint(format!("It starts with [sources.{own}].")));
        }
    };
    if let Some(common) = COMMON.into_iter().find(|common| config.contains_key(*common)) {
        let error = keys.error(own, format_args!("holds {common}, an option of all types"));
        return Err(error.hint(format!("It stands above [sources.{own}], in the source itself.")));
    }
    for common in COMMON {
        if let Some(found) = keys.take(common) {
            let expected = if common == "filter" { "a table" } else { "a number" };
            let fits = match &found {
                Value::Table(_) => common == "filter",
                Value::Integer(_) | Value::Float(_) => common != "filter",
                _ => false,
            };
            if !fits {
                return Err(keys.wrong(common, expected, &found));
            }
            config.insert(common.to_owned(), keys.json(common, found)?);
        }
    }
    Ok(config)
}
