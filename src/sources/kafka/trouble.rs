//! What the library's errors mean for a source, and how long it waits for brokers that are away.

use crate::{ErrorKind, SourceError};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::time::{Duration, Instant};

/// How long all brokers may be away before the run ends with an error, to be tried again later.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for a refusal before anything was ever answered: it will hardly change by itself.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// How long a topic may be unknown: right after its creation it is, to some brokers.
const UNKNOWN_PATIENCE: Duration = Duration::from_secs(10);

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Brokers are away, or refuse: wait a while, then give up with this kind.
    Outage(ErrorKind),
    /// The offset to be read next is not there.
    OutOfRange,
    Unknown,
    /// Final.
    Stop(ErrorKind),
    /// The library deals with it, or it is none.
    Nothing,
}

pub(super) fn meaning(code: Code, reason: &str) -> Meaning {
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => Meaning::OutOfRange,
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId => Meaning::Unknown,
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            Meaning::Outage(ErrorKind::PermissionDenied)
        }
        // A broker that hangs up in the middle may be one that is starting, or one that speaks plain text.
        Code::SSL if reason.contains("Disconnected") || reason.contains("reset") => {
            Meaning::Outage(ErrorKind::Io)
        }
        Code::SSL => Meaning::Outage(ErrorKind::Config),
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => Meaning::Stop(ErrorKind::PermissionDenied),
        Code::FencedInstanceId | Code::Fenced => Meaning::Stop(ErrorKind::Io),
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => Meaning::Stop(ErrorKind::Unsupported),
        Code::BadMessage | Code::BadCompression if reason.contains("response size") => {
            Meaning::Stop(ErrorKind::Unsupported)
        }
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => Meaning::Stop(ErrorKind::Corrupt),
        Code::NotImplemented => Meaning::Stop(ErrorKind::Unsupported),
        Code::PartitionEOF | Code::PollExceeded | Code::NoError => Meaning::Nothing,
        _ => Meaning::Outage(ErrorKind::Io),
    }
}

/// The hint that an error deserves.
pub(super) fn hint(kind: ErrorKind, reason: &str) -> Option<&'static str> {
    let says = |text: &str| reason.contains(text);
    if says("PLAINTEXT broker listener") || says("wrong version number") {
        Some(
            "The broker seems to speak plain text: \"properties\": {\"security.protocol\": \"plaintext\"} allows that.",
        )
    } else if says("SSL listener") || says("security.protocol") {
        Some(
            "The broker seems to want TLS or a login: see security.protocol and sasl.mechanism in \"properties\".",
        )
    } else if says("certificate") {
        Some("Give the authority that signed the broker's certificate as ssl.ca.pem in \"properties\".")
    } else if says("response size") || says("too large") {
        Some("Raise receive.message.max.bytes in \"properties\", or have producers send smaller batches.")
    } else if kind == ErrorKind::PermissionDenied {
        Some(
            "See sasl.mechanism, sasl.username and sasl.password in \"properties\", and the broker's access rights.",
        )
    } else {
        None
    }
}

/// A time in which nothing was heard of any broker.
#[derive(Debug)]
pub(super) struct Outage {
    since: Instant,
    kind: ErrorKind,
    reason: String,
}

impl Outage {
    /// Begins with the first trouble, and keeps what the last said that says anything.
    pub(super) fn note(outage: &mut Option<Self>, kind: ErrorKind, code: Code, reason: &str) {
        // A question's failure says no more than its code.
        let summary = code == Code::AllBrokersDown || reason == code.to_string();
        let current = outage.get_or_insert_with(|| Self {
            since: Instant::now(),
            kind,
            reason: reason.to_owned(),
        });
        if !summary {
            current.kind = kind;
            current.reason = reason.to_owned();
        }
    }

    /// The error that the run ends with, once waiting has been long enough. `heard` is whether brokers ever answered.
    pub(super) fn over(&self, heard: bool) -> Option<SourceError> {
        let hint = hint(self.kind, &self.reason);
        let patience = if heard || (self.kind == ErrorKind::Io && hint.is_none()) {
            PATIENCE
        } else {
            FIRST_PATIENCE
        };
        (self.since.elapsed() > patience).then(|| {
            let error = SourceError::new(self.kind, format!("no broker can be used: {}", self.reason));
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })
    }
}

/// The error of a topic that has been unknown for long enough.
pub(super) fn unknown_topic(topic: &str, since: Instant) -> Option<SourceError> {
    (since.elapsed() > UNKNOWN_PATIENCE).then(|| {
        SourceError::new(ErrorKind::NotFound, format!("topic {topic:?} does not exist"))
            .hint("Create the topic first: cvx does not.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_and_outages_differ() {
        let certificate = "SSL handshake failed: certificate verify failed";
        assert_eq!(
            meaning(Code::SSL, certificate),
            Meaning::Outage(ErrorKind::Config)
        );
        assert_eq!(
            meaning(
                Code::SSL,
                "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?"
            ),
            Meaning::Outage(ErrorKind::Io)
        );
        assert_eq!(meaning(Code::AllBrokersDown, ""), Meaning::Outage(ErrorKind::Io));
        assert!(ErrorKind::Io.is_transient());
        assert!(hint(ErrorKind::Config, certificate).is_some_and(|hint| hint.contains("ssl.ca.pem")));
        assert_eq!(hint(ErrorKind::Io, "Connection refused"), None);
    }

    #[test]
    fn an_outage_keeps_the_reason_behind_the_summary() {
        let mut outage = None;
        Outage::note(
            &mut outage,
            ErrorKind::Io,
            Code::BrokerTransportFailure,
            "Connection refused",
        );
        Outage::note(
            &mut outage,
            ErrorKind::Io,
            Code::AllBrokersDown,
            "1/1 brokers are down",
        );
        let mut outage = outage.unwrap();
        assert!(outage.over(true).is_none() && outage.over(false).is_none());
        outage.since = Instant::now().checked_sub(Duration::from_secs(6)).unwrap();
        assert!(outage.over(true).is_none() && outage.over(false).is_none());
        outage.since = Instant::now().checked_sub(Duration::from_secs(31)).unwrap();
        let error = outage.over(true).unwrap();
        assert!(error.message.contains("Connection refused"), "{error}");
        assert!(error.kind.is_transient());
    }
}
