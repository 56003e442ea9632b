//! moto's S3 server, and a proxy before it that counts and breaks.

use crate::harness::Source;
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Ends when this process does, since its input ends then.
const SERVE: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', *sys.argv[1:]])
";

/// Writes a certificate for the name given, signed by itself, and its key.
const CERTIFY: &str = "
import datetime, ipaddress, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
folder, host = sys.argv[1:]
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, 'test')])
host = x509.IPAddress(ipaddress.ip_address(host))
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(9))
    .add_extension(x509.SubjectAlternativeName([host]), False).sign(key, hashes.SHA256()))
open(folder + '/cert.pem', 'wb').write(certificate.public_bytes(serialization.Encoding.PEM))
open(folder + '/key.pem', 'wb').write(key.private_bytes(serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
";

pub struct Moto {
    pub port: u16,
    _process: Child,
}

impl Moto {
    /// One that speaks TLS with a certificate for `host`, which it writes to `folder`.
    pub fn start_tls(folder: &Path, host: &str) -> Option<Self> {
        let python = std::env::var_os("CVX_PYTHON")?;
        let path = folder.to_str().unwrap();
        let made = Command::new(python)
            .args(["-c", CERTIFY, path, host])
            .status()
            .unwrap();
        assert!(made.success());
        let (cert, key) = (format!("{path}/cert.pem"), format!("{path}/key.pem"));
        Self::start_with(&["-s", "-c", &cert, "-k", &key], &[])
    }

    pub fn start(environment: &[(&str, &str)]) -> Option<Self> {
        Self::start_with(&[], environment)
    }

    fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
        let Some(python) = std::env::var_os("CVX_PYTHON") else {
            println!("CVX_PYTHON is not set: no S3 server to test against");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new(python)
            .args(["-c", SERVE, &port.to_string()])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "moto does not start");
            thread::sleep(Duration::from_millis(50));
        }
        Some(Self {
            port,
            _process: process,
        })
    }

    /// One for all tests of this process.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Moto>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[])).as_ref()
    }

    pub fn put(&self, path: &str, body: &[u8]) {
        assert_eq!(self.request("PUT", path, body), 200, "{path}");
    }

    pub fn delete(&self, path: &str) {
        assert_eq!(self.request("DELETE", path, b""), 204, "{path}");
    }

    /// Puts every file of a folder into a new bucket, under its path.
    pub fn upload(&self, bucket: &str, folder: &Path) {
        self.put(&format!("/{bucket}"), b"");
        self.upload_below(bucket, folder, folder);
    }

    fn upload_below(&self, bucket: &str, root: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.upload_below(bucket, root, &path);
            } else {
                let key = path.strip_prefix(root).unwrap().display();
                self.put(&format!("/{bucket}/{key}"), &fs::read(&path).unwrap());
            }
        }
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let escaped = |byte: u8| match byte {
            b'/' | b'.' | b'-' | b'_' | b'=' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        let path: String = path.bytes().map(escaped).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
            .split(' ')
            .nth(1)
            .and_then(|it| it.parse().ok())
            .unwrap_or(0)
    }

    /// A source of a bucket, with credentials that nobody checks.
    pub fn source(&self, bucket: &str) -> Source {
        source_at(self.port, bucket)
    }
}

pub fn source_at(port: u16, bucket: &str) -> Source {
    let mut source = Source::new(json!({
        "bucket": bucket,
        "endpoint": format!("http://127.0.0.1:{port}"),
        "allow_http": true,
        "path_style": true,
        "access_key_id": "test",
        "secret_access_key": {"secret": "key"},
    }));
    source.secrets = std::iter::once((
        serde_json::from_value(json!({"secret": "key"})).unwrap(),
        SECRET.into(),
    ))
    .collect();
    source
}

pub const SECRET: &str = "S3CR3T/canary+value";

/// What the proxy does with a request.
pub enum Action {
    Forward,
    /// Answers itself.
    Answer(u16, String),
    /// Forwards the answer up to this many bytes, then hangs up.
    Cut(usize),
    /// Keeps the connection and says nothing.
    Silent,
}

#[derive(Debug, Clone)]
pub struct Asked {
    /// With the query.
    pub path: String,
    /// Of the answer, with its head.
    pub bytes: usize,
}

impl Asked {
    pub fn is_list(&self) -> bool {
        self.path.contains("list-type=2")
    }
}

pub struct Proxy {
    pub port: u16,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Proxy {
    /// `act` is called with each request and how many came before it.
    pub fn before(port: u16, act: impl Fn(&Asked, usize) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            log: Arc::default(),
        };
        let (log, act) = (Arc::clone(&proxy.log), Arc::new(act));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, act) = (Arc::clone(&log), Arc::clone(&act));
                thread::spawn(move || serve(stream, port, &log, &*act));
            }
        });
        proxy
    }

    /// What was asked since this was last called.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

/// One request a connection, which is then closed.
fn serve(mut client: TcpStream, port: u16, log: &Mutex<Vec<Asked>>, act: &dyn Fn(&Asked, usize) -> Action) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut words = text.split(' ');
    let mut asked = Asked {
        path: words.nth(1).unwrap().into(),
        bytes: 0,
    };
    let (number, place) = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        (log.len() - 1, log.len() - 1)
    };
    let answer = match act(&asked, number) {
        Action::Silent => {
            thread::sleep(Duration::from_secs(600));
            return;
        }
        Action::Answer(status, body) => format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
        Action::Forward => forward(&text, port),
        Action::Cut(bytes) => {
            let mut answer = forward(&text, port);
            let head = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or(0) + 4;
            answer.truncate(head + bytes);
            answer
        }
    };
    asked.bytes = answer.len();
    if let Some(entry) = log.lock().unwrap().get_mut(place) {
        entry.bytes = answer.len();
    }
    let _ = client.write_all(&answer);
    let _ = client.shutdown(Shutdown::Write);
}

fn forward(head: &str, port: u16) -> Vec<u8> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (line, rest) = head.split_once("\r\n").unwrap();
    write!(server, "{line}\r\nConnection: close\r\n{rest}").unwrap();
    let mut answer = Vec::new();
    let _ = server.read_to_end(&mut answer);
    answer
}
