//! Where no request may go.

mod common;

use std::net::{IpAddr, TcpListener, ToSocketAddrs};

use common::{Receiver, Sending, TIMEOUT, ok, policy, request};
use cvx_webhooks::Outcome;

fn refused(list: &str, url: &str) -> String {
    match Sending::new(1).send(&policy(list), TIMEOUT, request(url)) {
        Outcome::Failed { status: None, error } => error,
        other => panic!("{list:?} {url}: {other:?}"),
    }
}

/// Every way to write down this host or a place inside, with the port of a receiver that would take note.
#[test]
fn by_default_nothing_internal() {
    let receiver = Receiver::saying(ok());
    let port = receiver.address.port();
    for scheme in ["http", "https"] {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "0",
            "0.0.0.0",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::127.0.0.1]",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "100.64.0.1",
            "10.0.0.1",
            "192.168.0.1",
            "x@127.0.0.1",
            "example.com@127.0.0.1",
            "127.0.0.1@example.com",
            "127.0.0.1\\@example.com",
            "%31%32%37.0.0.1",
            "①②⑦.0.0.1",
        ] {
            refused("", &format!("{scheme}://{host}:{port}/"));
        }
    }
    for url in [
        "file:///etc/passwd",
        "gopher://127.0.0.1:70/",
        "unix:/run/x.sock",
        "http+unix://x/",
        "ftp://x/",
    ] {
        refused("", url);
    }
    assert_eq!(receiver.connections(), 0);
}

/// What a name resolves to is looked at as well.
#[test]
fn names_that_lead_inside() {
    let receiver = Receiver::saying(ok());
    let port = receiver.address.port();
    // The list has the name look at its addresses, without allowing any of them.
    let text = refused("192.0.2.1", &format!("http://localhost:{port}/"));
    assert!(!text.contains("127.0.0.1") && !text.contains("::1"), "{text}");
    assert_eq!(receiver.connections(), 0);
    let allowed = Sending::new(1).send(
        &policy("localhost"),
        TIMEOUT,
        request(&format!("http://localhost:{port}/")),
    );
    assert_eq!(allowed, Outcome::Delivered { status: 204 });
}

#[test]
fn a_list_allows_nothing_else() {
    let receiver = Receiver::saying(ok());
    let port = receiver.address.port();
    for list in [
        "hooks.example.com",
        "127.0.0.2",
        "10.0.0.0/8",
        "127.0.0.1:1",
        "[::1]",
    ] {
        refused(list, &receiver.url());
    }
    assert_eq!(receiver.connections(), 0);
    for list in [
        "127.0.0.1".to_owned(),
        format!("x.example, 127.0.0.0/8:{port}"),
        "::ffff:127.0.0.1".to_owned(),
    ] {
        let outcome = Sending::new(1).send(&policy(&list), TIMEOUT, request(&receiver.url()));
        assert_eq!(outcome, Outcome::Delivered { status: 204 }, "{list}");
    }
}

/// The host has addresses of both kinds: the connection is made to the one that is allowed.
#[test]
fn only_allowed_addresses_are_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses: Vec<IpAddr> = ("localhost", port)
        .to_socket_addrs()
        .unwrap()
        .map(|it| it.ip())
        .collect();
    assert!(addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{addresses:?}");
    drop(listener);
    let receiver = Receiver::saying(ok());
    let port = receiver.address.port();
    let outcome = Sending::new(1).send(
        &policy("127.0.0.1"),
        TIMEOUT,
        request(&format!("http://localhost:{port}/")),
    );
    assert_eq!(outcome, Outcome::Delivered { status: 204 });
    refused("127.0.0.3", &format!("http://localhost:{port}/"));
    assert_eq!(receiver.connections(), 1);
}
