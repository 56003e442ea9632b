//! Where a refused row stands: its key as JSON text, by which it can be asked for again.

use super::columns::{Column, Columns, ENTITY, INCREMENTAL, TS, ValueKind};
use super::decode::{Fields, value_text};
use super::quote::literal;
use crate::payload::cut;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Longer texts stand in a position by their beginning and their length.
const MAX_KEY_TEXT: usize = 512;
/// That many different keys that more than one row may have are counted at a time.
const MAX_COUNTED: usize = 10_000;

/// Makes positions: `[entity, timestamp]`; and where that is no full key, because one of them is NULL or very long,
/// `[entity, timestamp, incremental value, n]`, for the n-th such row from 0.
#[derive(Debug)]
pub(super) struct Positions {
    ts: ValueKind,
    incremental: ValueKind,
    counts: HashMap<String, u64>,
}

impl Positions {
    pub(super) fn new(ts: ValueKind, incremental: ValueKind) -> Self {
        Self {
            ts,
            incremental,
            counts: HashMap::new(),
        }
    }

    /// The position of a row.
    pub(super) fn of(&mut self, fields: &Fields<'_>) -> String {
        let (mut key, full) = self.key(fields);
        if full {
            return Value::Array(key).to_string();
        }
        let base = Value::Array(key.clone()).to_string();
        if self.counts.len() >= MAX_COUNTED && !self.counts.contains_key(&base) {
            self.counts.clear();
        }
        let count = self.counts.entry(base).or_default();
        key.push((*count).into());
        *count += 1;
        Value::Array(key).to_string()
    }

    /// A position without its number, as a row has it.
    pub(super) fn base(&self, fields: &Fields<'_>) -> String {
        Value::Array(self.key(fields).0).to_string()
    }

    /// The parts of a row's key, and whether two of them are enough.
    fn key(&self, fields: &Fields<'_>) -> (Vec<Value>, bool) {
        let part = |place: usize, kind| {
            fields[place].map_or(Value::Null, |bytes| key_text(&value_text(bytes, kind)))
        };
        let mut key = vec![part(ENTITY, ValueKind::Text), part(TS, self.ts)];
        let full = key.iter().all(Value::is_string);
        if !full {
            key.push(part(INCREMENTAL, self.incremental));
        }
        (key, full)
    }
}

fn key_text(text: &str) -> Value {
    if text.len() <= MAX_KEY_TEXT {
        return text.into();
    }
    let start = cut(text, MAX_KEY_TEXT / 4);
    json!({"start": start.trim_end_matches('…'), "bytes": text.len()})
}

/// A position that was asked for: the text that its row's [`Positions::base`] will be, and the condition that finds
/// the row. None when it is none of this connector's.
pub(super) fn asked(position: &str, columns: &Columns) -> Option<(String, String)> {
    let Value::Array(mut parts) = serde_json::from_str(position).ok()? else {
        return None;
    };
    if parts.len() == 4 {
        parts.pop().filter(Value::is_u64)?;
    } else if parts.len() != 2 {
        return None;
    }
    let asked = [&columns.entity, &columns.ts, &columns.incremental];
    let conditions: Option<Vec<String>> = parts
        .iter()
        .zip(asked)
        .map(|(part, column)| condition(part, column))
        .collect();
    Some((Value::Array(parts).to_string(), conditions?.join(" AND ")))
}

fn condition(part: &Value, column: &Column) -> Option<String> {
    let Column { sql, type_sql, .. } = column;
    Some(match part {
        Value::Null => format!("{sql} IS NULL"),
        Value::String(text) if text.contains('\0') => return None,
        Value::String(text) => format!("{sql} = {}::{type_sql}", literal(text)),
        part => {
            let (start, bytes) = (part["start"].as_str()?, part["bytes"].as_u64()?);
            if start.contains('\0') {
                return None;
            }
            let length = start.chars().count();
            format!(
                "octet_length({sql}::text) = {bytes} AND left({sql}::text, {length}) = {}",
                literal(start)
            )
        }
    })
}
