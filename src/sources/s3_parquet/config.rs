//! Which bucket or folder, which files in it, which columns.

use crate::config::parse_keys;
use crate::{Needs, SecretRef, SourceError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Not together with `url`.
    pub bucket: Option<String>,
    #[serde(default)]
    pub prefix: String,
    /// `s3://bucket/prefix`, or `file:///folder` of the server.
    pub url: Option<String>,
    /// strftime's form of the folders' names below the prefix, such as `dt=%Y-%m-%d`: what the filter leaves out is not
    /// even listed.
    pub partition_format: Option<String>,
    /// A server other than Amazon's.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    #[serde(default)]
    pub path_style: bool,
    /// Plain http is refused without it.
    #[serde(default)]
    pub allow_http: bool,
    pub ca_file: Option<String>,
    /// No credentials at all, for public buckets.
    #[serde(default)]
    pub anonymous: bool,
    /// Together with `secret_access_key`; without both the SDK's default chain is asked.
    pub access_key_id: Option<TextOrSecret>,
    pub secret_access_key: Option<SecretRef>,
    pub session_token: Option<SecretRef>,
    #[serde(default = "default_entity_id_column")]
    pub entity_id_column: String,
    #[serde(default = "default_timestamp_column")]
    pub timestamp_column: String,
    #[serde(default = "default_vector_column")]
    pub vector_column: String,
    pub model_version_column: Option<String>,
    pub model_hash_column: Option<String>,
    pub input_hash_column: Option<String>,
    pub pipeline_hash_column: Option<String>,
    pub produced_at_column: Option<String>,
    pub attrs_column: Option<String>,
    #[serde(default)]
    pub attrs_columns: Vec<String>,
    pub timestamp_unit: Option<String>,
    /// Other names that a column goes by in some files: `{"embedding": ["emb", "vector"]}`.
    #[serde(default)]
    pub column_aliases: BTreeMap<String, Vec<String>>,
    /// What a file without an optional column is.
    #[serde(default)]
    pub missing_columns: MissingColumns,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TextOrSecret {
    Secret(SecretRef),
    Text(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingColumns {
    /// An error that names the file and the column.
    #[default]
    Error,
    /// NULL in all of its rows. The entity, the time and the vector are never optional.
    Null,
}

fn default_entity_id_column() -> String {
    String::from("entity_id")
}

fn default_timestamp_column() -> String {
    String::from("ts")
}

fn default_vector_column() -> String {
    String::from("vec")
}

impl Config {
    pub fn parse(keys: Map<String, Value>) -> Result<Self, SourceError> {
        parse_keys(keys)
    }

    pub fn secrets(&self) -> Vec<SecretRef> {
        let id = self.access_key_id.iter().filter_map(|it| match it {
            TextOrSecret::Secret(reference) => Some(reference),
            TextOrSecret::Text(_) => None,
        });
        id.chain(&self.secret_access_key)
            .chain(&self.session_token)
            .cloned()
            .collect()
    }

    pub fn needs(&self) -> Needs {
        let local = self.url.as_deref().is_some_and(|url| url.starts_with("file:"));
        Needs {
            server_files: local || self.ca_file.is_some(),
            server_credentials: !local && !self.anonymous && self.secret_access_key.is_none(),
            ..Needs::default()
        }
    }
}
