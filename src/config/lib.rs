//! The declaration of sources and monitors as TOML, and when a schedule is due. Pure: no PostgreSQL, no
//! clock.

mod action;
mod condition;
mod duration;
mod json;
mod keys;
mod monitor;
mod nearest;
mod print;
pub mod schedule;
mod source;
mod value;

pub use json::{action, condition, entity_filter};
pub use monitor::SEVERITIES;
pub use nearest::nearest;
pub use print::print;

use keys::{Keys, line_and_column};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Most bytes of a declaration.
pub const MAX_BYTES: usize = 4 << 20;
/// Most sources and monitors together.
pub const MAX_DECLARATIONS: usize = 10_000;

/// What a TOML text declares.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declaration {
    pub sources: Vec<Source>,
    pub monitors: Vec<Monitor>,
}

/// A row of cvx.source, as it is declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub name: String,
    pub source_type: String,
    pub space: String,
    /// The table named after the type, and the options that all types share.
    pub config: Map<String, Value>,
    pub schedule: Option<String>,
    /// Of the schedule; UTC when it is not said.
    pub time_zone: String,
    pub incremental: bool,
    pub priority: i32,
    pub model: Option<String>,
}

/// A row of cvx.monitor, as it is declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    pub name: String,
    pub description: String,
    pub condition: Value,
    /// One action or a list of them.
    pub action: Value,
    /// An interval in PostgreSQL's words, such as `1h`; counts when there is no schedule.
    pub check_interval: String,
    pub schedule: Option<String>,
    /// Of the schedule; UTC when it is not said.
    pub time_zone: String,
    pub severity: String,
    pub cooldown: String,
    pub space: Option<String>,
    pub model: Option<String>,
    /// The entities it is about, when not all.
    pub entity_filter: Option<Value>,
}

/// Why a text is no declaration: lower case, no full stop, the key or value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    fn detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Reads a declaration: `[[sources]]`, each with the options that all types share (`filter`,
/// `max_reject_ratio`, `batch_rows`, `batch_bytes`, `batch_interval_ms`) among its own keys and a table named
/// after its type, and `[[monitors]]`. The keys inside the type's table are taken as they are: `cvx_sources`
/// knows them. Dates and times in a configuration become text in ISO 8601.
///
/// # Errors
/// TOML that cannot be read, with line and column; a text of more than [`MAX_BYTES`] or [`MAX_DECLARATIONS`];
/// a key that is unknown, missing or of a wrong type; a value out of bounds; a name that is declared twice.
pub fn parse(toml: &str) -> Result<Declaration, Error> {
    if toml.len() > MAX_BYTES {
        let message = format!("the declaration has {} bytes, more than {MAX_BYTES}", toml.len());
        return Err(Error::new(message));
    }
    let table = toml
        .parse::<toml::Table>()
        .map_err(|error| syntax(toml, &error))?;
    let mut keys = Keys::new("", table);
    let sources = keys.tables("sources")?;
    let monitors = keys.tables("monitors")?;
    keys.finish()?;
    let count = sources.len() + monitors.len();
    if count > MAX_DECLARATIONS {
        let message = format!("{count} sources and monitors are declared, more than {MAX_DECLARATIONS}");
        return Err(Error::new(message));
    }
    let declaration = Declaration {
        sources: numbered(sources, source::read)?,
        monitors: numbered(monitors, monitor::read)?,
    };
    once("source", declaration.sources.iter().map(|source| &source.name))?;
    once(
        "monitor",
        declaration.monitors.iter().map(|monitor| &monitor.name),
    )?;
    Ok(declaration)
}

fn numbered<T>(
    tables: Vec<toml::Table>,
    read: fn(usize, toml::Table) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let read = |(index, table)| read(index, table);
    tables.into_iter().enumerate().map(read).collect()
}

fn once<'a>(kind: &str, names: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::new(format!("{kind} {name:?} is declared twice")));
        }
    }
    Ok(())
}

fn syntax(toml: &str, error: &toml::de::Error) -> Error {
    let place = error.span().map_or_else(String::new, |span| {
        let (line, column) = line_and_column(toml, span.start);
        format!(" at line {line}, column {column}")
    });
    let said = error.message().trim().replace('\n', ", ");
    Error::new(format!("invalid TOML{place}: {said}"))
}
