//! A receiver on loopback whose answers a test writes itself, byte by byte.

// Each test file uses some of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Channel, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cvx_webhooks::{Outcome, Policy, Request, Sender};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Arrived {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    }
}

pub struct Receiver {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Receiver {
    /// `answer` writes to the connection; the connection is kept when it returns true.
    pub fn start(answer: impl Fn(&Arrived, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Receiver {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            arrived: Arc::default(),
        };
        let (connections, arrived) = (Arc::clone(&receiver.connections), Arc::clone(&receiver.arrived));
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let (arrived, answer) = (Arc::clone(&arrived), Arc::clone(&answer));
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut stream = stream;
                    while let Some(request) = read(&mut reader) {
                        arrived.lock().unwrap().push(request.clone());
                        if !answer(&request, &mut stream) {
                            break;
                        }
                    }
                });
            }
        });
        receiver
    }

    /// Always answers with these bytes.
    pub fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Receiver::start(move |_, stream| stream.write_all(&answer).is_ok())
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

fn read(reader: &mut impl BufRead) -> Option<Arrived> {
    let mut line = || {
        let mut line = String::new();
        let read = reader.read_line(&mut line).ok().filter(|it| *it > 0);
        read.map(|_| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut request = Arrived {
        line: first,
        headers,
        body: String::new(),
    };
    let length: usize = request.header("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

pub fn ok() -> Vec<u8> {
    b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
}

pub fn status(line: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {line}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

pub fn policy(text: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(text).unwrap())
}

/// Allows loopback.
pub fn local() -> Arc<Policy> {
    policy("127.0.0.0/8, [::1]")
}

pub fn request(url: &str) -> Request {
    Request {
        url: url.to_owned(),
        headers: Vec::new(),
        body: String::from("{\"a\": \"ä\"}"),
        event_id: String::from("3f0c7f3e-0000-4000-8000-000000000001"),
        timestamp: 1_700_000_000,
        secret: None,
    }
}

pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A sender and the bell that it rings.
pub struct Sending {
    pub sender: Sender,
    bell: Channel<()>,
}

impl Sending {
    pub fn new(capacity: usize) -> Self {
        let (ring, bell) = channel();
        let ring = Mutex::new(ring);
        let notify = move || {
            // A test that has seen enough listens no more.
            let _ = ring.lock().unwrap().send(());
        };
        Sending {
            sender: Sender::new(capacity, notify),
            bell,
        }
    }

    /// The next outcome, for which the bell has to ring.
    pub fn outcome(&mut self) -> (i64, Outcome) {
        self.bell
            .recv_timeout(4 * TIMEOUT)
            .expect("the bell did not ring");
        self.sender.try_recv().expect("it rang for nothing")
    }

    pub fn send(&mut self, policy: &Arc<Policy>, timeout: Duration, request: Request) -> Outcome {
        self.sender.submit(1, policy, timeout, request).unwrap();
        self.outcome().1
    }
}

/// Sends one request to a receiver on loopback.
pub fn send(request: Request) -> Outcome {
    Sending::new(1).send(&local(), TIMEOUT, request)
}

pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

/// Bytes of memory that this process has at most had, to within a page: the number may even sink.
pub fn peak_rss() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmHWM:")).unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}
