use std::fmt;

/// Why a request cannot be made at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// An entry of the list of allowed hosts.
    Entry { entry: String, problem: &'static str },
    /// The URL is not one of a webhook.
    Url { problem: &'static str },
    /// The policy forbids this target.
    Refused { host: String, problem: &'static str },
    /// A header that may not be set, or not to this value.
    Header { name: String, problem: &'static str },
    /// The signing secret.
    Secret { problem: &'static str },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { entry, problem } => write!(f, "{entry:?} {problem}"),
            Self::Url { problem } => write!(f, "the URL {problem}"),
            Self::Refused { host, problem } => write!(f, "host {host:?} {problem}"),
            Self::Header { name, problem } => write!(f, "header {name:?} {problem}"),
            Self::Secret { problem } => write!(f, "the signing secret {problem}"),
        }
    }
}

impl Error {
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Entry { .. } => Some(
                "An entry is a host name, *.example.com, an IP address or a network such as 10.0.0.0/8, \
                 each with or without :port; entries are separated by commas.",
            ),
            Self::Refused { .. } => Some("A superuser can add it to cvx.webhook_allowed_hosts."),
            _ => None,
        }
    }
}

impl std::error::Error for Error {}
