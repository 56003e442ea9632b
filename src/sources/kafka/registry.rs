//! The schemas that messages name by number: fetched once each from a registry that speaks Confluent's protocol.

use super::avro::Types;
use super::config::SchemaRegistry;
use crate::{ErrorKind, RejectReason, Request, Secrets, SourceError, Stop};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How often Stop is looked at meanwhile.
const SLICE: Duration = Duration::from_millis(100);
const MAX_SCHEMA_BYTES: u64 = 1 << 20;
/// Schemas kept: more than any topic has, so that numbers that are made up cannot fill the memory.
const MAX_SCHEMAS: usize = 1000;
/// How long an unknown number is not asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// Why a message's schema is not at hand.
#[derive(Debug)]
pub(super) enum Missing {
    /// The message is to blame.
    Message(RejectReason),
    /// The registry is.
    Source(SourceError),
}

#[derive(Debug)]
pub(super) struct Registry {
    agent: Agent,
    url: String,
    authorization: Option<String>,
    known: HashMap<u32, Result<Arc<Types>, (String, Instant)>>,
    secrets: Secrets,
    stop: Stop,
}

#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<serde::de::IgnoredAny>,
}

impl Registry {
    /// # Errors
    /// [`ErrorKind::Config`]: a certificate that cannot be read, a secret without a value.
    pub(super) fn new(config: &SchemaRegistry, request: &Request) -> Result<Self, SourceError> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &config.ca_file {
            tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates(path)?)));
        } else {
            tls = tls.root_certs(RootCerts::PlatformVerifier);
        }
        // Redirects and proxies of the environment would lead to places that nobody named.
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .https_only(!config.allow_http)
            .tls_config(tls.build())
            .build()
            .new_agent();
        let authorization = match (&config.username, &config.password) {
            (Some(username), Some(password)) => {
                let password = request
                    .secrets
                    .get(password)
                    .ok_or_else(|| error(ErrorKind::Config, format!("{password} has no value")))?;
                Some(format!(
                    "Basic {}",
                    STANDARD.encode(format!("{username}:{password}"))
                ))
            }
            _ => None,
        };
        Ok(Self {
            agent,
            url: config.url.trim_end_matches('/').to_owned(),
            authorization,
            known: HashMap::new(),
            secrets: request.secrets.clone(),
            stop: request.stop.clone(),
        })
    }

    /// The schema of a message and the bytes behind its number: a zero, four bytes of the number, the message.
    ///
    /// # Errors
    /// The message is not framed so, or its schema cannot be had.
    pub(super) fn schema_of<'a>(&mut self, message: &'a [u8]) -> Result<(Arc<Types>, &'a [u8]), Missing> {
        let Some((&[0, a, b, c, d], rest)) = message.split_first_chunk::<5>() else {
            return Err(malformed("no zero and schema number at its start"));
        };
        let id = u32::from_be_bytes([a, b, c, d]);
        let stale = |known: &Result<_, (String, Instant)>| matches!(known, Err((_, since)) if since.elapsed() > UNKNOWN_FOR);
        if self.known.get(&id).is_none_or(stale) {
            let fetched = self.fetch(id).map_err(Missing::Source)?;
            if self.known.len() >= MAX_SCHEMAS {
                self.known.clear();
            }
            self.known.insert(
                id,
                fetched.map(Arc::new).map_err(|reason| (reason, Instant::now())),
            );
        }
        match self.known.get(&id) {
            Some(Ok(types)) => Ok((Arc::clone(types), rest)),
            Some(Err((reason, _))) => Err(malformed(reason)),
            None => Err(malformed("no schema")),
        }
    }

    /// Asks the registry, in a thread of its own so that Stop is heeded. The inner error is a schema that is none of use.
    fn fetch(&self, id: u32) -> Result<Result<Types, String>, SourceError> {
        let (sender, receiver) = mpsc::channel();
        let mut request = self.agent.get(format!("{}/schemas/ids/{id}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let asker = thread::Builder::new()
            .name("cvx kafka schema".into())
            .spawn(move || {
                let answer = request.call().and_then(|mut response| {
                    let body = response
                        .body_mut()
                        .with_config()
                        .limit(MAX_SCHEMA_BYTES)
                        .read_to_string()?;
                    Ok((response.status().as_u16(), body))
                });
                let _ = sender.send(answer);
            });
        asker.map_err(|failure| error(ErrorKind::Io, failure.to_string()))?;
        let begun = Instant::now();
        let answer = loop {
            match receiver.recv_timeout(SLICE) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Timeout) if !self.stop.is_set() && begun.elapsed() < 2 * TIMEOUT => {}
                Err(_) => return Err(error(ErrorKind::Io, "no answer")),
            }
        };
        let (status, body) =
            answer.map_err(|failure| error(ErrorKind::Io, self.secrets.mask(&failure.to_string())))?;
        match status {
            200 => Ok(read(id, &body)),
            404 => Ok(Err(format!("schema {id} is not in the registry"))),
            401 | 403 => Err(error(ErrorKind::PermissionDenied, format!("status {status}"))),
            _ => Err(error(ErrorKind::Io, format!("status {status}"))),
        }
    }
}

fn read(id: u32, body: &str) -> Result<Types, String> {
    let answer: Answer = serde_json::from_str(body).map_err(|error| format!("schema {id}: {error}"))?;
    if let Some(other) = answer.schema_type.filter(|it| it != "AVRO") {
        return Err(format!(
            "schema {id} is of type {}",
            crate::payload::cut(&other, 64)
        ));
    }
    if !answer.references.is_empty() {
        return Err(format!(
            "schema {id} refers to other schemas, which is not supported"
        ));
    }
    Types::parse(&answer.schema).map_err(|error| format!("schema {id}: {error}"))
}

fn certificates(path: &str) -> Result<Vec<Certificate<'static>>, SourceError> {
    let wrong = |what: String| error(ErrorKind::Config, format!("ca_file {path:?}: {what}"));
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(wrong("no certificate in it".into()));
    }
    Ok(certificates)
}

fn malformed(error: &str) -> Missing {
    Missing::Message(RejectReason::Malformed { error: error.into() })
}

fn error(kind: ErrorKind, what: impl Into<String>) -> SourceError {
    SourceError::new(kind, format!("schema registry: {}", what.into()))
}
