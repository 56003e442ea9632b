//! The keys of a table, taken one by one; what is left over is unknown.

use crate::schedule::{DEFAULT_TIME_ZONE, Schedule};
use crate::{Error, nearest, value};
use serde_json::Value as Json;
use toml::Value;

/// A table that is being read.
pub struct Keys {
    /// What it belongs to, such as `source "x"`; empty for the whole text.
    owner: String,
    /// The table's own name and a full stop, when it is not the owner's first.
    prefix: String,
    table: toml::Table,
    asked: Vec<&'static str>,
}

impl Keys {
    pub fn new(owner: impl Into<String>, table: toml::Table) -> Self {
        Self {
            owner: owner.into(),
            prefix: String::new(),
            table,
            asked: Vec::new(),
        }
    }

    /// Names the owner, once its name is known.
    pub fn rename(&mut self, owner: String) {
        self.owner = owner;
    }

    /// A table within it.
    pub fn within(&self, name: &str, table: toml::Table) -> Self {
        Self {
            prefix: format!("{}{name}.", self.prefix),
            ..Self::new(&*self.owner, table)
        }
    }

    /// An error of something that the owner holds.
    pub fn of_owner(&self, error: Error) -> Error {
        let message = match self.owner.as_str() {
            "" => error.message,
            owner => format!("{owner}: {}", error.message),
        };
        Error { message, ..error }
    }

    pub fn error(&self, key: &str, what: impl std::fmt::Display) -> Error {
        Error::new(format!("{} {what}", self.path(key)))
    }

    /// The key and what it belongs to, for a message.
    pub fn path(&self, key: &str) -> String {
        let separator = if self.owner.is_empty() { "" } else { ": " };
        format!("{}{separator}{}{key}", self.owner, self.prefix)
    }

    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.table.remove(key)
    }

    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.contains('\0') => Err(self.error(key, "holds a NUL character")),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a text", &other)),
        }
    }

    /// A text that says something.
    pub fn required(&mut self, key: &'static str) -> Result<String, Error> {
        let text = self.text(key)?.ok_or_else(|| self.missing(key))?;
        if text.trim().is_empty() {
            return Err(self.error(key, "is empty"));
        }
        Ok(text)
    }

    /// As [`Self::required`], and may be left out.
    pub fn optional(&mut self, key: &'static str) -> Result<Option<String>, Error> {
        if self.table.contains_key(key) {
            return self.required(key).map(Some);
        }
        self.text(key)
    }

    /// One of a few words.
    pub fn word(&mut self, key: &'static str, words: &[&str]) -> Result<Option<String>, Error> {
        let Some(word) = self.text(key)? else {
            return Ok(None);
        };
        if words.contains(&word.as_str()) {
            return Ok(Some(word));
        }
        let error = self.error(key, format_args!("is {word:?}"));
        Err(error.hint(format!("It is one of {}.", words.join(", "))))
    }

    pub fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, Error> {
        match self.take(key) {
            None => Ok(default),
            Some(Value::Boolean(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(key, "true or false", &other)),
        }
    }

    pub fn integer(&mut self, key: &'static str, default: i32) -> Result<i32, Error> {
        match self.take(key) {
            None => Ok(default),
            Some(Value::Integer(number)) => i32::try_from(number).map_err(|_| {
                let range = format_args!("is {number}, outside {} to {}", i32::MIN, i32::MAX);
                self.error(key, range)
            }),
            Some(other) => Err(self.wrong(key, "an integer", &other)),
        }
    }

    /// A number above 0, and up to `most` when there is such a bound. An integer stays one.
    pub fn positive(&mut self, key: &'static str, most: Option<f64>) -> Result<Option<Json>, Error> {
        let (number, json) = match self.take(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => (number as f64, Json::from(number)),
            Some(Value::Float(number)) => (number, Json::from(number)),
            Some(other) => return Err(self.wrong(key, "a number", &other)),
        };
        if !(number > 0.0 && number.is_finite()) {
            return Err(self.error(key, format_args!("is {number}, not a number above 0")));
        }
        if let Some(most) = most.filter(|&most| number > most) {
            return Err(self.error(key, format_args!("is {number}, above {most}")));
        }
        Ok(Some(json))
    }

    /// A cron expression, if there is one, and the time zone in which it is read.
    pub fn schedule(&mut self) -> Result<(Option<String>, String), Error> {
        let schedule = self.optional("schedule")?;
        let time_zone = self.optional("time_zone")?;
        let time_zone = time_zone.unwrap_or_else(|| DEFAULT_TIME_ZONE.to_owned());
        let checked = Schedule::parse(schedule.as_deref().unwrap_or("@daily"), &time_zone);
        checked.map_err(|error| self.of_owner(error))?;
        Ok((schedule, time_zone))
    }

    /// A list of tables; none is an empty one.
    pub fn tables(&mut self, key: &'static str) -> Result<Vec<toml::Table>, Error> {
        let hint = |error: Error| error.hint(format!("Each of them starts with [[{key}]]."));
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                let table = |value| match value {
                    Value::Table(table) => Ok(table),
                    other => Err(hint(self.wrong(key, "a list of tables", &other))),
                };
                values.into_iter().map(table).collect()
            }
            Some(other) => Err(hint(self.wrong(key, "a list of tables", &other))),
        }
    }

    pub fn json(&self, key: &str, value: Value) -> Result<Json, Error> {
        value::to_json(&self.path(key), value)
    }

    pub fn missing(&self, key: &str) -> Error {
        let error = self.error(key, "is missing");
        let unread = self.table.keys().map(String::as_str);
        match nearest(key, unread.filter(|it| !self.asked.contains(it))) {
            Some(there) => error.hint(format!("There is {}.", value::shown_key(there))),
            None => error,
        }
    }

    pub fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        let what = format!("must be {expected}, found {}", value::kind(found));
        self.error(key, what)
    }

    /// The first key that nobody asked for.
    pub fn next_unread(&self) -> Option<(&str, &Value)> {
        let (key, value) = self.table.iter().next()?;
        Some((key, value))
    }

    /// # Errors
    /// The first key that nobody asked for.
    pub fn finish(self) -> Result<(), Error> {
        let Some((key, _)) = self.next_unread() else {
            return Ok(());
        };
        let owner = if self.owner.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.owner)
        };
        let shown = value::shown_key(key);
        let error = Error::new(format!("{owner}unknown key {}{shown}", self.prefix));
        Err(match nearest(key, self.asked.iter().copied()) {
            Some(meant) => error.hint(format!("Perhaps {meant} is meant.")),
            None => error.hint(format!("The keys are {}.", self.asked.join(", "))),
        })
    }
}

/// Counted from 1; columns in characters.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rfind('\n').map_or(before, |end| &before[end + 1..]);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}
