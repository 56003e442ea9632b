//! Waits that end: a server that accepts and never answers, and one that sends a byte now and then.

use super::*;
use crate::Work;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(200),
    read: Duration::from_millis(300),
    operation: Duration::from_secs(2),
};

/// A store whose server answers with the given bytes and after that a byte each `pause`.
fn store(answer: &'static str, pause: Duration) -> BucketStore {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
                loop {
                    thread::sleep(pause);
                    if stream.write_all(b"x").is_err() {
                        return;
                    }
                }
            });
        }
    });
    let keys = json!({
        "bucket": "b", "endpoint": endpoint, "allow_http": true, "path_style": true, "anonymous": true
    });
    let Value::Object(keys) = keys else { unreachable!() };
    let config = Config::parse(keys).unwrap();
    let request = Request {
        dims: 1,
        registered: None,
        work: Work::Incremental,
        watermark: Default::default(),
        limits: Default::default(),
        secrets: Default::default(),
        progress: Default::default(),
        stop: Default::default(),
    };
    let remote = Remote::start(&config, "b".into(), &request, PATIENCE).unwrap();
    BucketStore::at(remote, String::new(), None, &request)
}

fn file() -> Listed {
    Listed {
        key: "a.parquet".into(),
        size: 1 << 20,
        etag: "\"e\"".into(),
    }
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let mut store = store("", Duration::from_secs(600));
    let started = Instant::now();
    let error = store.list(None, &mut |_| unreachable!()).unwrap_err();
    assert!(
        error.kind == ErrorKind::Io && error.message.contains("cannot be reached"),
        "{error:?}"
    );
    let object = store.open(&file()).unwrap();
    let error = object.read(100, 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
    assert!(
        started.elapsed() < 2 * PATIENCE.operation + Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_server_that_stops_or_trickles_within_an_answer_is_given_up() {
    const HEAD: &str = "HTTP/1.1 206 x\r\nETag: \"e\"\r\nContent-Length: 65536\r\n\r\n";
    for (pause, why) in [
        (Duration::from_secs(600), "stopped sending"),
        (Duration::from_millis(50), "too slowly"),
    ] {
        let mut store = store(HEAD, pause);
        let started = Instant::now();
        let object = store.open(&file()).unwrap();
        let error = object.read((1 << 20) - 10, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
        assert!(error.detail().unwrap().contains(why), "{error:?}");
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "{:?}",
            started.elapsed()
        );
    }
}
