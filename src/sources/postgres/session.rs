//! One connection to the other server, and the waiting on it: on a runtime of its own, in short ticks.

use super::config::Config;
use super::error::Reporter;
use super::guard::{Guarded, GuardedTls, Seen};
use super::tls;
use crate::{ErrorKind, Secrets, SourceError, Stop};
use futures_core::Stream;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, CopyOutStream, NoTls, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How often a wait looks at whether it is to stop.
const TICK: Duration = Duration::from_millis(100);
/// After so many connect timeouts without a byte the server is asked, on another connection, whether it still works.
const SILENCE: u32 = 6;
/// How long a cancel request may take.
const CANCEL: Duration = Duration::from_millis(500);

/// What the other side's session is set to, whatever its defaults: constants and texts mean the same everywhere, and
/// nothing can be written. The server's own keepalives hold the connection open through gateways.
const SETTINGS: &str = "SET standard_conforming_strings = on; SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'; \
    SET IntervalStyle = 'postgres'; SET extra_float_digits = 3; SET tcp_keepalives_idle = 60; \
    SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 6;";

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
type Socket = Box<dyn Io>;

/// How the server is reached.
struct Server {
    config: Config,
    login: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
    connect_timeout: Duration,
}

/// An open connection in a read-only transaction with one snapshot for all that is read.
pub(super) struct Session {
    /// Taken only when dropped.
    runtime: Option<Runtime>,
    server: Server,
    client: Arc<Client>,
    seen: Arc<Seen>,
    /// Why the connection ended, where the client does not know.
    ended: Ended,
    pub reporter: Reporter,
    stop: Stop,
    pid: i32,
    /// Whether the server may be at work for us.
    busy: bool,
    quiet: Quiet,
}

type Ended = Arc<Mutex<Option<tokio_postgres::Error>>>;

/// A COPY. The server may take its time before it says as much as that it has started.
pub(super) enum Copy {
    Starting(Pin<Box<dyn Future<Output = Result<CopyOutStream, tokio_postgres::Error>> + Send>>),
    Running(Pin<Box<CopyOutStream>>),
}

impl Copy {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<<CopyOutStream as Stream>::Item>> {
        if let Self::Starting(start) = self {
            match ready!(start.as_mut().poll(cx)) {
                Ok(stream) => *self = Self::Running(Box::pin(stream)),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        match self {
            Self::Running(stream) => stream.as_mut().poll_next(cx),
            Self::Starting(_) => Poll::Pending,
        }
    }
}

/// Why [`Session::pump`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pumped {
    /// The taker has enough.
    Full,
    /// The time was up.
    Waited,
    /// To stop.
    Stopped,
    /// All of it was taken.
    End,
}

impl Session {
    /// Connects, checks that the password was needed, and begins the transaction.
    pub(super) fn open(config: &Config, secrets: &Secrets, stop: &Stop) -> Result<Self, SourceError> {
        let reporter = Reporter {
            server: match config.host.starts_with('/') {
                true => format!("{}/.s.PGSQL.{}", config.host, config.port),
                false => format!("{}:{}", config.host, config.port),
            },
            secrets: secrets.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| {
                SourceError::new(ErrorKind::Io, format!("cannot start the connector: {error}"))
            })?;
        let server = Server::new(config, secrets)?;
        let seen = Arc::new(Seen::default());
        let limit = server.connect_timeout;
        let connected = wait(&runtime, stop, limit, server.connect(seen.clone()));
        let (client, ended) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(server.refused(&reporter, &seen, &error)),
            Err(given_up) => return Err(given_up.error(&reporter, limit)),
        };
        if config.password.is_some() && !seen.password_asked.load(Ordering::Acquire) {
            let what = "the server does not ask for the password, and would let the database server's own account in";
            return Err(reporter.say(ErrorKind::PermissionDenied, what.into()).hint(
                "Have pg_hba.conf there ask this login for a password (scram-sha-256), or leave password out of the \
                 configuration, for which the owner of the source needs the right to use the server's identity.",
            ));
        }
        let mut session = Self {
            runtime: Some(runtime),
            server,
            client: Arc::new(client),
            seen,
            ended,
            reporter,
            stop: stop.clone(),
            pid: 0,
            busy: false,
            quiet: Quiet::default(),
        };
        session.begin(config.statement_timeout_s)?;
        Ok(session)
    }

    fn begin(&mut self, statement_timeout_s: u64) -> Result<(), SourceError> {
        // In milliseconds, of which the setting holds as many as an int.
        let limit = statement_timeout_s.saturating_mul(1000).min(i32::MAX as u64);
        let begin = format!(
            "{SETTINGS} SET statement_timeout = {limit}; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        );
        self.run("beginning a transaction", async |client| {
            client.batch_execute(&begin).await
        })?;
        let pid = self.text("asking for the backend", "SELECT pg_catalog.pg_backend_pid()")?;
        self.pid = pid.and_then(|pid| pid.parse().ok()).unwrap_or_default();
        Ok(())
    }

    /// Bytes received so far.
    pub(super) fn bytes(&self) -> u64 {
        self.seen.bytes.load(Ordering::Relaxed)
    }

    /// Parses a statement and learns the types of its columns.
    pub(super) fn describe(&mut self, what: &str, sql: &str) -> Result<Statement, SourceError> {
        self.run(what, async |client| client.prepare(sql).await)
    }

    /// The first column of the first row.
    pub(super) fn text(&mut self, what: &str, sql: &str) -> Result<Option<String>, SourceError> {
        let messages = self.run(what, async |client| client.simple_query(sql).await)?;
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
            _ => None,
        }))
    }

    /// Starts to read the rows of a SELECT in COPY's binary format.
    pub(super) fn copy(&mut self, select: &str) -> Copy {
        let sql = format!("COPY ({select}) TO STDOUT (FORMAT binary)");
        let client = self.client.clone();
        self.busy = true;
        Copy::Starting(Box::pin(async move { client.copy_out(&sql).await }))
    }

    /// Hands pieces of the COPY to `take` until that says it has enough (true), the time that `until` tells has come,
    /// or the COPY ends.
    pub(super) fn pump(
        &mut self,
        copy: &mut Copy,
        until: Instant,
        mut take: impl FnMut(&[u8]) -> Result<(bool, Instant), SourceError>,
    ) -> Result<Pumped, SourceError> {
        let Some(runtime) = &self.runtime else {
            return Ok(Pumped::Stopped);
        };
        let (mut until, mut quiet) = (until, self.quiet);
        let result = runtime.block_on(async {
            loop {
                let step = timeout(TICK, poll_fn(|cx| copy.poll_next(cx))).await;
                match step {
                    Ok(Some(Ok(bytes))) => {
                        let (full, later) = take(&bytes)?;
                        until = later;
                        if full {
                            return Ok(Pumped::Full);
                        }
                    }
                    Ok(Some(Err(error))) => return Err(self.failed("reading rows", &error)),
                    Ok(None) => return Ok(Pumped::End),
                    Err(_) if quiet.lasts(&self.seen, self.server.connect_timeout * SILENCE) => {
                        self.must_be_working().await?;
                    }
                    Err(_) => {}
                }
                if self.stop.is_set() {
                    return Ok(Pumped::Stopped);
                }
                if Instant::now() >= until {
                    return Ok(Pumped::Waited);
                }
            }
        });
        self.quiet = quiet;
        self.busy &= result != Ok(Pumped::End);
        result
    }

    /// Runs a statement to its end, for as long as the server works at it.
    fn run<T>(
        &mut self,
        what: &str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, SourceError> {
        let Some(runtime) = &self.runtime else {
            return Err(self
                .reporter
                .say(ErrorKind::Internal, "the connection is closed".into()));
        };
        self.busy = true;
        let result = runtime.block_on(async {
            let mut work = pin!(work(&self.client));
            let mut quiet = Quiet::default();
            loop {
                match timeout(TICK, work.as_mut()).await {
                    Ok(done) => return done.map_err(|error| self.failed(what, &error)),
                    Err(_) if self.stop.is_set() => {
                        return Err(GivenUp::Stopped.error(&self.reporter, TICK));
                    }
                    Err(_) if quiet.lasts(&self.seen, self.server.connect_timeout * SILENCE) => {
                        self.must_be_working().await?;
                    }
                    Err(_) => {}
                }
            }
        });
        self.busy = result.is_err();
        result
    }

    /// After a long silence: whether the server says, on another connection, that it works for this one.
    async fn must_be_working(&self) -> Result<(), SourceError> {
        let ask = async {
            let (client, _) = match self.server.connect(Arc::default()).await {
                Ok(connected) => connected,
                // There, but full.
                Err(Refused::Login(error)) => {
                    return error.code().is_some_and(|code| code.code().starts_with("53"));
                }
                Err(Refused::Socket(_)) => return false,
            };
            let pid = self.pid;
            let sql = format!("SELECT state FROM pg_catalog.pg_stat_activity WHERE pid = {pid}");
            let rows = client.simple_query(&sql).await.unwrap_or_default();
            rows.iter().any(|row| match row {
                SimpleQueryMessage::Row(row) => {
                    matches!(row.try_get(0), Ok(Some("active" | "disabled")))
                }
                _ => false,
            })
        };
        let mut ask = pin!(ask);
        let started = Instant::now();
        while started.elapsed() < self.server.connect_timeout && !self.stop.is_set() {
            match timeout(TICK, ask.as_mut()).await {
                Ok(true) => return Ok(()),
                Ok(false) => break,
                Err(_) => {}
            }
        }
        let silence = (self.server.connect_timeout * SILENCE).as_secs();
        Err(self.reporter.say(
            ErrorKind::Io,
            format!(
                "no byte came for {silence} s, and the server does not say that it still works on the query"
            ),
        ))
    }

    fn failed(&self, what: &str, error: &tokio_postgres::Error) -> SourceError {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match &*ended {
            Some(reason) if error.is_closed() => self.reporter.error(what, reason),
            _ => self.reporter.error(what, error),
        }
    }
}

impl Drop for Session {
    /// Has the server stop at once, rather than when it next finds the connection closed.
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        if self.busy {
            let token = self.client.cancel_token();
            let _ = runtime.block_on(async { timeout(CANCEL, self.server.cancel(token)).await });
        }
        // A name that is being looked up ends by itself.
        runtime.shutdown_background();
    }
}

impl Server {
    fn new(config: &Config, secrets: &Secrets) -> Result<Self, SourceError> {
        let tls = tls::connector(config)?;
        let mut login = tokio_postgres::Config::new();
        login
            .user(&config.user)
            .dbname(&config.dbname)
            .application_name("cvx");
        login.ssl_mode(match tls {
            Some(_) => tokio_postgres::config::SslMode::Require,
            None => tokio_postgres::config::SslMode::Disable,
        });
        if let Some(reference) = &config.password {
            let password = secrets
                .get(reference)
                .ok_or_else(|| SourceError::new(ErrorKind::Config, format!("{reference} does not exist")))?;
            login.password(password);
        }
        Ok(Self {
            config: config.clone(),
            login,
            tls,
            connect_timeout: Duration::from_secs(config.connect_timeout_s.max(1)),
        })
    }

    async fn socket(&self) -> io::Result<Socket> {
        let Config { host, port, .. } = &self.config;
        if host.starts_with('/') {
            return Ok(Box::new(
                UnixStream::connect(format!("{host}/.s.PGSQL.{port}")).await?,
            ));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in lookup_host((host.as_str(), *port)).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Box::new(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect(&self, seen: Arc<Seen>) -> Result<(Client, Ended), Refused> {
        let socket = self.socket().await?;
        let ended = Ended::default();
        let keep = ended.clone();
        let keep = move |result: Result<(), tokio_postgres::Error>| {
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = result.err();
        };
        let client = match &self.tls {
            Some(tls) => {
                let Ok(tls) = MakeTlsConnect::<Socket>::make_tls_connect(&mut tls.clone(), &self.config.host);
                let (client, connection) = self.login.connect_raw(socket, GuardedTls { tls, seen }).await?;
                tokio::spawn(async move { keep(connection.await) });
                client
            }
            None => {
                let (client, connection) = self.login.connect_raw(Guarded::new(socket, seen), NoTls).await?;
                tokio::spawn(async move { keep(connection.await) });
                client
            }
        };
        Ok((client, ended))
    }

    /// Why there is no connection.
    fn refused(&self, reporter: &Reporter, seen: &Seen, refused: &Refused) -> SourceError {
        match refused {
            Refused::Socket(error) => reporter
                .say(ErrorKind::Io, "connecting: the server cannot be reached".into())
                .detail(error.to_string()),
            Refused::Login(_)
                if self.config.password.is_none() && seen.password_asked.load(Ordering::Acquire) =>
            {
                let what = "connecting: the server asks for a password, and the configuration has none";
                reporter
                    .say(ErrorKind::PermissionDenied, what.into())
                    .hint("Give the password as {\"secret\": \"NAME\"}.")
            }
            Refused::Login(error) => reporter.error("connecting", error),
        }
    }

    async fn cancel(&self, token: CancelToken) -> Result<(), Refused> {
        let socket = self.socket().await?;
        match &self.tls {
            Some(tls) => {
                let Ok(tls) = MakeTlsConnect::<Socket>::make_tls_connect(&mut tls.clone(), &self.config.host);
                token.cancel_query_raw(socket, tls).await?;
            }
            None => token.cancel_query_raw(socket, NoTls).await?,
        }
        Ok(())
    }
}

enum Refused {
    Socket(io::Error),
    Login(tokio_postgres::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl From<tokio_postgres::Error> for Refused {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Login(error)
    }
}

enum GivenUp {
    Stopped,
    Waited,
}

impl GivenUp {
    fn error(&self, reporter: &Reporter, limit: Duration) -> SourceError {
        let why = match self {
            Self::Stopped => "stopped".into(),
            Self::Waited => format!("connecting: no answer within {} s", limit.as_secs()),
        };
        reporter.say(ErrorKind::Io, why)
    }
}

/// Waits for at most so long, and looks at `stop` meanwhile.
fn wait<T>(
    runtime: &Runtime,
    stop: &Stop,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, GivenUp> {
    runtime.block_on(async {
        let mut work = pin!(work);
        let started = Instant::now();
        loop {
            match timeout(TICK, work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) if stop.is_set() => return Err(GivenUp::Stopped),
                Err(_) if started.elapsed() >= limit => return Err(GivenUp::Waited),
                Err(_) => {}
            }
        }
    })
}

/// How long no byte has come while one was waited for.
#[derive(Debug, Default, Clone, Copy)]
struct Quiet {
    bytes: u64,
    waited: Duration,
}

impl Quiet {
    /// After one more tick without a result: whether the silence has reached the limit. It is then counted anew.
    fn lasts(&mut self, seen: &Seen, limit: Duration) -> bool {
        let bytes = seen.bytes.load(Ordering::Relaxed);
        if self.bytes != bytes || self.waited >= limit {
            (self.bytes, self.waited) = (bytes, Duration::ZERO);
        }
        self.waited += TICK;
        self.waited >= limit
    }
}
