//! Which bucket or folder, which files in it, which columns.

use crate::config::{columns, parse_keys};
use crate::time::EpochUnit;
use crate::{ErrorKind, Needs, SecretRef, SourceError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Not together with `url`.
    pub bucket: Option<String>,
    #[serde(default)]
    pub prefix: String,
    /// `s3://bucket/prefix`, or `file:///folder` of the server.
    pub url: Option<String>,
    /// strftime's form of the folders' names below the prefix, such as `dt=%Y-%m-%d`: what the filter leaves
    /// out is not even listed.
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

/// Where the files are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Location {
    /// A folder, or a single file.
    Folder(PathBuf),
    /// Keys start with the prefix, which is empty or names a folder or a file.
    Bucket { bucket: String, prefix: String },
}

impl Config {
    /// # Errors
    /// [`ErrorKind::Config`] that names the key.
    pub fn parse(keys: Map<String, Value>) -> Result<Self, SourceError> {
        let config: Self = parse_keys(keys)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), SourceError> {
        let location = self.location()?;
        #[cfg(feature = "s3")]
        if let Some(format) = &self.partition_format {
            super::partitions::Partitions::parse(format)?;
        }
        self.check_columns()?;
        match location {
            Location::Folder(_) => self.check_folder(),
            Location::Bucket { .. } => self.check_bucket(),
        }
    }

    /// Where the files are.
    pub(super) fn location(&self) -> Result<Location, SourceError> {
        let url = match (&self.url, &self.bucket) {
            (None, Some(bucket)) => return bucket_at(bucket, &self.prefix),
            (Some(url), None) if self.prefix.is_empty() => url,
            (None, None) => return Err(wrong("either bucket or url is needed")),
            (Some(_), _) => {
                return Err(wrong(
                    "url already says the bucket and the prefix: leave bucket and prefix out",
                ));
            }
        };
        if let Some(path) = url.strip_prefix("file://") {
            let path = path.strip_prefix("localhost").unwrap_or(path);
            if path.starts_with('/') && !path.contains('\0') {
                return Ok(Location::Folder(PathBuf::from(path)));
            }
            return Err(
                wrong(format!("url {url:?} does not name a folder by its whole path"))
                    .hint("Write it as file:///folder, with three slashes."),
            );
        }
        if let Some(place) = url.strip_prefix("s3://") {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            return bucket_at(bucket, prefix);
        }
        Err(wrong("url starts with neither s3:// nor file:///"))
    }

    fn check_columns(&self) -> Result<(), SourceError> {
        if let Some(unit) = &self.timestamp_unit
            && EpochUnit::from_name(unit).is_none()
        {
            return Err(wrong(format!("timestamp_unit is {unit:?}")).hint("Use s, ms, us or ns."));
        }
        if self.attrs_column.is_some() && !self.attrs_columns.is_empty() {
            return Err(wrong("attrs_column and attrs_columns exclude each other"));
        }
        let optional = [
            &self.model_version_column,
            &self.model_hash_column,
            &self.input_hash_column,
            &self.pipeline_hash_column,
            &self.produced_at_column,
            &self.attrs_column,
        ];
        let columns: Vec<&String> = [
            &self.entity_id_column,
            &self.timestamp_column,
            &self.vector_column,
        ]
        .into_iter()
        .chain(optional.into_iter().flatten())
        .chain(&self.attrs_columns)
        .collect();
        match self.column_aliases.keys().find(|name| !columns.contains(name)) {
            Some(name) => Err(wrong(format!(
                "column_aliases has {name:?}, which is no column of the source"
            ))
            .hint("Its keys are the names that the _column options give.")),
            None => Ok(()),
        }
    }

    fn check_folder(&self) -> Result<(), SourceError> {
        let of_buckets = [
            ("endpoint", self.endpoint.is_some()),
            ("region", self.region.is_some()),
            ("path_style", self.path_style),
            ("allow_http", self.allow_http),
            ("ca_file", self.ca_file.is_some()),
            ("anonymous", self.anonymous),
            ("access_key_id", self.access_key_id.is_some()),
            ("secret_access_key", self.secret_access_key.is_some()),
            ("session_token", self.session_token.is_some()),
        ];
        match of_buckets.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(wrong(format!("{key} has no meaning for a local folder"))),
            None => Ok(()),
        }
    }

    fn check_bucket(&self) -> Result<(), SourceError> {
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err(wrong(
                "access_key_id and secret_access_key are given together or not at all",
            ));
        }
        if self.session_token.is_some() && self.secret_access_key.is_none() {
            return Err(wrong("session_token is given without secret_access_key"));
        }
        if self.anonymous && self.secret_access_key.is_some() {
            return Err(wrong("anonymous and secret_access_key exclude each other"));
        }
        let Some(endpoint) = &self.endpoint else {
            return Ok(());
        };
        let host = match endpoint.split_once("://") {
            Some(("https", host)) => host,
            Some(("http", host)) if self.allow_http => host,
            Some(("http", _)) => {
                return Err(
                    wrong("endpoint is http, which sends data and signatures in the clear")
                        .hint("Use https, or set allow_http to true."),
                );
            }
            _ => return Err(wrong("endpoint starts with neither https:// nor http://")),
        };
        if host.is_empty() || host.contains(['@', '?', '#']) || host.contains(char::is_whitespace) {
            return Err(wrong("endpoint is more or less than scheme://host:port")
                .hint("Credentials go into access_key_id and secret_access_key."));
        }
        Ok(())
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

fn bucket_at(bucket: &str, prefix: &str) -> Result<Location, SourceError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(is_name) {
        return Err(wrong(format!("bucket {bucket:?} is no name of a bucket")));
    }
    if prefix.len() > 1024 || prefix.contains('\0') {
        return Err(wrong(
            "prefix is longer than the 1024 bytes of a key, or holds NUL",
        ));
    }
    Ok(Location::Bucket {
        bucket: bucket.into(),
        prefix: prefix.trim_start_matches('/').into(),
    })
}

fn wrong(message: impl Into<String>) -> SourceError {
    SourceError::new(ErrorKind::Config, message)
}
