//! Where a URL leads: its scheme, host and port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::http::Uri;

use crate::Error;

const MOST_HOST_BYTES: usize = 253;
const MOST_LABEL_BYTES: usize = 63;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// In lower case, without a dot at its end.
    Name(String),
    Address(IpAddr),
}

/// Scheme, host and port. Shown as host:port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub(crate) is_https: bool,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl Target {
    /// # Errors
    /// The text is not the URL of a webhook.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let wrong = |problem| Error::Url { problem };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(wrong("does not start with https:// or http://"));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("is malformed"))?;
        Self::of(&uri)
    }

    pub(crate) fn of(uri: &Uri) -> Result<Self, Error> {
        let wrong = |problem| Error::Url { problem };
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("does not start with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a user name or password"));
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") if is_https => 443,
            Some("") => 80,
            Some(rest) => port(rest).ok_or_else(|| wrong("has no valid port"))?,
            None => return Err(wrong("is malformed")),
        };
        let host = host(authority.host())?;
        Ok(Target { is_https, host, port })
    }
}

/// The number behind a colon.
fn port(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(':')?;
    let is_number = digits.bytes().all(|it| it.is_ascii_digit());
    let port = digits.parse().ok().filter(|it| *it > 0);
    if is_number { port } else { None }
}

fn host(text: &str) -> Result<Host, Error> {
    let wrong = |problem| Error::Url { problem };
    if let Some(inner) = text.strip_prefix('[') {
        let address: Option<Ipv6Addr> = inner.strip_suffix(']').and_then(|it| it.parse().ok());
        return address
            .map(|it| Host::Address(IpAddr::V6(it)))
            .ok_or_else(|| wrong("has no valid IPv6 address"));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    match name(text) {
        Some(name) if ends_in_number(&name) => {
            // Resolvers would take 2130706433, 0x7f.1 and 0177.0.0.1 for 127.0.0.1.
            Err(wrong("has a number for a host; an IPv4 address has four parts"))
        }
        Some(name) => Ok(Host::Name(name)),
        None => Err(wrong("has no valid host name")),
    }
}

/// A host name as it is compared; None when it is not one.
pub(crate) fn name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let byte = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
    let label = |it: &str| (1..=MOST_LABEL_BYTES).contains(&it.len()) && it.bytes().all(byte);
    (name.len() <= MOST_HOST_BYTES && name.split('.').all(label)).then_some(name)
}

/// Whether the last label is a number, decimal or hexadecimal.
pub(crate) fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    match last.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|it| it.is_ascii_hexdigit()),
        None => last.bytes().all(|it| it.is_ascii_digit()),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        match Target::parse(url) {
            Ok(target) => format!("{} {target}", if target.is_https { "https" } else { "http" }),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn targets() {
        for (url, expected) in [
            ("https://example.com", "https example.com:443"),
            ("https://EXAMPLE.com./a?b#c", "https example.com:443"),
            ("http://example.com/x", "http example.com:80"),
            ("http://example.com:8080", "http example.com:8080"),
            ("http://127.0.0.1", "http 127.0.0.1:80"),
            ("https://[::1]:8443/", "https [::1]:8443"),
            ("https://[::ffff:127.0.0.1]/", "https [::ffff:127.0.0.1]:443"),
            (
                "https://xn--bcher-kva.example/",
                "https xn--bcher-kva.example:443",
            ),
            ("https://1a.example/", "https 1a.example:443"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_target() {
        for url in [
            "",
            "example.com",
            "//example.com",
            "HTTP",
            "ftp://example.com",
            "file:///etc/passwd",
            "gopher://example.com",
            "unix:///run/x.sock",
            "http+unix://%2Frun%2Fx.sock/",
            "http://",
            "http:///path",
            "https://:443/",
            "http://x@127.0.0.1",
            "http://u:p@example.com/",
            "http://127.0.0.1@example.com/",
            "http://2130706433",
            "http://0x7f.1",
            "http://0x7f000001",
            "http://0",
            "http://127.1",
            "http://0177.0.0.1",
            "http://127.0.0.01",
            "http://127.0.0.1.",
            "http://1.2.3.4.5",
            "http://[::1",
            "http://[127.0.0.1]/",
            "http://[fe80::1%25eth0]/",
            "http://example.com:0/",
            "http://example.com:65536/",
            "http://example.com:x/",
            "http://example.com:/",
            "http://example.com:+80/",
            "http://exa mple.com/",
            "http://exa%6dple.com/",
            "http://bücher.example/",
            "http://-\u{0}.com/",
            "http://a..b/",
            "http://example.com\\@evil.com/",
            "http://example.com\r\nHost: evil/",
        ] {
            assert!(Target::parse(url).is_err(), "{url:?}: {}", shown(url));
        }
    }
}
