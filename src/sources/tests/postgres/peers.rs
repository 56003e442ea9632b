//! Peers that are no PostgreSQL, or a network that loses one.

use super::Watermark;
use super::server::{PASSWORD, Server, open, read, request};
use cvx_sources::{ErrorKind, SourceError, Step, Work};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a connector says of a peer that does this with its connection.
fn against(sslmode: &str, peer: impl Fn(TcpStream) + Send + 'static) -> SourceError {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            peer(stream);
        }
    });
    let config = json!({
        "host": "127.0.0.1", "port": port, "dbname": "d", "user": "u", "password": {"secret": "pg"},
        "sslmode": sslmode, "table": "e", "connect_timeout_s": 1,
    });
    let started = Instant::now();
    let error = read(&config, 2, Work::Full, &mut Watermark::new(), 1).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3), "{error:?}");
    assert!(!format!("{error:?}").contains(PASSWORD));
    error
}

#[test]
fn peers_that_are_no_postgresql_are_errors() {
    let silent = |stream: TcpStream| {
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(4));
            drop(stream);
        });
    };
    for mode in ["disable", "require"] {
        assert_eq!(against(mode, silent).kind, ErrorKind::Io, "{mode}");
        let closing = against(mode, |stream| stream.shutdown(Shutdown::Both).unwrap_or_default());
        assert_eq!(closing.kind, ErrorKind::Io, "{closing:?}");
        let web = against(mode, |mut stream| {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        });
        assert_ne!(web.kind, ErrorKind::Internal, "{web:?}");
    }
    let plain = against("require", |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"N");
    });
    assert_eq!(plain.kind, ErrorKind::PermissionDenied, "{plain:?}");
    // Announces two gigabytes and sends them as fast as they are taken.
    let huge = against("disable", |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(&[b'R', 0x7f, 0xff, 0xff, 0xff]);
        while stream.write_all(&[0; 65536]).is_ok() {}
    });
    assert_eq!(huge.kind, ErrorKind::Corrupt, "{huge:?}");
    assert!(format!("{huge:?}").contains("2147483647 bytes"), "{huge:?}");
    // Lets anybody in, and so never sees the password.
    let trusting = against("disable", |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0, b'Z', 0, 0, 0, 5, b'I']);
        thread::sleep(Duration::from_millis(200));
    });
    assert_eq!(trusting.kind, ErrorKind::PermissionDenied, "{trusting:?}");
}

/// Passes bytes on until it is told to lose them.
fn proxy(to: u16, lost: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            for (mut from, mut into) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                let lost = lost.clone();
                thread::spawn(move || {
                    let mut buffer = [0; 8192];
                    while let Ok(read @ 1..) = from.read(&mut buffer) {
                        while lost.load(Ordering::Relaxed) {
                            thread::sleep(Duration::from_millis(50));
                        }
                        if into.write_all(&buffer[..read]).is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    port
}

#[test]
fn a_lost_network_is_noticed_and_a_busy_server_is_waited_for() {
    let server = Server::start();
    server.sql(
        "CREATE TABLE e (entity_id text, ts timestamptz, vec vector(2)); \
         INSERT INTO e SELECT i, '2026-01-01', '[1,2]' FROM generate_series(1, 500000) i",
    );
    let lost = Arc::new(AtomicBool::new(false));
    let port = proxy(server.port, lost.clone());
    let keys = json!({"port": port, "connect_timeout_s": 1});
    // Six seconds without a byte make it ask; ten of work on one row must not end it.
    let busy =
        json!({"port": port, "connect_timeout_s": 1, "where": "entity_id <> '1' OR pg_sleep(9) IS NOT NULL"});
    let run = read(&server.config("e", busy), 2, Work::Full, &mut Watermark::new(), 1).unwrap();
    assert!(!run.rows.is_empty());

    let mut connector = open(
        &server.config("e", keys),
        request(2, Work::Full, &Watermark::new()),
    )
    .unwrap();
    assert!(matches!(connector.next().unwrap(), Step::Delivery(_)));
    lost.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let error = loop {
        let asked = Instant::now();
        match connector.next() {
            Ok(Step::End) => panic!("all of it came"),
            Ok(_) => assert!(asked.elapsed() < Duration::from_secs(2)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::Io, "{error:?}");
    assert!(
        started.elapsed() < Duration::from_secs(12),
        "{:?}",
        started.elapsed()
    );
    let dropped = Instant::now();
    drop(connector);
    assert!(
        dropped.elapsed() < Duration::from_secs(1),
        "{:?}",
        dropped.elapsed()
    );
    lost.store(false, Ordering::Relaxed);
}
