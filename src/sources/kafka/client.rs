//! The client library: its settings, what it reports, and how it is closed.

use super::config::{Config, Property};
use super::decode::MAX_MESSAGE_BYTES;
use crate::{ErrorKind, Request, SourceError, Work};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::Timeout;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

pub(super) type Consumer = BaseConsumer<Events>;

/// How long closing may hold up its caller. What then still waits for a broker ends by itself.
const CLOSE_WAIT: Duration = Duration::from_millis(500);
/// Reports kept while nobody asks for them.
const MAX_REPORTS: usize = 64;

/// What the library reports from within polling.
#[derive(Debug, Default)]
pub(super) struct Events {
    state: Mutex<State>,
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    assigned: Vec<i32>,
    cooperative: bool,
    reports: Vec<(RDKafkaErrorCode, String)>,
}

impl Events {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Partitions that the group gave us and that nobody has started to read; and whether they come on top of others.
    pub(super) fn take_assigned(&self) -> Option<(Vec<i32>, bool)> {
        let mut state = self.state();
        let cooperative = state.cooperative;
        let assigned = mem::take(&mut state.assigned);
        (!assigned.is_empty()).then_some((assigned, cooperative))
    }

    /// Errors since the last call, with the library's own words.
    pub(super) fn take_reports(&self) -> Vec<(RDKafkaErrorCode, String)> {
        mem::take(&mut self.state().reports)
    }
}

impl ClientContext for Events {
    // The server's log is not the place, and another thread's standard error even less.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut state = self.state();
        if state.reports.len() < MAX_REPORTS
            && let Some(code) = error.rdkafka_error_code()
        {
            state.reports.push((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Events {
    /// Partitions are given back at once. Those that come are only noted: where to start them has to be asked of the brokers,
    /// and the library waits for that.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let partitions = list
            .elements()
            .iter()
            .map(|it| it.partition())
            .collect::<Vec<_>>();
        let assign = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let mut state = self.state();
        state.cooperative = cooperative;
        if assign && !self.closing.load(Ordering::Acquire) && !partitions.is_empty() {
            state.assigned.extend(partitions);
            return;
        }
        state.assigned.retain(|partition| !partitions.contains(partition));
        drop(state);
        // Its failure means that the library has given up the partitions by itself.
        let _ = match (assign, cooperative) {
            (true, true) => consumer.incremental_assign(list),
            (false, true) => consumer.incremental_unassign(list),
            (_, false) => consumer.unassign(),
        };
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}

/// Creates the consumer; nothing is connected yet.
///
/// # Errors
/// [`ErrorKind::Config`] for settings that the library refuses.
pub(super) fn create(config: &Config, request: &Request) -> Result<Arc<Consumer>, SourceError> {
    let settings = settings(config, request)?;
    let consumer = settings.create_with_context(Events::default()).map_err(|error| {
        // The value is not shown: it may be a secret, or have one in it.
        let message = match &error {
            KafkaError::ClientConfig(_, description, name, _) => format!("{name}: {description}"),
            other => other.to_string(),
        };
        SourceError::new(ErrorKind::Config, request.secrets.mask(&message))
    })?;
    Ok(Arc::new(consumer))
}

fn settings(config: &Config, request: &Request) -> Result<ClientConfig, SourceError> {
    let batch = request.limits.bytes;
    let fetch = batch.clamp(1 << 20, 16 << 20);
    let mut settings = ClientConfig::new();
    settings.set_log_level(RDKafkaLogLevel::Emerg);
    let sasl = config.properties.keys().any(|name| name.starts_with("sasl."));
    let defaults = [
        ("client.id", "cvx".to_owned()),
        (
            "security.protocol",
            if sasl { "sasl_ssl" } else { "ssl" }.to_owned(),
        ),
        ("socket.timeout.ms", "30000".to_owned()),
        // The shortest that brokers allow by default: so long a reader that was killed keeps its partitions from the next.
        ("session.timeout.ms", "6000".to_owned()),
        ("heartbeat.interval.ms", "1500".to_owned()),
        ("topic.metadata.refresh.interval.ms", "30000".to_owned()),
        // What waits in the library is twice a batch at most, besides the responses being received.
        (
            "queued.max.messages.kbytes",
            (2 * batch / 1024).clamp(1024, 65_536).to_string(),
        ),
        ("fetch.max.bytes", fetch.to_string()),
        ("fetch.message.max.bytes", (1 << 20).to_string()),
        (
            "receive.message.max.bytes",
            (2 * MAX_MESSAGE_BYTES + (1 << 20)).to_string(),
        ),
        // A second of rest when the queue is full, the default, would be a second of nothing for a fast reader.
        ("fetch.queue.backoff.ms", "10".to_owned()),
    ];
    for (name, value) in defaults {
        settings.set(name, value);
    }
    for (name, property) in &config.properties {
        let value = match property {
            Property::Text(text) => text.clone(),
            Property::Number(number) => number.to_string(),
            Property::Bool(truth) => truth.to_string(),
            Property::Secret(reference) => request
                .secrets
                .get(reference)
                .ok_or_else(|| SourceError::new(ErrorKind::Config, format!("{reference} has no value")))?
                .to_owned(),
        };
        settings.set(name, value);
    }
    let fixed = [
        ("bootstrap.servers", config.brokers.join(",")),
        ("group.id", config.group()),
        ("enable.auto.commit", "false".to_owned()),
        ("enable.auto.offset.store", "false".to_owned()),
        ("auto.offset.reset", "error".to_owned()),
        ("isolation.level", "read_committed".to_owned()),
        ("allow.auto.create.topics", "false".to_owned()),
        // The end of a partition matters to whoever looks for certain messages only.
        (
            "enable.partition.eof",
            matches!(request.work, Work::Replay(_)).to_string(),
        ),
    ];
    for (name, value) in fixed {
        settings.set(name, value);
    }
    Ok(settings)
}

/// A consumer until it is spent: closed after an error, and when it is dropped.
pub(super) struct Handle(Option<Arc<Consumer>>);

impl Handle {
    pub(super) fn new(consumer: Arc<Consumer>) -> Self {
        Self(Some(consumer))
    }

    pub(super) fn open(&self) -> Option<&Arc<Consumer>> {
        self.0.as_ref()
    }

    /// # Errors
    /// [`ErrorKind::Internal`] once it is closed.
    pub(super) fn get(&self) -> Result<Arc<Consumer>, SourceError> {
        let closed = || SourceError::new(ErrorKind::Internal, "the source is closed after an error");
        self.0.clone().ok_or_else(closed)
    }

    pub(super) fn close(&mut self) {
        if let Some(consumer) = self.0.take() {
            close(consumer);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// Leaves the group and closes the connections, in a thread of its own: a broker that does not answer must not hold up
/// whoever stops. The thread ends by itself, within the library's time limits.
fn close(consumer: Arc<Consumer>) {
    consumer.context().closing.store(true, Ordering::Release);
    let (done, closed) = mpsc::channel();
    let closer = thread::Builder::new()
        .name("cvx kafka close".into())
        .spawn(move || {
            drop(consumer);
            let _ = done.send(());
        });
    // Where there is no thread to be had the consumer was dropped with the closure.
    if closer.is_ok() {
        let _ = closed.recv_timeout(CLOSE_WAIT);
    }
}
