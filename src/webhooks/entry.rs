//! An entry of the list of allowed hosts.

use std::net::IpAddr;

use crate::Error;
use crate::address::unwrapped;
use crate::target::{ends_in_number, name};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Name(String),
    /// Every name that ends so, the dot included.
    Under(String),
    /// An address is a network of its own.
    Network {
        base: IpAddr,
        bits: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub place: Place,
    pub port: Option<u16>,
}

impl Entry {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |problem| Error::Entry {
            entry: text.to_owned(),
            problem,
        };
        let (place, port) = split(text).ok_or_else(|| wrong("has brackets that do not fit"))?;
        let port = match port {
            None => None,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(wrong("has no valid port")),
                Ok(port) => Some(port),
            },
        };
        let place = parse_place(place).map_err(wrong)?;
        Ok(Entry { place, port })
    }

    pub fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|it| it == port)
    }

    /// Whether this is an address or a network with that address in it.
    pub fn covers(&self, address: IpAddr) -> bool {
        let Place::Network { base, bits } = self.place else {
            return false;
        };
        match (base, unwrapped(address)) {
            (IpAddr::V4(base), IpAddr::V4(it)) => shift_v4(base.to_bits() ^ it.to_bits(), bits) == 0,
            (IpAddr::V6(base), IpAddr::V6(it)) => shift_v6(base.to_bits() ^ it.to_bits(), bits) == 0,
            _ => false,
        }
    }
}

/// The first `bits` bits of a number.
fn shift_v4(number: u32, bits: u8) -> u32 {
    number.checked_shr(32 - u32::from(bits)).unwrap_or_default()
}

fn shift_v6(number: u128, bits: u8) -> u128 {
    number.checked_shr(128 - u32::from(bits)).unwrap_or_default()
}

/// The place and the port. An IPv6 address with a port stands in brackets.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (place, rest) = rest.split_once(']')?;
        if !place.contains(':') {
            return None;
        }
        return match rest {
            "" => Some((place, None)),
            _ => Some((place, Some(rest.strip_prefix(':')?))),
        };
    }
    if text.contains(['[', ']']) {
        return None;
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((place, port)) => Some((place, Some(port))),
        None => Some((text, None)),
    }
}

fn parse_place(text: &str) -> Result<Place, &'static str> {
    if let Some((base, bits)) = text.split_once('/') {
        return network(base, bits);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let base = unwrapped(address);
        let bits = if base.is_ipv4() { 32 } else { 128 };
        return Ok(Place::Network { base, bits });
    }
    let (suffix, is_suffix) = match text.strip_prefix("*.") {
        Some(suffix) => (suffix, true),
        None => (text, false),
    };
    match name(suffix) {
        Some(name) if ends_in_number(&name) => Err("is neither a host name nor an IP address"),
        Some(name) if is_suffix => Ok(Place::Under(format!(".{name}"))),
        Some(name) => Ok(Place::Name(name)),
        None => Err("is neither a host name nor an IP address"),
    }
}

fn network(base: &str, bits: &str) -> Result<Place, &'static str> {
    let base: IpAddr = base.parse().map_err(|_| "has no valid IP address")?;
    if unwrapped(base) != base {
        return Err("is an IPv4 network written as an IPv6 one");
    }
    let most = if base.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|it| *it <= most);
    let bits: u8 = bits.ok_or("has no valid length of a network's prefix")?;
    let rest_is_zero = match base {
        IpAddr::V4(it) => it.to_bits().checked_shl(bits.into()).unwrap_or_default() == 0,
        IpAddr::V6(it) => it.to_bits().checked_shl(bits.into()).unwrap_or_default() == 0,
    };
    if !rest_is_zero {
        return Err("has bits set to the right of its network");
    }
    Ok(Place::Network { base, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let network = |base: &str, bits| Place::Network {
            base: base.parse().unwrap(),
            bits,
        };
        for (text, place, port) in [
            ("Example.com", Place::Name("example.com".into()), None),
            ("example.com.:8080", Place::Name("example.com".into()), Some(8080)),
            ("*.example.com", Place::Under(".example.com".into()), None),
            ("127.0.0.1", network("127.0.0.1", 32), None),
            ("127.0.0.1:80", network("127.0.0.1", 32), Some(80)),
            ("::ffff:127.0.0.1", network("127.0.0.1", 32), None),
            ("10.0.0.0/8", network("10.0.0.0", 8), None),
            ("10.0.0.0/8:443", network("10.0.0.0", 8), Some(443)),
            ("0.0.0.0/0", network("0.0.0.0", 0), None),
            ("::1", network("::1", 128), None),
            ("[::1]", network("::1", 128), None),
            ("[::1]:80", network("::1", 128), Some(80)),
            ("fd00::/8", network("fd00::", 8), None),
            ("[fd00::/8]:80", network("fd00::", 8), Some(80)),
        ] {
            assert_eq!(Entry::parse(text), Ok(Entry { place, port }), "{text}");
        }
    }

    #[test]
    fn what_is_no_entry() {
        for text in [
            "",
            "*",
            "*.",
            "*example.com",
            "a.*.com",
            "https://example.com",
            "example.com/path",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "u@example.com",
            "2130706433",
            "0x7f.1",
            "*.1",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "::ffff:10.0.0.0/104",
            "fd00::1/8",
            "[::1",
            "::1]",
            "[::1]80",
            "[10.0.0.1]",
            "exa mple.com",
        ] {
            assert!(Entry::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn networks_cover() {
        let covers =
            |entry: &str, address: &str| Entry::parse(entry).unwrap().covers(address.parse().unwrap());
        assert!(covers("10.0.0.0/8", "10.255.255.255"));
        assert!(covers("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!covers("10.0.0.0/8", "11.0.0.0"));
        assert!(covers("10.1.2.3", "10.1.2.3") && !covers("10.1.2.3", "10.1.2.2"));
        assert!(covers("0.0.0.0/0", "8.8.8.8") && !covers("0.0.0.0/0", "2a00::1"));
        assert!(covers("fd00::/8", "fdff::1") && !covers("fd00::/8", "fc00::1"));
        assert!(covers("::/0", "::1") && !covers("::/0", "127.0.0.1"));
    }
}
