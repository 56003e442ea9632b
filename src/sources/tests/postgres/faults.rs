//! A server that refuses, is not who it should be, goes away or takes its time.

use super::server::{PASSWORD, Run, Server, open, read, request};
use super::{Watermark, since};
use cvx_sources::{ErrorKind, SourceError, Step, Work};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn error(config: &Value) -> SourceError {
    let error = read(config, 2, Work::Full, &mut Watermark::new(), usize::MAX).unwrap_err();
    assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
    error
}

fn small(server: &Server) {
    server.sql("CREATE TABLE e (entity_id text, ts timestamptz, vec vector(2)); INSERT INTO e VALUES ('a', '2026-01-01', '[1,2]')");
}

#[test]
fn refusals_are_told_apart() {
    let server = Server::start();
    small(&server);
    server.sql("CREATE TABLE closed (LIKE e); REVOKE ALL ON closed FROM reader");
    let cases = [
        (
            json!({"password": null}),
            ErrorKind::PermissionDenied,
            "asks for a password",
        ),
        (json!({"user": "nobody"}), ErrorKind::PermissionDenied, "28P01"),
        (json!({"dbname": "nowhere"}), ErrorKind::NotFound, "3D000"),
        (json!({"table": "nowhere"}), ErrorKind::NotFound, "42P01"),
        (json!({"table": "nowhere.e"}), ErrorKind::NotFound, "42P01"),
        (json!({"table": "closed"}), ErrorKind::PermissionDenied, "42501"),
        (json!({"where": "ts >"}), ErrorKind::Config, "42601"),
        (json!({"where": "1 / 0 = 1"}), ErrorKind::Config, "22012"),
        (
            json!({"statement_timeout_s": 1, "where": "pg_sleep(20) IS NULL"}),
            ErrorKind::Io,
            "57014",
        ),
        (
            json!({"where": format!("'{PASSWORD}'::int = 1")}),
            ErrorKind::Config,
            "********",
        ),
        (json!({"table": "a.b.c"}), ErrorKind::Config, "no name of a table"),
        (json!({"query": "SELECT 1"}), ErrorKind::Config, "not both"),
        (json!({"port": 1}), ErrorKind::Io, "refused"),
        (
            json!({"host": "no-such-host.invalid"}),
            ErrorKind::Io,
            "no-such-host.invalid",
        ),
        (json!({"host": "/nowhere"}), ErrorKind::Io, "/nowhere"),
    ];
    for (keys, kind, part) in cases {
        let error = error(&server.config("e", keys.clone()));
        assert_eq!(error.kind, kind, "{keys}: {error:?}");
        assert!(format!("{error:?}").contains(part), "{keys}: {error:?}");
    }
    let config = server.config("e", json!({}));
    let mut wrong = request(2, Work::Full, &Watermark::new());
    wrong.secrets = [(cvx_sources::SecretRef::Secret("pg".into()), "another".to_owned())]
        .into_iter()
        .collect();
    let refused = open(&config, wrong).err().unwrap();
    assert_eq!(refused.kind, ErrorKind::PermissionDenied, "{refused:?}");
    let mut missing = request(2, Work::Full, &Watermark::new());
    missing.secrets = Default::default();
    assert_eq!(open(&config, missing).err().unwrap().kind, ErrorKind::Config);
}

#[test]
fn a_password_must_have_been_asked_for() {
    let server = Server::start();
    small(&server);
    let over_socket = |keys: Value| {
        let mut all = json!({"host": server.socket(), "sslrootcert": null});
        all.as_object_mut()
            .unwrap()
            .extend(keys.as_object().unwrap().clone());
        server.config("e", all)
    };
    let refused = error(&over_socket(json!({})));
    assert_eq!(refused.kind, ErrorKind::PermissionDenied);
    assert!(
        refused.message.contains("does not ask for the password"),
        "{refused:?}"
    );
    assert_eq!(
        since(&over_socket(json!({"password": null})), &mut Watermark::new()).keys(),
        ["a"]
    );
    server.hba("host all all 127.0.0.1/32 trust");
    server.ctl(&["reload"]);
    std::thread::sleep(Duration::from_millis(300));
    let refused = error(&server.config("e", json!({})));
    assert!(
        refused.message.contains("does not ask for the password"),
        "{refused:?}"
    );
    for method in ["md5", "password"] {
        if method == "md5" {
            server.sql(&format!(
                "SET password_encryption = 'md5'; ALTER ROLE reader PASSWORD '{PASSWORD}'"
            ));
        }
        server.hba(&format!("host all all 127.0.0.1/32 {method}"));
        server.ctl(&["reload"]);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(
            since(&server.config("e", json!({})), &mut Watermark::new()).keys(),
            ["a"],
            "{method}"
        );
    }
}

#[test]
fn certificates_are_checked_as_far_as_sslmode_asks() {
    let server = Server::start();
    small(&server);
    let modes = ["verify-full", "verify-ca", "require"];
    for (certificate, accepted) in [("good", 3), ("name", 2), ("expired", 1), ("alien", 1)] {
        server.certificate(certificate);
        server.ctl(&["reload"]);
        std::thread::sleep(Duration::from_millis(300));
        for (place, mode) in modes.into_iter().enumerate() {
            let config = server.config("e", json!({"sslmode": mode}));
            if place >= 3 - accepted {
                assert_eq!(
                    since(&config, &mut Watermark::new()).keys(),
                    ["a"],
                    "{certificate} {mode}"
                );
            } else {
                let refused = error(&config);
                assert_eq!(
                    refused.kind,
                    ErrorKind::PermissionDenied,
                    "{certificate} {mode}: {refused:?}"
                );
                assert!(
                    format!("{refused:?}").contains("ertificate"),
                    "{certificate} {mode}: {refused:?}"
                );
            }
        }
    }
    server.certificate("good");
    server.ctl(&["reload"]);
    std::thread::sleep(Duration::from_millis(300));
    let by_address = server.config("e", json!({"host": "127.0.0.1"}));
    assert_eq!(since(&by_address, &mut Watermark::new()).keys(), ["a"]);
    let unknown = error(&server.config("e", json!({"sslrootcert": null})));
    assert_ne!(
        unknown.kind,
        ErrorKind::Io,
        "the system trusts no such authority: {unknown:?}"
    );
    for file in ["/nowhere", "/dev/zero"] {
        assert_eq!(
            error(&server.config("e", json!({"sslrootcert": file}))).kind,
            ErrorKind::Config
        );
    }
    let used = "SELECT bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'cvx'";
    let _open = open(&by_address, request(2, Work::Full, &Watermark::new())).unwrap();
    assert_eq!(server.sql(used), "t");
    server.sql("ALTER SYSTEM SET ssl = off");
    server.ctl(&["reload"]);
    std::thread::sleep(Duration::from_millis(300));
    let plain = error(&server.config("e", json!({"sslmode": "require"})));
    assert_eq!(plain.kind, ErrorKind::PermissionDenied, "{plain:?}");
    let disabled = server.config("e", json!({"sslmode": "disable"}));
    assert_eq!(since(&disabled, &mut Watermark::new()).keys(), ["a"]);
}

#[test]
fn a_server_that_goes_away_is_gone_on_with() {
    let server = Server::start();
    server.sql(
        "CREATE TABLE e (entity_id text, ts timestamptz, vec vector(64), seq int8 PRIMARY KEY); \
         INSERT INTO e SELECT i, '2026-01-01', (SELECT array_agg(i + j) FROM generate_series(1, 64) j)::vector, i \
         FROM generate_series(1, 60000) i",
    );
    server.sql("VACUUM ANALYZE e");
    let config = server.config("e", json!({"incremental_column": "seq", "batch_rows": 2000}));
    for fault in ["terminate", "immediate", "fast"] {
        let (mut run, mut watermark) = (Run::default(), Watermark::new());
        let mut connector = open(&config, request(64, Work::Incremental, &watermark)).unwrap();
        let failed = loop {
            match connector.next() {
                Ok(Step::Delivery(delivery)) => run.take(&delivery, &mut watermark),
                Ok(Step::Idle) => {}
                Ok(Step::End) => panic!("{fault}: too late"),
                Err(error) => break error,
            }
            match (run.deliveries, fault) {
                (3, "terminate") => {
                    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cvx'");
                }
                (3, mode) => server.ctl(&["restart", "--silent", "--mode", mode]),
                _ => {}
            }
        };
        assert_eq!(failed.kind, ErrorKind::Io, "{failed:?}");
        assert_eq!(connector.next().unwrap_err().kind, ErrorKind::Internal, "spent");
        drop(connector);
        assert!(
            (6_000..60_000).contains(&run.rows.len()),
            "{fault}: {}",
            run.rows.len()
        );
        let rest = read(&config, 64, Work::Incremental, &mut watermark, usize::MAX).unwrap();
        let mut seen: Vec<u32> = run
            .rows
            .iter()
            .chain(&rest.rows)
            .map(|row| row.0.parse().unwrap())
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (1..=60_000).collect::<Vec<_>>(), "{fault}: each row once");
    }
}

#[test]
fn a_slow_query_can_be_stopped() {
    let server = Server::start();
    small(&server);
    let config = server.config("e", json!({"where": "pg_sleep(600) IS NOT NULL"}));
    let asked = request(2, Work::Full, &Watermark::new());
    let stop = asked.stop.clone();
    let mut connector = open(&config, asked).unwrap();
    let started = Instant::now();
    assert!(matches!(connector.next().unwrap(), Step::Idle));
    assert!(started.elapsed() < Duration::from_millis(1100));
    stop.set();
    let started = Instant::now();
    assert!(matches!(connector.next().unwrap(), Step::Idle));
    assert!(
        started.elapsed() < Duration::from_millis(200),
        "{:?}",
        started.elapsed()
    );
    drop(connector);
    std::thread::sleep(Duration::from_millis(500));
    let left = server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cvx'");
    assert_eq!(
        (left.as_str(), started.elapsed() < Duration::from_secs(2)),
        ("0", true),
        "the query was cancelled"
    );

    // A lock held there is waited for in the same way.
    server.sql("CREATE TABLE locked (LIKE e); GRANT SELECT ON locked TO reader");
    let held = std::thread::scope(|scope| {
        let holder = scope.spawn(|| server.sql("BEGIN; LOCK TABLE locked; SELECT pg_sleep(3); COMMIT"));
        std::thread::sleep(Duration::from_millis(700));
        let asked = request(2, Work::Full, &Watermark::new());
        let stop = asked.stop.clone();
        let config = server.config("locked", json!({}));
        let opening = scope.spawn(move || {
            open(&config, asked)
                .err()
                .map(|error| (error.kind, Instant::now()))
        });
        std::thread::sleep(Duration::from_millis(500));
        let stopped = Instant::now();
        stop.set();
        let (kind, at) = opening.join().unwrap().expect("it waits for the lock");
        holder.join().unwrap();
        (kind, at.duration_since(stopped) < Duration::from_secs(1))
    });
    assert_eq!(held, (ErrorKind::Io, true));
}
