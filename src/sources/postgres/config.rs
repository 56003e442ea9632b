//! Which server, which table, which columns.

use crate::config::{columns, parse_keys};
use crate::{ErrorKind, Needs, SecretRef, SourceError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const MAX_CONNECT_TIMEOUT_S: u64 = 600;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name, an address, or the folder of a Unix socket.
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
    pub dbname: String,
    pub user: String,
    pub password: Option<SecretRef>,
    /// As libpq has them, except that the default is `verify-full`.
    #[serde(default)]
    pub sslmode: SslMode,
    /// Certificates to trust instead of the system's.
    pub sslrootcert: Option<String>,
    /// A table or view, with or without its schema (then `public`), as SQL writes it. Not together with `query`.
    pub table: Option<String>,
    /// A SELECT to read from instead.
    pub query: Option<String>,
    /// A condition in SQL that is put into the WHERE clause on the other side.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    #[serde(default = "columns::entity_id")]
    pub entity_id_column: String,
    #[serde(default = "columns::timestamp")]
    pub timestamp_column: String,
    #[serde(default = "columns::vector")]
    pub vector_column: String,
    pub model_version_column: Option<String>,
    pub model_hash_column: Option<String>,
    pub input_hash_column: Option<String>,
    pub pipeline_hash_column: Option<String>,
    pub produced_at_column: Option<String>,
    /// A json or jsonb column. Not together with `attrs_columns`.
    pub attrs_column: Option<String>,
    #[serde(default)]
    pub attrs_columns: Vec<String>,
    /// What only grows: rows with more of it than last time are new. Default: the timestamp column.
    pub incremental_column: Option<String>,
    /// An interval by which each run reads back, for rows that commit late.
    pub overlap: Option<String>,
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_s: u64,
    /// Of each statement on the other side; 0 is none.
    #[serde(default)]
    pub statement_timeout_s: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    Disable,
    /// Encrypted, and the server's certificate not checked.
    Require,
    VerifyCa,
    #[default]
    VerifyFull,
}

fn default_port() -> u16 {
    5432
}

fn default_connect_timeout() -> u64 {
    10
}

impl Config {
    pub fn parse(keys: Map<String, Value>) -> Result<Self, SourceError> {
        let config: Self = parse_keys(keys)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), SourceError> {
        let bad = |message: &str| Err(SourceError::new(ErrorKind::Config, message));
        if self.table.is_some() == self.query.is_some() {
            return bad("one of table and query is needed, and not both");
        }
        if self.attrs_column.is_some() && !self.attrs_columns.is_empty() {
            return bad("attrs_column and attrs_columns exclude each other");
        }
        if self.host.is_empty() || self.port == 0 {
            return bad("host is empty or port is 0");
        }
        if !(1..=MAX_CONNECT_TIMEOUT_S).contains(&self.connect_timeout_s) {
            let (given, most) = (self.connect_timeout_s, MAX_CONNECT_TIMEOUT_S);
            return bad(&format!("connect_timeout_s is {given}, outside 1 to {most}"));
        }
        let texts = [
            &self.host,
            &self.dbname,
            &self.user,
            &self.entity_id_column,
            &self.timestamp_column,
        ];
        let optional = [
            &self.table,
            &self.query,
            &self.condition,
            &self.overlap,
            &self.incremental_column,
        ];
        let all = texts
            .into_iter()
            .chain(optional.into_iter().flatten())
            .chain(&self.attrs_columns);
        if all.chain([&self.vector_column]).any(|text| text.contains('\0')) {
            return bad("a NUL character, which no name and no SQL holds");
        }
        match &self.table {
            Some(name) => super::quote::table(name).map(drop),
            None => Ok(()),
        }
    }

    pub fn secrets(&self) -> Vec<SecretRef> {
        self.password.iter().cloned().collect()
    }

    /// Without a password it is the server's account or address that the other side trusts.
    pub fn needs(&self) -> Needs {
        Needs {
            server_files: self.sslrootcert.is_some(),
            server_identity: self.host.starts_with('/') || self.password.is_none(),
            ..Needs::default()
        }
    }
}
