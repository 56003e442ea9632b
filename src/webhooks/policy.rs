//! Which targets are allowed.

use std::net::IpAddr;

use crate::Error;
use crate::address::{Kind, kind};
use crate::entry::{Entry, Place};
use crate::target::{Host, Target};

/// The allowed targets. Without entries these are all public ones over https; otherwise only those that an entry
/// names. What is internal is allowed only when a name says so in full, or an address; what is of the link, where
/// clouds hand out credentials, only by its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    entries: Vec<Entry>,
}

impl Policy {
    /// Reads entries that are separated by commas.
    ///
    /// # Errors
    /// One of them is malformed.
    pub fn parse(allowed_hosts: &str) -> Result<Self, Error> {
        if allowed_hosts.trim().is_empty() {
            return Ok(Policy::default());
        }
        let entries = allowed_hosts.split(',').map(|it| Entry::parse(it.trim()));
        let entries = entries.collect::<Result<_, _>>()?;
        Ok(Policy { entries })
    }

    /// What can be said of a URL without resolving its host.
    ///
    /// # Errors
    /// It is malformed, or leads where no request may go.
    pub fn check_url(&self, url: &str) -> Result<(), Error> {
        self.check(&Target::parse(url)?)
    }

    pub(crate) fn check(&self, target: &Target) -> Result<(), Error> {
        let refused = |problem| Err(refused(target, problem));
        if self.entries.is_empty() && !target.is_https {
            return refused("is not allowed without encryption");
        }
        match &target.host {
            Host::Address(address) => self.check_address(target, *address),
            Host::Name(name) => {
                let is_local = name == "localhost" || name.ends_with(".localhost");
                if self.entries.is_empty() {
                    return if is_local { refused(INTERNAL) } else { Ok(()) };
                }
                let on_port = || self.on_port(target.port);
                let is_named = on_port().any(|it| names(it, name).is_some());
                // One whose addresses are listed is allowed too, which is seen when it is resolved.
                let may_be_covered = on_port().any(|it| matches!(it.place, Place::Network { .. }));
                if is_named || may_be_covered {
                    Ok(())
                } else {
                    refused(UNLISTED)
                }
            }
        }
    }

    /// Whether a request to `target` may connect to this address, which its host has or resolves to.
    pub(crate) fn check_address(&self, target: &Target, address: IpAddr) -> Result<(), Error> {
        let kind = kind(address);
        if self.entries.is_empty() {
            return match kind {
                Kind::Public => Ok(()),
                Kind::Internal | Kind::Link => Err(refused(target, INTERNAL)),
            };
        }
        let on_port = || self.on_port(target.port);
        if on_port().any(|it| it.covers(address)) {
            return Ok(());
        }
        let mut is_named = false;
        if let Host::Name(name) = &target.host {
            for is_exact in on_port().filter_map(|it| names(it, name)) {
                is_named = true;
                if kind == Kind::Public || (is_exact && kind == Kind::Internal) {
                    return Ok(());
                }
            }
        }
        Err(refused(target, if is_named { INTERNAL } else { UNLISTED }))
    }

    fn on_port(&self, port: u16) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |it| it.has_port(port))
    }
}

const INTERNAL: &str = "is an internal address, or resolves to one";
const UNLISTED: &str = "is not in the list of allowed hosts";

fn refused(target: &Target, problem: &'static str) -> Error {
    Error::Refused {
        host: target.to_string(),
        problem,
    }
}

/// Whether the entry names the host, and then whether in full.
fn names(entry: &Entry, name: &str) -> Option<bool> {
    match &entry.place {
        Place::Name(it) => (it == name).then_some(true),
        Place::Under(suffix) => {
            (name.len() > suffix.len() && name.ends_with(suffix.as_str())).then_some(false)
        }
        Place::Network { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse(text).unwrap()
    }

    /// Whether the URL passes, and then also the address that its host is said to resolve to.
    fn allows(list: &str, url: &str, address: &str) -> bool {
        let (policy, target) = (policy(list), Target::parse(url).unwrap());
        policy.check(&target).is_ok() && policy.check_address(&target, address.parse().unwrap()).is_ok()
    }

    #[test]
    fn without_entries_public_and_encrypted_only() {
        assert!(policy(" ").check_url("https://example.com/hook").is_ok());
        assert!(allows("", "https://example.com", "1.1.1.1"));
        for address in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "fe80::1",
        ] {
            assert!(!allows("", "https://example.com", address), "{address}");
        }
        for url in [
            "http://example.com",
            "https://127.0.0.1",
            "https://[::1]",
            "https://[::ffff:127.0.0.1]",
            "https://169.254.169.254",
            "https://100.64.0.1",
            "https://localhost",
            "https://a.LOCALHOST.",
        ] {
            assert!(policy("").check_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn with_entries_only_these() {
        let list = "hooks.example.com, *.trusted.example:8443, 10.1.0.0/16, [fd00::1]:80";
        assert!(allows(list, "https://hooks.example.com", "1.1.1.1"));
        assert!(allows(list, "http://hooks.example.com", "1.1.1.1"));
        assert!(!allows(list, "https://other.example.com", "1.1.1.1"));
        assert!(!allows(list, "https://hooks.example.com.evil.com", "1.1.1.1"));
        assert!(allows(list, "https://a.b.trusted.example:8443", "1.1.1.1"));
        assert!(!allows(list, "https://trusted.example:8443", "1.1.1.1"));
        assert!(!allows(list, "https://untrusted.example:8443", "1.1.1.1"));
        assert!(!allows(list, "https://a.trusted.example", "1.1.1.1"));
        assert!(policy(list).check_url("http://10.1.2.3").is_ok());
        assert!(policy(list).check_url("http://10.2.2.3").is_err());
        assert!(policy(list).check_url("http://[fd00::1]").is_ok());
        assert!(policy(list).check_url("http://[fd00::1]:81").is_err());
        assert!(policy("a.example").check_url("https://b.example").is_err());
    }

    #[test]
    fn internal_addresses_by_exact_name_or_address() {
        assert!(allows("in.example", "http://in.example", "10.0.0.1"));
        assert!(!allows("*.example", "http://in.example", "10.0.0.1"));
        assert!(allows("*.example, 10.0.0.1", "http://in.example", "10.0.0.1"));
        assert!(allows("10.0.0.0/8", "http://any.name", "::ffff:10.0.0.1"));
        assert!(!allows("10.0.0.0/8:81", "http://any.name", "10.0.0.1"));
        assert!(allows("localhost", "http://localhost:1234", "127.0.0.1"));
    }

    #[test]
    fn addresses_of_the_link_by_address_only() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fe80::1",
        ] {
            assert!(
                !allows("meta.example", "http://meta.example", address),
                "{address}"
            );
        }
        assert!(allows(
            "meta.example, 169.254.169.254",
            "http://meta.example",
            "169.254.169.254"
        ));
        assert!(
            policy("169.254.0.0/16")
                .check_url("http://169.254.169.254/")
                .is_ok()
        );
    }

    #[test]
    fn malformed_lists() {
        assert!(Policy::parse("a.example,").is_err());
        assert!(Policy::parse(",").is_err());
        assert!(Policy::parse("a.example;b.example").is_err());
        let error = Policy::parse("a.example, 10.0.0.1/8").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"10.0.0.1/8\" has bits set to the right of its network"
        );
    }
}
