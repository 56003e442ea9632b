//! Which of librdkafka's settings a source may give, and what they may be.

use super::config::Property;
use crate::{ErrorKind, SourceError};
use std::collections::BTreeMap;

/// What a setting may be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Number(i64, i64),
    Bool,
    /// Only by reference.
    Secret,
    /// A literal or by reference.
    TextOrSecret,
    /// A path of the server.
    File,
    OneOf(&'static [&'static str]),
}

/// In librdkafka's words; what is not here is refused. Left out on purpose: whatever loads code or runs commands
/// (`plugin.library.paths`, `sasl.kerberos.kinit.cmd`), writes (`debug`, `log_level`, `statistics.interval.ms`), or what the
/// connector sets itself (offsets, commits, group, isolation). Bounds keep a source from taking the server's memory.
const ALLOWED: [(&str, Kind); 47] = [
    (
        "security.protocol",
        Kind::OneOf(&["ssl", "plaintext", "sasl_ssl", "sasl_plaintext"]),
    ),
    (
        "sasl.mechanism",
        Kind::OneOf(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
    ),
    (
        "sasl.mechanisms",
        Kind::OneOf(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
    ),
    ("sasl.username", Kind::TextOrSecret),
    ("sasl.password", Kind::Secret),
    ("ssl.ca.location", Kind::File),
    ("ssl.ca.pem", Kind::TextOrSecret),
    ("ssl.crl.location", Kind::File),
    ("ssl.certificate.location", Kind::File),
    ("ssl.certificate.pem", Kind::TextOrSecret),
    ("ssl.key.location", Kind::File),
    ("ssl.key.pem", Kind::Secret),
    ("ssl.key.password", Kind::Secret),
    ("ssl.keystore.location", Kind::File),
    ("ssl.keystore.password", Kind::Secret),
    (
        "ssl.endpoint.identification.algorithm",
        Kind::OneOf(&["https", "none"]),
    ),
    ("enable.ssl.certificate.verification", Kind::Bool),
    ("ssl.cipher.suites", Kind::Text),
    ("ssl.curves.list", Kind::Text),
    ("ssl.sigalgs.list", Kind::Text),
    ("client.id", Kind::Text),
    ("client.rack", Kind::Text),
    (
        "client.dns.lookup",
        Kind::OneOf(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"]),
    ),
    ("group.instance.id", Kind::Text),
    (
        "partition.assignment.strategy",
        Kind::OneOf(&["range", "roundrobin", "range,roundrobin", "cooperative-sticky"]),
    ),
    ("session.timeout.ms", Kind::Number(1_000, 3_600_000)),
    ("heartbeat.interval.ms", Kind::Number(100, 3_600_000)),
    ("max.poll.interval.ms", Kind::Number(1_000, 86_400_000)),
    ("socket.timeout.ms", Kind::Number(1_000, 300_000)),
    ("socket.keepalive.enable", Kind::Bool),
    ("socket.nagle.disable", Kind::Bool),
    ("socket.max.fails", Kind::Number(0, 1_000_000)),
    ("socket.receive.buffer.bytes", Kind::Number(0, 100_000_000)),
    ("socket.connection.setup.timeout.ms", Kind::Number(1_000, 300_000)),
    ("connections.max.idle.ms", Kind::Number(0, i32::MAX as i64)),
    ("broker.address.family", Kind::OneOf(&["any", "v4", "v6"])),
    ("reconnect.backoff.ms", Kind::Number(1, 3_600_000)),
    ("reconnect.backoff.max.ms", Kind::Number(1, 3_600_000)),
    (
        "topic.metadata.refresh.interval.ms",
        Kind::Number(1_000, 3_600_000),
    ),
    ("fetch.min.bytes", Kind::Number(1, 1 << 20)),
    ("fetch.wait.max.ms", Kind::Number(0, 10_000)),
    ("fetch.max.bytes", Kind::Number(64 << 10, 64 << 20)),
    ("fetch.message.max.bytes", Kind::Number(64 << 10, 64 << 20)),
    ("max.partition.fetch.bytes", Kind::Number(64 << 10, 64 << 20)),
    ("fetch.error.backoff.ms", Kind::Number(10, 300_000)),
    ("receive.message.max.bytes", Kind::Number(1 << 20, 256 << 20)),
    ("check.crcs", Kind::Bool),
];

/// # Errors
/// [`ErrorKind::Config`] that names the setting: not allowed, of another type, out of bounds, a secret that stands there.
pub(super) fn check(properties: &BTreeMap<String, Property>) -> Result<(), SourceError> {
    for (name, value) in properties {
        let Some(&(_, kind)) = ALLOWED.iter().find(|(allowed, _)| allowed == name) else {
            return Err(
                error(format!("properties has {name:?}, which may not be set")).hint(format!(
                    "These may be set: {}.",
                    ALLOWED.map(|(name, _)| name).join(", ")
                )),
            );
        };
        check_value(name, value, kind)?;
    }
    let given = |name: &str| properties.contains_key(name);
    if given("sasl.mechanism") && given("sasl.mechanisms") {
        return Err(error(
            "properties has both sasl.mechanism and sasl.mechanisms, which are one",
        ));
    }
    Ok(())
}

fn check_value(name: &str, value: &Property, kind: Kind) -> Result<(), SourceError> {
    let expected = match (kind, value) {
        (Kind::Secret, Property::Secret(_))
        | (Kind::TextOrSecret, Property::Secret(_) | Property::Text(_)) => return Ok(()),
        (Kind::Secret, _) => {
            return Err(error(format!(
                "properties has a literal for {name:?}, which is a secret"
            ))
            .hint("Give {\"secret\": \"NAME\"} and cvx.create_secret('NAME', ...)."));
        }
        (Kind::Text | Kind::File, Property::Text(_)) | (Kind::Bool, Property::Bool(_)) => return Ok(()),
        (Kind::Number(low, high), Property::Number(number)) if (low..=high).contains(number) => return Ok(()),
        (Kind::OneOf(names), Property::Text(text)) if names.contains(&text.as_str()) => return Ok(()),
        (Kind::Text | Kind::File | Kind::TextOrSecret, _) => "a text".to_owned(),
        (Kind::Bool, _) => "true or false".to_owned(),
        (Kind::Number(low, high), _) => format!("a number from {low} to {high}"),
        (Kind::OneOf(names), _) => format!("one of {}", names.join(", ")),
    };
    Err(error(format!(
        "{name} in properties is {}, not {expected}",
        shown(value)
    )))
}

fn shown(value: &Property) -> String {
    match value {
        Property::Secret(reference) => reference.to_string(),
        Property::Text(text) => format!("{:?}", crate::payload::cut(text, 64)),
        Property::Number(number) => number.to_string(),
        Property::Bool(truth) => truth.to_string(),
    }
}

/// Whether the server's files are read.
pub(super) fn need_files(properties: &BTreeMap<String, Property>) -> bool {
    let is_file = |name: &String| {
        ALLOWED
            .iter()
            .any(|&(allowed, kind)| allowed == name && kind == Kind::File)
    };
    properties.keys().any(is_file)
}

fn error(message: impl Into<String>) -> SourceError {
    SourceError::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn checked(properties: Value) -> Result<(), SourceError> {
        check(&serde_json::from_value(properties).unwrap())
    }

    #[test]
    fn only_what_is_listed_and_only_within_bounds() {
        checked(json!({
            "security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.username": "u",
            "sasl.password": {"secret": "kafka"}, "ssl.key.pem": {"env": "KEY"}, "fetch.min.bytes": 1,
            "check.crcs": true, "ssl.ca.pem": "-----BEGIN", "client.id": "cvx",
        }))
        .unwrap();
        for (property, value, message) in [
            ("plugin.library.paths", json!("x.so"), "may not be set"),
            ("sasl.kerberos.kinit.cmd", json!("rm -rf /"), "may not be set"),
            ("debug", json!("all"), "may not be set"),
            ("group.id", json!("g"), "may not be set"),
            ("enable.auto.commit", json!(true), "may not be set"),
            ("statistics.interval.ms", json!(1), "may not be set"),
            (
                "fetch.max.bytes",
                json!(1 << 30),
                "a number from 65536 to 67108864",
            ),
            ("security.protocol", json!("tls"), "one of ssl"),
            ("check.crcs", json!(1), "true or false"),
            ("client.id", json!({"secret": "x"}), "not a text"),
        ] {
            let error = checked(json!({ property: value })).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Config);
            assert!(
                error.message.contains(property) && error.message.contains(message),
                "{error}"
            );
        }
    }

    #[test]
    fn a_literal_secret_is_refused_and_not_shown() {
        for name in [
            "sasl.password",
            "ssl.key.pem",
            "ssl.key.password",
            "ssl.keystore.password",
        ] {
            let error = checked(json!({ name: "hunter2" })).unwrap_err();
            assert!(
                error.message.contains(name) && !format!("{error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn files_of_the_server_are_known_as_such() {
        let need = |value: Value| need_files(&serde_json::from_value(value).unwrap());
        assert!(need(json!({"ssl.ca.location": "/etc/ca.pem"})));
        assert!(need(json!({"ssl.keystore.location": "/etc/x.p12"})));
        assert!(!need(json!({"ssl.ca.pem": "x", "security.protocol": "ssl"})));
    }
}
