//! The configuration of a source: options that all types share, and those of its type.

pub(crate) mod columns;
mod common;

pub use common::{Common, Filter};

use crate::{Connector, ErrorKind, Request, SecretRef, SourceError, kafka, postgres, s3_parquet};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The types of sources that this build reads.
pub const TYPES: [&str; 3] = ["s3_parquet", "kafka", "postgres"];

/// Whether sources of this type never end: a run of one goes on until it is stopped.
pub fn is_stream(source_type: &str) -> bool {
    source_type == "kafka"
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceConfig {
    pub common: Common,
    pub of_type: TypeConfig,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TypeConfig {
    S3Parquet(s3_parquet::Config),
    Kafka(kafka::Config),
    Postgres(postgres::Config),
}

/// What a source reaches with the server's own rights, so that whoever owns it needs those as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files of the server.
    pub server_files: bool,
    /// Credentials that the server process has (its environment, its files, its instance's role).
    pub server_credentials: bool,
    /// A login that the other side grants to the server's own account or host without asking for a password.
    pub server_identity: bool,
}

impl SourceConfig {
    /// Checks a configuration without looking at the source.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] that names the key: unknown, missing, of a wrong type or out of range.
    /// [`ErrorKind::Unsupported`] for a type that is known and not built.
    pub fn parse(source_type: &str, config: &Value) -> Result<Self, SourceError> {
        let Value::Object(keys) = config else {
            return Err(SourceError::new(
                ErrorKind::Config,
                "the configuration of a source is a JSON object",
            ));
        };
        let (common, own): (Map<_, _>, Map<_, _>) = keys
            .clone()
            .into_iter()
            .partition(|(key, _)| Common::KEYS.contains(&key.as_str()));
        let common: Common = parse_keys(common)?;
        common.check()?;
        let of_type = match source_type {
            "s3_parquet" => TypeConfig::S3Parquet(s3_parquet::Config::parse(own)?),
            "kafka" => TypeConfig::Kafka(kafka::Config::parse(own)?),
            "postgres" => TypeConfig::Postgres(postgres::Config::parse(own)?),
            "rest_api" | "grpc_stream" => {
                return Err(SourceError::new(
                    ErrorKind::Unsupported,
                    format!("sources of type {source_type:?} are not supported yet"),
                )
                .hint(format!("This version reads {}.", TYPES.join(", "))));
            }
            _ => {
                return Err(SourceError::new(
                    ErrorKind::Config,
                    format!("unknown source type: {source_type:?}"),
                )
                .hint(format!("The types are {}.", TYPES.join(", "))));
            }
        };
        Ok(Self { common, of_type })
    }

    /// The secrets that it refers to.
    pub fn secrets(&self) -> Vec<SecretRef> {
        match &self.of_type {
            TypeConfig::S3Parquet(config) => config.secrets(),
            TypeConfig::Kafka(config) => config.secrets(),
            TypeConfig::Postgres(config) => config.secrets(),
        }
    }

    pub fn needs(&self) -> Needs {
        match &self.of_type {
            TypeConfig::S3Parquet(config) => config.needs(),
            TypeConfig::Kafka(config) => config.needs(),
            TypeConfig::Postgres(config) => config.needs(),
        }
    }

    /// Opens the source. Called on the connector's thread: this may wait for the source.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn open(&self, request: Request) -> Result<Box<dyn Connector>, SourceError> {
        match &self.of_type {
            #[cfg(feature = "s3")]
            TypeConfig::S3Parquet(config) => s3_parquet::open(config, &self.common, request),
            #[cfg(feature = "kafka")]
            TypeConfig::Kafka(config) => kafka::open(config, &self.common, request),
            #[cfg(feature = "postgres")]
            TypeConfig::Postgres(config) => postgres::open(config, &self.common, request),
            #[allow(unreachable_patterns, reason = "reached when a feature is off")]
            _ => Err(SourceError::new(
                ErrorKind::Unsupported,
                format!("this build lacks the connector that would do {:?}", request.work),
            )),
        }
    }
}

/// Reads a struct that denies unknown fields; its error names the key.
pub(crate) fn parse_keys<T: DeserializeOwned>(keys: Map<String, Value>) -> Result<T, SourceError> {
    serde_json::from_value(Value::Object(keys))
        .map_err(|error| SourceError::new(ErrorKind::Config, error.to_string()))
}
