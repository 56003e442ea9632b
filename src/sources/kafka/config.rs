//! Which topic, and which fields of its messages.

use crate::config::parse_keys;
use crate::{ErrorKind, Needs, SecretRef, SourceError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fields are dotted paths into the message (`meta.id`), or what Kafka says of it: `$key`, `$timestamp`, `$topic`,
/// `$partition`, `$offset`, `$headers.NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub brokers: Vec<String>,
    pub topic: String,
    /// Default: `cvx-` and the topic.
    pub group_id: Option<String>,
    pub entity_id_field: String,
    pub vector_field: String,
    #[serde(default = "default_timestamp_field")]
    pub timestamp_field: String,
    pub timestamp_unit: Option<String>,
    pub model_version_field: Option<String>,
    pub model_hash_field: Option<String>,
    pub input_hash_field: Option<String>,
    pub pipeline_hash_field: Option<String>,
    pub produced_at_field: Option<String>,
    /// An object to be kept whole. Not together with `attrs_fields`.
    pub attrs_field: Option<String>,
    /// Fields to pack into one object, under the last part of their paths.
    #[serde(default)]
    pub attrs_fields: Vec<String>,
    #[serde(default)]
    pub format: Format,
    pub schema_registry: Option<SchemaRegistry>,
    /// Where reading starts when nothing was read yet: `earliest`, `latest`, or a time in ISO 8601.
    #[serde(default = "default_start")]
    pub start: String,
    /// What happens when messages expired before they were read.
    #[serde(default)]
    pub retention_gap: RetentionGap,
    /// Settings of librdkafka, by its names, of those that [`ALLOWED_PROPERTIES`] lists.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Json,
    Avro,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetentionGap {
    /// The source stops and says which offsets are gone.
    #[default]
    Stop,
    /// The lost range is kept as a dead letter and reading goes on behind it.
    Skip,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRegistry {
    pub url: String,
    pub username: Option<String>,
    pub password: Option<SecretRef>,
    pub ca_file: Option<String>,
    /// Plain http is refused without it.
    #[serde(default)]
    pub allow_http: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Property {
    Secret(SecretRef),
    Text(String),
    Number(i64),
    Bool(bool),
}

/// What may be passed through to librdkafka.
pub const ALLOWED_PROPERTIES: [&str; 0] = [];

fn default_timestamp_field() -> String {
    String::from("$timestamp")
}

fn default_start() -> String {
    String::from("earliest")
}

impl Config {
    pub fn parse(keys: Map<String, Value>) -> Result<Self, SourceError> {
        let config: Self = parse_keys(keys)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), SourceError> {
        if self.brokers.is_empty() {
            return Err(SourceError::new(ErrorKind::Config, "brokers is empty"));
        }
        Ok(())
    }

    pub fn secrets(&self) -> Vec<SecretRef> {
        let registry = self.schema_registry.iter().filter_map(|it| it.password.clone());
        let properties = self.properties.values().filter_map(|it| match it {
            Property::Secret(reference) => Some(reference.clone()),
            _ => None,
        });
        registry.chain(properties).collect()
    }

    pub fn needs(&self) -> Needs {
        Needs::default()
    }
}
