//! A server that refuses, fails, lies, or says nothing.

use crate::common::*;
use crate::harness::*;
use crate::server::*;
use cvx_sources::{ErrorKind, Step, Work};
use serde_json::json;
use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A bucket of two files, 30 rows.
fn bucket(moto: &Moto, name: &str) {
    let root = folder(&format!("s3_faults_{name}"));
    write_rows(&root.join("a.parquet"), "a", 2, 10);
    write_rows(&root.join("b.parquet"), "b", 1, 10);
    moto.upload(name, &root);
}

#[test]
fn what_is_not_there_or_not_allowed_is_told_without_secrets() {
    let Some(moto) = Moto::shared() else { return };
    let (kind, text) = moto.source("no-such-bucket").error();
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(
        text.contains("there is no bucket \"no-such-bucket\"") && text.contains("NoSuchBucket"),
        "{text}"
    );
    // The server says back what it should not know.
    let said = format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{SECRET}\n no</Message></Error>");
    let proxy = Proxy::before(moto.port, move |_, _| Action::Answer(403, said.clone()));
    let (kind, text) = source_at(proxy.port, "any").error();
    assert_eq!(kind, ErrorKind::PermissionDenied);
    assert!(
        text.contains("Status 403: SignatureDoesNotMatch: ********"),
        "{text}"
    );
    assert!(!text.contains(SECRET) && !text.contains('\n'), "{text}");
    let proxy = Proxy::before(moto.port, |_, _| {
        Action::Answer(301, "<Error><Code>PermanentRedirect</Code></Error>".into())
    });
    let (kind, text) = source_at(proxy.port, "any").error();
    assert!(kind == ErrorKind::Config && text.contains("Set region"), "{text}");
}

#[test]
fn wrong_credentials_are_refused() {
    let Some(moto) = Moto::start(&[("INITIAL_NO_AUTH_ACTION_COUNT", "0")]) else {
        return;
    };
    let (kind, text) = moto.source("locked").error();
    assert_eq!(kind, ErrorKind::PermissionDenied, "{text}");
    assert!(
        text.contains("InvalidAccessKeyId") && !text.contains(SECRET),
        "{text}"
    );
}

#[test]
fn only_certificates_that_are_trusted_and_name_the_server_are_taken() {
    let (right, wrong) = (folder("s3_tls_right"), folder("s3_tls_wrong"));
    let Some(moto) = Moto::start_tls(&right, "127.0.0.1") else {
        return;
    };
    let Some(other) = Moto::start_tls(&wrong, "127.0.0.2") else {
        return;
    };
    let outcome = |port: u16, ca: Option<&Path>| {
        let mut source = source_at(port, "tls");
        source.config["endpoint"] = json!(format!("https://127.0.0.1:{port}"));
        source.config["allow_http"] = json!(false);
        if let Some(ca) = ca {
            source.config["ca_file"] = json!(ca.join("cert.pem").to_str());
        }
        source.error()
    };
    let refused = [
        outcome(moto.port, None),
        outcome(moto.port, Some(&wrong)),
        outcome(other.port, Some(&wrong)),
    ];
    for (kind, text) in refused {
        assert!(kind == ErrorKind::Io && text.contains("certificate"), "{text}");
    }
    // Through TLS, it is told that there is no such bucket.
    assert_eq!(outcome(moto.port, Some(&right)).0, ErrorKind::NotFound);
}

#[test]
fn a_server_that_fails_now_and_then_is_asked_again() {
    let Some(moto) = Moto::shared() else { return };
    bucket(moto, "flaky");
    let proxy = Proxy::before(moto.port, |_, number| match number % 3 {
        0 => Action::Answer(503, "<Error><Code>SlowDown</Code></Error>".into()),
        _ => Action::Forward,
    });
    assert_eq!(source_at(proxy.port, "flaky").sync().ids.len(), 30);
    // Answers that break off in their middle, every other time.
    let proxy = Proxy::before(moto.port, |asked, number| {
        match asked.is_list() || number % 2 == 0 {
            true => Action::Forward,
            false => Action::Cut(100),
        }
    });
    assert_eq!(source_at(proxy.port, "flaky").sync().ids.len(), 30);
    for action in [|| Action::Answer(500, String::new()), || Action::Cut(0)] {
        let proxy = Proxy::before(moto.port, move |asked, _| match asked.is_list() {
            true => Action::Forward,
            false => action(),
        });
        let mut source = source_at(proxy.port, "flaky");
        let (kind, text) = source.error();
        assert_eq!(kind, ErrorKind::Io, "{text}");
        assert!(source.watermark.is_empty());
        assert!(proxy.take().len() < 20);
    }
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (kind, text) = source_at(nobody, "flaky").error();
    assert!(
        kind == ErrorKind::Io && text.contains("cannot be reached"),
        "{text}"
    );
}

#[test]
fn a_file_that_changes_while_it_is_read_starts_the_run_over() {
    let Some(moto) = Moto::shared() else { return };
    bucket(moto, "moving");
    let root = folder("s3_faults_moved");
    write_rows(&root.join("c.parquet"), "c", 1, 5);
    let other = fs::read(root.join("c.parquet")).unwrap();
    let done = AtomicBool::new(false);
    let port = moto.port;
    let proxy = Proxy::before(port, move |asked, _| {
        if asked.path.contains("b.parquet") && !done.swap(true, Ordering::SeqCst) {
            Moto::shared().unwrap().put("/moving/b.parquet", &other);
        }
        Action::Forward
    });
    let mut source = source_at(proxy.port, "moving");
    let (kind, text) = source.error();
    assert!(
        kind == ErrorKind::Io && text.contains("b.parquet\" changed while it was read"),
        "{text}"
    );
    assert_eq!(source.sync().ids, [expected("a", 20), expected("c", 5)].concat());
    // Gone between the listing and the reading: nothing to read.
    moto.put("/moving/d.parquet", b"PAR1 and nothing more");
    let proxy = Proxy::before(port, move |asked, _| {
        if asked.path.contains("d.parquet") {
            Moto::shared().unwrap().delete("/moving/d.parquet");
        }
        Action::Forward
    });
    source.config["endpoint"] = json!(format!("http://127.0.0.1:{}", proxy.port));
    let run = source.sync();
    assert_eq!((run.ids.len(), run.rejects.len()), (0, 0));
    assert!(!source.watermark.contains_key("d.parquet"));
}

/// Both ways in which a server may say nothing: to the listing, and to the reading of a file.
#[test]
fn a_silent_server_does_not_keep_a_run_from_stopping() {
    let Some(moto) = Moto::shared() else { return };
    bucket(moto, "silent");
    for lists in [false, true] {
        let proxy = Proxy::before(moto.port, move |asked, _| match asked.is_list() && lists {
            true => Action::Forward,
            false => Action::Silent,
        });
        let source = source_at(proxy.port, "silent");
        let stop = source.stop.clone();
        let mut connector = source.open(Work::Incremental).unwrap();
        let stopped = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&stopped);
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(700));
            *noted.lock().unwrap() = Some(Instant::now());
            stop.set();
        });
        assert!(matches!(connector.next(), Ok(Step::Idle)));
        drop(connector);
        stopper.join().unwrap();
        let took = stopped.lock().unwrap().unwrap().elapsed();
        assert!(took < Duration::from_millis(300), "{took:?}");
    }
}

/// Pages of a listing that only the proxy knows.
fn page(from: usize, to: usize, next: Option<&str>) -> String {
    let mut xml = String::from("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for i in from..to {
        write!(
            xml,
            "<Contents><Key>k/{i:07}.parquet</Key><ETag>\"e{i}\"</ETag><Size>1000</Size></Contents>"
        )
        .unwrap();
    }
    match next {
        Some(next) => write!(
            xml,
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
        ),
        None => write!(xml, "<IsTruncated>false</IsTruncated>"),
    }
    .unwrap();
    xml + "</ListBucketResult>"
}

/// 300 000 files that were all read: nothing but the listing is fetched.
#[test]
fn a_large_listing_without_news_costs_the_listing() {
    const FILES: usize = 300_000;
    let proxy = Proxy::before(0, |asked, _| {
        let token = asked.path.split("continuation-token=").nth(1);
        let from: usize = token.map_or(0, |it| it.split('&').next().unwrap().parse().unwrap());
        let next = (from + 1000).to_string();
        Action::Answer(
            200,
            page(from, from + 1000, (from + 1000 < FILES).then_some(&next)),
        )
    });
    let mut source = source_at(proxy.port, "many");
    source.watermark = (0..FILES)
        .map(|i| {
            (
                format!("k/{i:07}.parquet"),
                json!({"etag": format!("\"e{i}\""), "size": 1000}),
            )
        })
        .collect();
    let started = Instant::now();
    let run = source.sync();
    println!("{FILES} files listed in {:?}", started.elapsed());
    assert_eq!((run.deliveries, run.bytes), (0, 0));
    let asked = proxy.take();
    assert!(
        asked.len() == FILES / 1000 && asked.iter().all(Asked::is_list),
        "{}",
        asked.len()
    );
}

#[test]
fn listings_that_lie_end_the_run() {
    type Answer = fn() -> String;
    let answers: [(Answer, &str); 4] = [
        (|| page(0, 3, Some("same")), "repeats a page"),
        (
            || page(0, 1, None).replace("<Size>1000</Size>", ""),
            "without a size",
        ),
        (|| page(0, 1, None).replace("k/", "elsewhere/"), "not asked for"),
        (|| "x".repeat(40 << 20), "cannot be read"),
    ];
    for (answer, expected) in answers {
        let proxy = Proxy::before(0, move |_, _| Action::Answer(200, answer()));
        let mut source = source_at(proxy.port, "liar");
        source.config["prefix"] = json!("k/");
        let (kind, text) = source.error();
        assert!(kind == ErrorKind::Io && text.contains(expected), "{text}");
    }
    // A size that is not the file's, and a file that claims terabytes.
    let proxy = Proxy::before(0, |asked, _| match asked.is_list() {
        true => Action::Answer(200, page(0, 1, None).replace("1000", "9000000000000")),
        false => Action::Answer(206, "PAR1".repeat(30_000)),
    });
    let (kind, text) = source_at(proxy.port, "liar").error();
    assert!(kind == ErrorKind::Io && text.contains("broke off"), "{text}");
}

#[test]
fn configurations_that_cannot_work_name_the_key() {
    let base = json!({
        "bucket": "b", "endpoint": "https://h", "access_key_id": "i", "secret_access_key": {"secret": "s"}
    });
    let wrong = |change: serde_json::Value, word: &str| {
        let mut config = base.clone();
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        let config = serde_json::Value::Object(
            config
                .as_object()
                .unwrap()
                .clone()
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect(),
        );
        let error = cvx_sources::SourceConfig::parse("s3_parquet", &config).unwrap_err();
        assert!(
            error.kind == ErrorKind::Config && text_of(&error).contains(word),
            "{word}: {}",
            text_of(&error)
        );
    };
    wrong(json!({"bucket": null}), "bucket or url");
    wrong(json!({"url": "s3://b"}), "url already says");
    wrong(json!({"bucket": null, "url": "ftp://b"}), "s3://");
    wrong(json!({"bucket": null, "url": "file://relative/x"}), "whole path");
    wrong(
        json!({"bucket": null, "url": "file:///x"}),
        "endpoint has no meaning",
    );
    wrong(json!({"endpoint": "http://h"}), "allow_http");
    wrong(json!({"endpoint": "https://user:pass@h"}), "endpoint");
    wrong(json!({"access_key_id": null}), "access_key_id");
    wrong(json!({"anonymous": true}), "anonymous");
    wrong(json!({"partition_format": "dt=%m"}), "partition_format");
    wrong(json!({"timestamp_unit": "minutes"}), "timestamp_unit");
    wrong(json!({"column_aliases": {"x": ["y"]}}), "column_aliases");
    wrong(
        json!({"attrs_column": "a", "attrs_columns": ["b"]}),
        "attrs_column",
    );
    wrong(json!({"buckets": "b"}), "buckets");
    let mut source = Source::new(json!({"bucket": "b", "anonymous": true, "ca_file": "/dev/null"}));
    assert!(source.error().1.contains("no usable certificate"));
    let root = folder("s3_ca");
    fs::write(
        root.join("ca.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    source.config["ca_file"] = json!(root.join("ca.pem").to_str());
    assert!(source.error().1.contains("no usable certificate"));
    source.config["ca_file"] = json!(root.join("none.pem").to_str());
    assert_eq!(source.error().0, ErrorKind::NotFound);
}
