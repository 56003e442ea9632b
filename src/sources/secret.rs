//! References to secrets, and what they stand for.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What stands in a source's configuration in place of a secret: `{"secret": "NAME"}` is a row of cvx.secret,
/// `{"env": "NAME"}` a variable of the server's environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretRef {
    Secret(String),
    Env(String),
}

impl<'de> Deserialize<'de> for SecretRef {
    /// Says what is expected and never what is there: that may be the secret itself.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = || {
            serde::de::Error::custom(
                "a secret is written as {\"secret\": \"NAME\"} or {\"env\": \"NAME\"}, never as itself",
            )
        };
        let Value::Object(object) = Value::deserialize(deserializer)? else {
            return Err(expected());
        };
        let mut members = object.into_iter();
        match (members.next(), members.next()) {
            (Some((key, Value::String(name))), None) if key == "secret" => Ok(Self::Secret(name)),
            (Some((key, Value::String(name))), None) if key == "env" => Ok(Self::Env(name)),
            _ => Err(expected()),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "secret {name:?}"),
            Self::Env(name) => write!(f, "environment variable {name:?}"),
        }
    }
}

/// The values of a run's secrets. Shows only how many there are.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<SecretRef, String>);

impl Secrets {
    /// The value; every reference of a configuration is resolved before a connector is opened with it.
    pub fn get(&self, reference: &SecretRef) -> Option<&str> {
        self.0.get(reference).map(String::as_str)
    }

    /// The text with every secret in it replaced, for what others say about us.
    pub fn mask(&self, text: &str) -> String {
        self.0
            .values()
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "********"))
    }
}

impl FromIterator<(SecretRef, String)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (SecretRef, String)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}
