//! A throwaway PostgreSQL with pgvector, on loopback with TLS and on a Unix socket, gone when dropped.

use cvx_sources::{
    Batch, Connector, Delivery, Request, SecretRef, Secrets, SourceConfig, SourceError, Step, Work,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

pub const PASSWORD: &str = "S3CR3T-of-the-reader";

pub struct Server {
    folder: PathBuf,
    bin: PathBuf,
    pub port: u16,
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}

/// Where the server's programs are: CVX_PG_BIN, else those of the pg_config that is found.
fn programs() -> PathBuf {
    std::env::var_os("CVX_PG_BIN")
        .map(PathBuf::from)
        .unwrap_or_else(|| output(Command::new("pg_config").arg("--bindir")).trim().into())
}

/// The server refuses to run as root.
fn as_server(program: &Path) -> Command {
    if output(Command::new("id").arg("-u")).trim() != "0" {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

impl Server {
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cvx-pg-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        if output(Command::new("id").arg("-u")).trim() == "0" {
            output(Command::new("chown").arg("postgres").arg(&folder));
        }
        let bin = programs();
        let data = folder.join("data");
        output(
            as_server(&bin.join("initdb"))
                .args([
                    "--no-sync",
                    "--auth=trust",
                    "--username=postgres",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                ])
                .arg("--pgdata")
                .arg(&data),
        );
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Self { folder, bin, port };
        server.certificates();
        server.hba("host all all 127.0.0.1/32 scram-sha-256");
        server.ctl(&["start", "--wait", "--silent"]);
        let password = PASSWORD;
        server.sql(&format!(
            "CREATE EXTENSION vector; CREATE ROLE reader LOGIN PASSWORD '{password}'; \
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader"
        ));
        server
    }

    /// A file of the data folder.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join("data").join(name);
        let (scratch, mut copy) = (self.folder.join("scratch"), as_server(Path::new("install")));
        std::fs::write(&scratch, text).unwrap();
        output(Command::new("chmod").arg("644").arg(&scratch));
        output(copy.args(["-m", "600"]).arg(&scratch).arg(&path));
    }

    /// Who may log in over TCP, and how. The socket is open to all.
    pub fn hba(&self, lines: &str) {
        self.write("pg_hba.conf", &format!("local all all trust\n{lines}\n"));
    }

    fn openssl(&self, arguments: &str) {
        output(
            Command::new("openssl")
                .args(arguments.split_whitespace())
                .current_dir(&self.folder),
        );
    }

    /// An authority `ca.crt`, one nobody trusts, and certificates of the server: `good`, `name`, `expired`, `alien`.
    fn certificates(&self) {
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for ca in ["ca", "alien-ca"] {
            self.openssl(&format!(
                "req -x509 {key} -keyout {ca}.key -out {ca}.crt -days 2 -subj /CN={ca}"
            ));
        }
        for (name, host, ca, days) in [
            ("good", "DNS:localhost,IP:127.0.0.1", "ca", 2),
            ("name", "DNS:elsewhere.example", "ca", 2),
            ("expired", "DNS:localhost,IP:127.0.0.1", "ca", -1),
            ("alien", "DNS:localhost,IP:127.0.0.1", "alien-ca", 2),
        ] {
            let extensions = format!("subjectAltName={host}\nbasicConstraints=CA:FALSE\n");
            std::fs::write(self.folder.join("extensions"), extensions).unwrap();
            self.openssl(&format!(
                "req {key} -keyout {name}.key -out {name}.csr -subj /CN=x"
            ));
            self.openssl(&format!(
                "x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days {days} \
                 -extfile extensions -out {name}.crt"
            ));
        }
        self.certificate("good");
        let settings = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nssl = on\nfsync = off\n\
             password_encryption = 'scram-sha-256'\nshared_buffers = '64MB'\nmax_connections = 20\n",
            self.port,
            self.folder.display()
        );
        self.write("postgresql.conf", &settings);
    }

    /// Which certificate the server shows, once it reloads.
    pub fn certificate(&self, name: &str) {
        for (from, to) in [("crt", "server.crt"), ("key", "server.key")] {
            let text = std::fs::read_to_string(self.folder.join(format!("{name}.{from}"))).unwrap();
            self.write(to, &text);
        }
    }

    pub fn ca(&self) -> String {
        self.folder.join("ca.crt").display().to_string()
    }

    pub fn socket(&self) -> String {
        self.folder.display().to_string()
    }

    pub fn ctl(&self, arguments: &[&str]) {
        let (data, log) = (self.folder.join("data"), self.folder.join("data/log"));
        let mut command = as_server(&self.bin.join("pg_ctl"));
        command
            .args(arguments)
            .arg("--pgdata")
            .arg(data)
            .arg("--log")
            .arg(log);
        // Not piped: the server would hold the pipe open.
        let status = command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success(), "pg_ctl {arguments:?}");
    }

    pub fn sql(&self, sql: &str) -> String {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-c",
            sql,
        ]);
        psql.arg("-h")
            .arg(&self.folder)
            .arg("-p")
            .arg(self.port.to_string());
        output(&mut psql).trim_end().to_owned()
    }

    /// A configuration that reads `table` over TLS, with other keys put in or, where null, taken out.
    pub fn config(&self, table: &str, keys: Value) -> Value {
        let mut config = json!({
            "host": "localhost", "port": self.port, "dbname": "postgres", "user": "reader",
            "password": {"secret": "pg"}, "sslrootcert": self.ca(), "table": table,
        });
        let map = config.as_object_mut().unwrap();
        for (key, value) in keys.as_object().unwrap() {
            map.insert(key.clone(), value.clone());
        }
        map.retain(|_, value| !value.is_null());
        config
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (data, mut ctl) = (self.folder.join("data"), as_server(&self.bin.join("pg_ctl")));
        let _ = ctl
            .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
            .arg(data)
            .output();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn request(dims: usize, work: Work, watermark: &BTreeMap<String, Value>) -> Request {
    let reference = SecretRef::Secret("pg".into());
    Request {
        dims,
        registered: None,
        work,
        watermark: watermark.clone(),
        limits: Default::default(),
        secrets: Secrets::from_iter([(reference, PASSWORD.to_owned())]),
        progress: Default::default(),
        stop: Default::default(),
    }
}

pub fn open(config: &Value, mut request: Request) -> Result<Box<dyn Connector>, SourceError> {
    let config = SourceConfig::parse("postgres", config)?;
    request.limits = config.common.limits();
    config.open(request)
}

/// What a run brought.
#[derive(Debug, Default)]
pub struct Run {
    /// Entity, microseconds, vector, and the rest as text.
    pub rows: Vec<(String, i64, Vec<f32>, String)>,
    pub rejects: Vec<(String, String)>,
    pub skipped: u64,
    pub deliveries: usize,
}

impl Run {
    pub fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.rows.iter().map(|row| row.0.as_str()).collect();
        keys.sort_unstable();
        keys
    }

    pub fn take(&mut self, delivery: &Delivery, watermark: &mut BTreeMap<String, Value>) {
        self.deliveries += 1;
        self.skipped += delivery.skipped;
        self.take_batch(&delivery.batch);
        for position in &delivery.positions {
            watermark.insert(position.part.clone(), position.value.clone().unwrap());
        }
    }

    fn take_batch(&mut self, batch: &Batch) {
        for record in batch.records() {
            let texts = [
                record.model_version,
                record.model_hash,
                record.input_hash,
                record.pipeline_hash,
                record.attrs,
            ];
            let rest = format!("{texts:?} {:?}", record.produced_at);
            self.rows
                .push((record.entity_id.into(), record.ts, record.vector.into(), rest));
        }
        let rejects = batch.rejects().iter();
        self.rejects
            .extend(rejects.map(|reject| (reject.position.clone(), reject.reason.code().to_owned())));
    }
}

/// Reads to the end, or for so many deliveries; the watermark moves with what was delivered.
pub fn read(
    config: &Value,
    dims: usize,
    work: Work,
    watermark: &mut BTreeMap<String, Value>,
    deliveries: usize,
) -> Result<Run, SourceError> {
    let mut connector = open(config, request(dims, work, watermark))?;
    let mut run = Run::default();
    while run.deliveries < deliveries {
        match connector.next()? {
            Step::Delivery(delivery) => run.take(&delivery, watermark),
            Step::Idle => {}
            Step::End => break,
        }
    }
    Ok(run)
}
