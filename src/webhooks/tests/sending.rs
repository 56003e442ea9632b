//! Requests to receivers on loopback.

mod common;

use std::time::Duration;
use std::{io::Write, net::TcpListener, thread};

use common::{Receiver, Sending, TIMEOUT, local, ok, policy, request, send, status, timed};
use cvx_webhooks::{Header, Outcome, Secret};

fn retry_text(outcome: Outcome) -> String {
    match outcome {
        Outcome::Retry { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_arrives() {
    let receiver = Receiver::saying(ok());
    let mut sent = request(&receiver.url());
    sent.headers = vec![
        Header::Plain("X-Team".into(), "ops".into()),
        Header::Secret("Authorization".into(), Secret::new("Bearer t0ken".into())),
    ];
    sent.secret = Some(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()));
    assert_eq!(send(sent.clone()), Outcome::Delivered { status: 204 });
    let [arrived] = receiver.arrived().try_into().unwrap();
    assert_eq!(arrived.line, "POST /hook HTTP/1.1");
    assert_eq!(arrived.body, sent.body);
    for (name, value) in [
        ("host", receiver.address.to_string().as_str()),
        ("content-type", "application/json"),
        ("content-length", "11"),
        ("idempotency-key", &sent.event_id),
        ("webhook-id", &sent.event_id),
        ("webhook-timestamp", "1700000000"),
        // Computed with Python's hmac of the same message.
        (
            "webhook-signature",
            "v1,f4ee+ny3aUk+CLf1eyyYUXSBy3DnVgkgYamwaojFsEw=",
        ),
        ("x-team", "ops"),
        ("authorization", "Bearer t0ken"),
    ] {
        assert_eq!(arrived.header(name), Some(value), "{name}");
    }
    assert!(arrived.header("user-agent").unwrap().starts_with("cvx/"));
}

#[test]
fn without_a_secret_no_signature() {
    let receiver = Receiver::saying(ok());
    send(request(&receiver.url()));
    assert_eq!(receiver.arrived()[0].header("webhook-signature"), None);
}

#[test]
fn statuses() {
    for code in [200, 201, 202, 204, 299] {
        let receiver = Receiver::saying(status(&format!("{code} x"), ""));
        assert_eq!(
            send(request(&receiver.url())),
            Outcome::Delivered { status: code }
        );
    }
    for code in [408, 425, 429, 500, 502, 503, 504, 599] {
        let receiver = Receiver::saying(status(&format!("{code} x"), "try  later\n"));
        let expected = Outcome::Retry {
            status: Some(code),
            error: format!("status {code}: try later"),
            after: None,
        };
        assert_eq!(send(request(&receiver.url())), expected);
    }
    for code in [
        300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 410, 413, 422, 451, 499, 600,
    ] {
        let receiver = Receiver::saying(status(&format!("{code} x"), ""));
        match send(request(&receiver.url())) {
            Outcome::Failed { status, error } => {
                assert_eq!(status, Some(code));
                assert!(error.starts_with(&format!("status {code}")), "{error}");
            }
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[test]
fn retry_after() {
    let receiver = Receiver::saying("HTTP/1.1 429 x\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n");
    match send(request(&receiver.url())) {
        Outcome::Retry { after, .. } => assert_eq!(after, Some(Duration::from_secs(17))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn redirects_are_not_followed() {
    let target = Receiver::saying(ok());
    for code in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {code} x\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
            target.url()
        );
        let receiver = Receiver::saying(answer);
        assert!(
            matches!(send(request(&receiver.url())), Outcome::Failed { status: Some(it), .. } if it == code)
        );
        assert_eq!(receiver.arrived().len(), 1);
    }
    assert_eq!(target.connections(), 0);
}

#[test]
fn receivers_that_break_down() {
    let dropping = Receiver::start(|_, _| false);
    retry_text(send(request(&dropping.url())));
    let half = Receiver::start(|_, stream| stream.write_all(b"HTTP/1.1 20").is_err());
    retry_text(send(request(&half.url())));
    let babbling = Receiver::saying("HELO there\r\n\r\n");
    retry_text(send(request(&babbling.url())));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = retry_text(send(request(&format!("http://{port}/"))));
    assert!(refused.contains("refused"), "{refused}");
    let unknown = request("http://no-such-host.invalid/");
    let outcome = Sending::new(1).send(&policy("no-such-host.invalid"), TIMEOUT, unknown);
    assert_eq!(retry_text(outcome), "the host's name does not resolve");
}

#[test]
fn a_slow_receiver_is_given_up() {
    let receiver = Receiver::start(|_, _| {
        thread::sleep(TIMEOUT);
        false
    });
    let timeout = Duration::from_millis(300);
    let (outcome, took) = timed(|| Sending::new(1).send(&local(), timeout, request(&receiver.url())));
    assert_eq!(retry_text(outcome), "timed out");
    assert!(took >= timeout && took < 4 * timeout, "{took:?}");
}

#[test]
fn a_receiver_that_accepts_nothing_is_given_up() {
    // Its queue of connections is full.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _waiting: Vec<_> = (0..4200)
        .map_while(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok())
        .collect();
    let timeout = Duration::from_millis(300);
    let (outcome, took) =
        timed(|| Sending::new(1).send(&local(), timeout, request(&format!("http://{address}"))));
    assert!(retry_text(outcome).starts_with("timed out"));
    assert!(took < 4 * timeout, "{took:?}");
}

#[test]
fn a_status_is_enough() {
    let receiver = Receiver::start(|_, stream| {
        let begun = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        thread::sleep(2 * TIMEOUT);
        begun.is_err()
    });
    let (outcome, took) = timed(|| send(request(&receiver.url())));
    assert_eq!(outcome, Outcome::Delivered { status: 200 });
    assert!(took < TIMEOUT, "{took:?}");
}

#[test]
fn connections_are_kept_and_closed_ones_replaced() {
    let kept = Receiver::saying(status("200 OK", "thanks"));
    let mut sending = Sending::new(1);
    for _ in 0..20 {
        assert_eq!(
            sending.send(&local(), TIMEOUT, request(&kept.url())),
            Outcome::Delivered { status: 200 }
        );
    }
    assert_eq!((kept.connections(), kept.arrived().len()), (1, 20));

    let closing = Receiver::start(|_, stream| stream.write_all(&ok()).is_err());
    for _ in 0..20 {
        let outcome = sending.send(&local(), TIMEOUT, request(&closing.url()));
        assert_eq!(outcome, Outcome::Delivered { status: 204 });
        // Until its end has come.
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(closing.arrived().len(), 20);
}

#[test]
fn another_policy_drops_kept_connections() {
    let receiver = Receiver::saying(ok());
    let mut sending = Sending::new(1);
    assert_eq!(
        sending.send(&local(), TIMEOUT, request(&receiver.url())),
        Outcome::Delivered { status: 204 }
    );
    let outcome = sending.send(&policy("127.0.0.2"), TIMEOUT, request(&receiver.url()));
    assert!(
        matches!(outcome, Outcome::Failed { status: None, .. }),
        "{outcome:?}"
    );
    assert_eq!(
        sending.send(&local(), TIMEOUT, request(&receiver.url())),
        Outcome::Delivered { status: 204 }
    );
    assert_eq!((receiver.connections(), receiver.arrived().len()), (2, 2));
}

#[test]
fn many_at_a_time() {
    let slow = Receiver::start(|_, stream| {
        thread::sleep(Duration::from_secs(1));
        stream.write_all(&ok()).is_ok()
    });
    let quick = Receiver::saying(ok());
    let mut sending = Sending::new(9);
    let submit =
        |sending: &mut Sending, key, url: &str| sending.sender.submit(key, &local(), TIMEOUT, request(url));
    for key in 0..8 {
        submit(&mut sending, key, &slow.url()).unwrap();
    }
    for key in 8..100 {
        let (_, took) = timed(|| {
            submit(&mut sending, key, &quick.url()).unwrap();
            assert!(
                submit(&mut sending, 1000, &quick.url()).is_err(),
                "there is no room"
            );
            assert_eq!(sending.outcome(), (key, Outcome::Delivered { status: 204 }));
        });
        assert!(took < Duration::from_millis(500), "{took:?}");
        assert_eq!(sending.sender.in_flight(), 8);
    }
    let mut keys: Vec<i64> = (0..8).map(|_| sending.outcome().0).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..8).collect::<Vec<_>>());
    assert_eq!(sending.sender.in_flight(), 0);
}

#[test]
fn answers_repeat_no_secret() {
    let receiver = Receiver::start(|arrived, stream| {
        let echo = format!("{:?}", arrived.headers);
        stream.write_all(&status("500 x", &echo)).is_ok()
    });
    let mut sent = request(&receiver.url());
    sent.headers = vec![
        Header::Plain("x-plain".into(), "shown".into()),
        Header::Secret("x-token".into(), Secret::new("S3CR3T$\"1234".into())),
    ];
    sent.secret = Some(Secret::new("S1GN".into()));
    let error = retry_text(send(sent));
    assert!(error.contains("shown") && error.contains("********"), "{error}");
    assert!(!error.contains("S3CR3T") && !error.contains("S1GN"), "{error}");
}

#[test]
fn what_cannot_be_sent() {
    let receiver = Receiver::saying(ok());
    let url = receiver.url();
    let with = |header: Header| {
        let mut it = request(&url);
        it.headers = vec![header];
        it
    };
    let mut unsigned = request(&url);
    unsigned.secret = Some(Secret::new("whsec_!".into()));
    for wrong in [
        with(Header::Plain("Host".into(), "x".into())),
        with(Header::Plain("webhook-id".into(), "x".into())),
        with(Header::Secret("x-a".into(), Secret::new("a\r\nb: c".into()))),
        unsigned,
        request("file:///etc/passwd"),
        request(""),
    ] {
        let outcome = send(wrong);
        assert!(
            matches!(&outcome, Outcome::Failed { status: None, .. }),
            "{outcome:?}"
        );
    }
    assert_eq!(receiver.connections(), 0);
}
