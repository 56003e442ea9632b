//! Which topic, and which fields of its messages.

use super::properties;
use crate::config::parse_keys;
use crate::time::from_text;
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
    /// Settings of librdkafka, by its names, of those that [`super::properties`] lists.
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

/// [`Config::start`], read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Earliest,
    Latest,
    /// PostgreSQL's microseconds.
    At(i64),
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
        let wrong = |message: String| Err(SourceError::new(ErrorKind::Config, message));
        if self.brokers.is_empty() {
            return wrong("brokers is empty".into());
        }
        // A prefix such as PLAINTEXT:// would override security.protocol, a comma smuggle in another broker.
        if let Some(broker) = self
            .brokers
            .iter()
            .find(|it| it.is_empty() || it.contains([',', '/', ' ', '\0']))
        {
            return wrong(format!("brokers has {broker:?}, which is not HOST:PORT"));
        }
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.topic.is_empty() || self.topic.len() > 249 || !self.topic.chars().all(name) {
            let rule = "1 to 249 letters, digits, dots, underscores and hyphens";
            return wrong(format!("topic is {:?}, which is not {rule}", self.topic));
        }
        if self
            .group_id
            .as_deref()
            .is_some_and(|id| id.is_empty() || id.contains('\0'))
        {
            return wrong("group_id is empty or has a NUL character".into());
        }
        match (self.format, &self.schema_registry) {
            (Format::Avro, None) => return wrong("format \"avro\" needs schema_registry".into()),
            (Format::Json, Some(_)) => return wrong("schema_registry is for format \"avro\"".into()),
            _ => {}
        }
        if let Some(registry) = &self.schema_registry {
            registry.check()?;
        }
        self.start()?;
        properties::check(&self.properties)
    }

    /// Where reading starts when nothing was read yet.
    pub(crate) fn start(&self) -> Result<Start, SourceError> {
        match self.start.as_str() {
            "earliest" => Ok(Start::Earliest),
            "latest" => Ok(Start::Latest),
            text => from_text(text).map(Start::At).map_err(|_| {
                let message = format!("start is {text:?}, neither \"earliest\", \"latest\" nor ISO 8601");
                SourceError::new(ErrorKind::Config, message)
            }),
        }
    }

    pub(crate) fn group(&self) -> String {
        self.group_id
            .clone()
            .unwrap_or_else(|| format!("cvx-{}", self.topic))
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
        let registry_file = self
            .schema_registry
            .as_ref()
            .is_some_and(|it| it.ca_file.is_some());
        Needs {
            server_files: registry_file || properties::need_files(&self.properties),
            ..Needs::default()
        }
    }
}

impl SchemaRegistry {
    fn check(&self) -> Result<(), SourceError> {
        let wrong = |message: &str| Err(SourceError::new(ErrorKind::Config, message));
        let plain = self.url.starts_with("http://");
        if !plain && !self.url.starts_with("https://") {
            return wrong("schema_registry.url is no http or https address");
        }
        if plain && !self.allow_http {
            return wrong("schema_registry.url is plain http, which needs allow_http = true");
        }
        // Credentials in an address would be shown wherever the address is.
        if self.url.contains('@') {
            return wrong("schema_registry.url holds an @: give username and password by themselves");
        }
        if self.username.is_some() != self.password.is_some() {
            return wrong("schema_registry needs both username and password, or neither");
        }
        Ok(())
    }
}
