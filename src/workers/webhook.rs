//! Sends what cvx.delivery holds, from the scheduler's loop: requests are made on threads, and this, on the main one,
//! takes what is due and notes what became of it.
//!
//! A request that is being made is known to this process alone. When the process ends its outcome is lost, and the
//! same alert is sent again under the same id; so nothing that is written here needs to be durable at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cvx_sources::SecretRef;
use cvx_webhooks::{Header, Outcome, Policy, Request, Secret, Sender};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

use super::backoff::{self, random};
use super::process::{self, Bell, Failure, now};
use crate::catalog::activation;
use crate::catalog::delivery::{self, Attempt, Due, Next};
use crate::guc;
use crate::ingest::declare;
use crate::ingest::reader::with_signals_blocked;

/// Requests at a time, and of these to one host, so that one that is slow does not hold up the others.
const MOST: usize = 64;
const MOST_TO_A_HOST: usize = 8;
/// What is due may come without a word: by COMMIT PREPARED, or when a lock is let go.
const PATIENCE: Duration = Duration::from_secs(30);
/// After an error, such as a lock that was not to be had.
const IMPATIENCE: Duration = Duration::from_secs(1);
/// An alert that could not be delivered for so long is not news any more.
const GIVE_UP: Duration = Duration::from_secs(24 * 3600);
/// Transactions that may fail one after the other, each for want of a lock, before the rest wait as well.
const MOST_FAILURES: usize = 3;
/// Between two lines in the server's log on one host.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Between 1970 and 2000.
const EPOCH_SECONDS: i64 = 946_684_800;

/// A request that is being made, or whose outcome is still to be noted.
struct Flight {
    alert_id: i64,
    action: i32,
    host: String,
    attempts: i32,
    created_at: i64,
}

/// What is to be noted of an attempt.
struct Judgement {
    delivery_id: i64,
    status: Option<u16>,
    error: Option<String>,
    next: Next,
}

/// The webhooks of a database.
pub struct Dispatcher {
    sender: Sender,
    flights: HashMap<i64, Flight>,
    /// What has not been noted yet.
    judged: Vec<Judgement>,
    policy: Option<(String, Option<Arc<Policy>>)>,
    logged: HashMap<String, Instant>,
}

impl Dispatcher {
    /// `bell` is rung when there is something for `step` to do.
    pub fn new(bell: Bell) -> Self {
        Dispatcher {
            sender: Sender::new(MOST, move || bell.ring()),
            flights: HashMap::new(),
            judged: Vec::new(),
            policy: None,
            logged: HashMap::new(),
        }
    }

    /// Notes what became of requests, and makes those that are due. How long there will be nothing to do, unless the
    /// bell rings or something is queued.
    pub fn step(&mut self) -> Duration {
        while let Some((delivery_id, outcome)) = self.sender.try_recv() {
            self.judge(delivery_id, outcome);
        }
        let noted = self.note();
        let taken = self.take();
        let failure = noted.as_ref().err().or(taken.as_ref().err());
        if let Some(message) = failure.map(|it| it.message.clone()) {
            self.warn("", &format!("is held up: {message}"));
        }
        match taken {
            Ok(patience) if self.judged.is_empty() => patience,
            Ok(patience) => patience.min(IMPATIENCE),
            Err(_) => IMPATIENCE,
        }
    }

    /// Webhooks that are being sent.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    fn judge(&mut self, delivery_id: i64, outcome: Outcome) {
        let Some(flight) = self.flights.get(&delivery_id) else {
            return;
        };
        let (host, attempts) = (flight.host.clone(), flight.attempts + 1);
        let (status, error, next) = match outcome {
            Outcome::Delivered { status } => (Some(status), None, Next::Delivered),
            Outcome::Failed { status, error } => {
                self.warn(&host, &format!("failed: {error}"));
                (status, Some(error), Next::Failed)
            }
            Outcome::Retry { status, error, .. } if has_passed(flight.created_at, GIVE_UP) => {
                let error = format!("given up after {attempts} attempts: {error}");
                self.warn(&host, &error);
                (status, Some(error), Next::Failed)
            }
            Outcome::Retry { status, error, after } => {
                let delay = backoff::delay(attempts.unsigned_abs(), random()).max(after.unwrap_or_default());
                let last = flight.created_at.saturating_add(micros(GIVE_UP));
                let at = now().saturating_add(micros(delay)).min(last);
                let seconds = delay.as_secs_f64();
                self.warn(
                    &host,
                    &format!("failed and is tried again in {seconds:.0} s: {error}"),
                );
                (status, Some(error), Next::Again(at))
            }
        };
        self.judged.push(Judgement {
            delivery_id,
            status,
            error,
            next,
        });
    }

    /// Writes down what became of requests: of all together, or, if that fails, of one after the other.
    fn note(&mut self) -> Result<(), Failure> {
        if self.judged.is_empty() {
            return Ok(());
        }
        let mut failures = Vec::new();
        let noted = match self.settle(&self.judged) {
            Ok(noted) => noted,
            Err(failure) if self.judged.len() == 1 => {
                failures.push(failure);
                Vec::new()
            }
            Err(_) => {
                let mut noted = Vec::new();
                for it in self.judged.chunks(1) {
                    match self.settle(it) {
                        Ok(one) => noted.extend(one),
                        Err(failure) => failures.push(failure),
                    }
                    // It is not these rows that are to blame.
                    if failures.len() == MOST_FAILURES {
                        break;
                    }
                }
                noted
            }
        };
        self.judged.retain(|it| !noted.contains(&it.delivery_id));
        for delivery_id in noted {
            self.flights.remove(&delivery_id);
        }
        let rest = failures.len().min(self.judged.len());
        // Others first, the next time.
        self.judged.rotate_left(rest);
        failures.pop().map_or(Ok(()), Err)
    }

    /// Writes these down in one transaction; which of them were. Those whose alert is locked are not.
    fn settle(&self, judged: &[Judgement]) -> Result<Vec<i64>, Failure> {
        process::transaction(|| {
            if !process::has_extension() {
                return Ok(Vec::new());
            }
            asynchronously()?;
            let attempts = judged.iter().filter_map(|it| {
                let flight = self.flights.get(&it.delivery_id)?;
                Some(Attempt {
                    delivery_id: it.delivery_id,
                    alert_id: flight.alert_id,
                    action: flight.action,
                    attempts: flight.attempts + 1,
                    status: it.status,
                    error: it.error.as_deref(),
                    next: it.next,
                })
            });
            delivery::settle(&attempts.collect::<Vec<_>>())
        })
    }

    /// Makes the requests that are due, as far as there is room.
    fn take(&mut self) -> Result<Duration, Failure> {
        let Some(policy) = self.policy() else {
            return Ok(PATIENCE);
        };
        let room = MOST.saturating_sub(self.flights.len());
        if room == 0 {
            return Ok(PATIENCE);
        }
        // One clock for both: what becomes due between two would be in neither.
        let at = now();
        let (due, next) = process::transaction(|| {
            if !process::has_extension() || !activation::is_enabled()? {
                return Ok((Vec::new(), None));
            }
            let under_way = self
                .flights
                .iter()
                .map(|(key, it)| (*key, it.host.clone()))
                .unzip();
            let hosts: HashMap<i64, String> = delivery::due(at, room, MOST_TO_A_HOST, under_way)?
                .into_iter()
                .collect();
            let mut due = Vec::with_capacity(hosts.len());
            if !hosts.is_empty() {
                let keys: Vec<i64> = hosts.keys().copied().collect();
                for it in delivery::load(&keys)? {
                    let host = hosts.get(&it.delivery_id).cloned().unwrap_or_default();
                    due.push((request(&it), host, it));
                }
            }
            Ok((due, delivery::next_due(at)?))
        })?;
        let next = next.map_or(PATIENCE, |at| {
            Duration::from_micros(at.saturating_sub(now()).max(0).unsigned_abs())
        });
        let judged = self.judged.len();
        for (request, host, it) in due {
            if !self.send(&policy, request, host, &it) {
                return Ok(IMPATIENCE);
            }
        }
        if self.judged.len() > judged {
            // Of what is not sent at all no bell will tell, and others may have waited for its place.
            return Ok(Duration::ZERO);
        }
        Ok(next.min(PATIENCE))
    }

    /// Hands a request over. False when there was no room for it after all: it is left for later.
    fn send(
        &mut self,
        policy: &Arc<Policy>,
        request: Result<Request, String>,
        host: String,
        it: &Due,
    ) -> bool {
        let delivery_id = it.delivery_id;
        let flight = Flight {
            alert_id: it.alert_id,
            action: it.action,
            host,
            attempts: it.attempts,
            created_at: it.created_at,
        };
        match request {
            Ok(request) => {
                let timeout = guc::webhook_timeout();
                let submit = || self.sender.submit(delivery_id, policy, timeout, request);
                if let Err(error) = with_signals_blocked(submit) {
                    self.warn("", &format!("cannot be sent: {error}"));
                    return false;
                }
                self.flights.insert(delivery_id, flight);
            }
            Err(error) => {
                self.flights.insert(delivery_id, flight);
                self.judge(delivery_id, Outcome::Failed { status: None, error });
            }
        }
        true
    }

    /// The policy of the setting; None while that is malformed, when nothing is sent.
    fn policy(&mut self) -> Option<Arc<Policy>> {
        let text = guc::webhook_allowed_hosts();
        if self.policy.as_ref().is_none_or(|(parsed, _)| *parsed != text) {
            self.policy = Some((text.clone(), Policy::parse(&text).ok().map(Arc::new)));
        }
        let policy = self.policy.as_ref().and_then(|(_, policy)| policy.clone());
        if policy.is_none()
            && let Err(error) = Policy::parse(&text)
        {
            self.warn("", &format!("is not sent: cvx.webhook_allowed_hosts: {error}"));
        }
        policy
    }

    /// Tells the server's log, once a while for each host.
    fn warn(&mut self, host: &str, text: &str) {
        let is_fresh = |at: &Instant| at.elapsed() < LOG_EVERY;
        if self.logged.get(host).is_some_and(is_fresh) {
            return;
        }
        self.logged.retain(|_, at| is_fresh(at));
        self.logged.insert(host.to_owned(), Instant::now());
        let to = if host.is_empty() {
            String::new()
        } else {
            format!(" to {host}")
        };
        ereport!(
            PgLogLevel::WARNING,
            PgSqlErrorCode::ERRCODE_CONNECTION_EXCEPTION,
            format!("cvx: webhook{to} {text}")
        );
    }
}

/// A request as it is made now. The error is for whoever looks at the alert.
fn request(it: &Due) -> Result<Request, String> {
    let owner = it
        .owner_oid
        .ok_or_else(|| format!("role {:?}, whose monitor it was, does not exist", it.owner))?;
    let resolve = |reference: &Value| {
        let malformed = |_| String::from("a reference to a secret is malformed");
        let reference: SecretRef = serde_json::from_value(reference.clone()).map_err(malformed)?;
        let value =
            declare::resolve_secret(&reference, owner).map_err(|report| report.message().to_owned())?;
        Ok::<_, String>(Secret::new(value))
    };
    let mut headers = Vec::new();
    if let Some(Value::Object(found)) = it.request.get("headers") {
        for (name, value) in found {
            headers.push(match value {
                Value::String(text) => Header::Plain(name.clone(), text.clone()),
                reference => Header::Secret(name.clone(), resolve(reference)?),
            });
        }
    }
    let secret = it.request.get("secret").filter(|it| !it.is_null());
    Ok(Request {
        url: it
            .request
            .get("url")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        headers,
        body: it.body.clone(),
        event_id: it.event_id.clone(),
        timestamp: now().div_euclid(1_000_000).saturating_add(EPOCH_SECONDS),
        secret: secret.map(resolve).transpose()?,
    })
}

/// An outcome that a crash loses is that of a request that is made again.
fn asynchronously() -> Result<(), ErrorReport> {
    Spi::run("SET LOCAL synchronous_commit = off").map_err(crate::catalog::internal)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn has_passed(since: i64, duration: Duration) -> bool {
    now().saturating_sub(since) >= micros(duration)
}
