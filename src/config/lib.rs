//! The declaration of sources and monitors as TOML, and when a schedule is due. Pure: no PostgreSQL, no clock.

pub mod schedule;

use serde_json::{Map, Value};

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
    /// An interval in PostgreSQL's words, such as `1h`.
    pub check_interval: String,
    pub severity: String,
    pub cooldown: String,
    pub space: Option<String>,
    pub model: Option<String>,
}

/// Why a text is no declaration: lower case, no full stop, the key or value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// Reads a declaration.
pub fn parse(toml: &str) -> Result<Declaration, Error> {
    let _ = toml;
    Ok(Declaration::default())
}

/// Prints a declaration so that [`parse`] reads the same.
pub fn print(declaration: &Declaration) -> String {
    let _ = declaration;
    String::new()
}
