//! One request: what is sent, and what of it nobody may see.

use std::fmt;

use ureq::http::{HeaderName, HeaderValue};

use crate::{Error, sign};

/// A value that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Secret(value)
    }

    pub(crate) fn value(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

/// A header that the user has set. What it says is masked where an answer repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    Plain(String, String),
    Secret(String, Secret),
}

impl Header {
    fn name(&self) -> &str {
        match self {
            Self::Plain(name, _) | Self::Secret(name, _) => name,
        }
    }

    fn value(&self) -> &str {
        match self {
            Self::Plain(_, value) => value,
            Self::Secret(_, value) => value.value(),
        }
    }
}

/// A POST of JSON. Each attempt is one of these: they differ in the timestamp, and so in the signature.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub url: String,
    pub headers: Vec<Header>,
    pub body: String,
    /// The same for all attempts and all receivers of an alert.
    pub event_id: String,
    /// Seconds since 1970.
    pub timestamp: i64,
    pub secret: Option<Secret>,
}

impl fmt::Debug for Request {
    /// A URL may be as good as a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("event_id", &self.event_id)
            .finish_non_exhaustive()
    }
}

/// What frames the request, or says which alert it carries and who signed it.
const RESERVED: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Whether a user may set this header.
///
/// # Errors
/// It is no header's name, or one that is set here.
pub fn check_header(name: &str) -> Result<(), Error> {
    header_name(name).map(drop)
}

fn header_name(name: &str) -> Result<HeaderName, Error> {
    let wrong = |problem| Error::Header {
        name: name.chars().take(64).collect(),
        problem,
    };
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is not the name of a header"))?;
    let lower = parsed.as_str();
    if RESERVED.contains(&lower) || lower.starts_with("webhook-") {
        return Err(wrong("is set by cvx itself"));
    }
    Ok(parsed)
}

impl Request {
    /// All headers, the user's before ours.
    pub(crate) fn all_headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
        let mut all = Vec::with_capacity(self.headers.len() + 6);
        for header in &self.headers {
            let mut value = HeaderValue::from_str(header.value()).map_err(|_| Error::Header {
                name: header.name().to_owned(),
                problem: "holds a character that no header may hold",
            })?;
            value.set_sensitive(true);
            all.push((header_name(header.name())?, value));
        }
        let timestamp = self.timestamp.to_string();
        let mut put = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).map_err(|_| Error::Header {
                name: name.to_owned(),
                problem: "holds a character that no header may hold",
            })?;
            all.push((HeaderName::from_static(name), value));
            Ok::<_, Error>(())
        };
        put("content-type", "application/json")?;
        put("idempotency-key", &self.event_id)?;
        put("webhook-id", &self.event_id)?;
        put("webhook-timestamp", &timestamp)?;
        if let Some(secret) = &self.secret {
            let signature = sign::signature(secret.value(), &self.event_id, &timestamp, &self.body)?;
            put("webhook-signature", &signature)?;
        }
        Ok(all)
    }

    /// The text with all that is secret in it replaced, as it is and as JSON would have it.
    pub(crate) fn mask(&self, text: &str) -> String {
        let headers = self.headers.iter().filter_map(|it| match it {
            Header::Secret(_, value) => Some(value.value()),
            Header::Plain(..) => None,
        });
        let secret = self.secret.as_ref().map(Secret::value);
        let all = headers.chain(secret).filter(|it| !it.is_empty());
        all.fold(text.to_owned(), |text, value| {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            text.replace(value, MASK).replace(&escaped, MASK)
        })
    }
}

const MASK: &str = "********";

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            url: "https://example.com/T0P".to_owned(),
            headers: vec![
                Header::Plain("x-a".into(), "1".into()),
                Header::Secret("authorization".into(), Secret::new("Bearer S3\"CRET".into())),
            ],
            body: "{}".to_owned(),
            event_id: "id".to_owned(),
            timestamp: 12,
            secret: Some(Secret::new("signing".into())),
        }
    }

    #[test]
    fn shows_no_secret() {
        let shown = format!("{:?} {:?}", request(), request().headers);
        for secret in ["S3", "signing", "T0P"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let answer = "got Bearer S3\"CRET and {\"a\": \"Bearer S3\\\"CRET\"}, signing";
        assert_eq!(
            request().mask(answer),
            "got ******** and {\"a\": \"********\"}, ********"
        );
    }

    #[test]
    fn headers_in_order() {
        let all = request().all_headers().unwrap();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "x-a",
                "authorization",
                "content-type",
                "idempotency-key",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature"
            ]
        );
    }

    #[test]
    fn headers_that_are_not_the_users() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Webhook-Id",
            "",
            "a b",
            "a\r\nb",
            "ä",
        ] {
            assert!(check_header(name).is_err(), "{name:?}");
        }
        for name in ["X-Anything", "Authorization", "cookie"] {
            assert!(check_header(name).is_ok(), "{name:?}");
        }
        let mut it = request();
        it.headers = vec![Header::Plain("x".into(), "a\r\nHost: b".into())];
        assert!(it.all_headers().is_err());
    }
}
