//! A broker, messages, and a reader that keeps positions as the engine does.

#![allow(dead_code, reason = "each test binary uses a part")]

use cvx_sources::{
    Connector, Delivery, Limits, Request, Secrets, SharedProgress, SourceConfig, SourceError, Step, Stop,
    Work,
};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub const TOPIC: &str = "embeddings";
pub const DIMS: usize = 3;
/// Longer than anything that works takes, on a slow machine too.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

pub fn cluster(brokers: i32, partitions: i32) -> Cluster {
    let cluster = MockCluster::new(brokers).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    cluster
}

pub fn producer(cluster: &Cluster) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("linger.ms", "1")
        .set("message.max.bytes", "20000000")
        .create()
        .unwrap()
}

pub struct Message<'a> {
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub payload: Option<&'a [u8]>,
    pub millis: i64,
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl Default for Message<'_> {
    fn default() -> Self {
        Self {
            partition: 0,
            key: None,
            payload: None,
            millis: 1_767_225_600_000,
            headers: &[],
        }
    }
}

pub fn send(producer: &BaseProducer, message: &Message<'_>) {
    let headers = message
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(*value),
            })
        });
    loop {
        let mut record = BaseRecord::<[u8], [u8]>::to(TOPIC)
            .partition(message.partition)
            .timestamp(message.millis)
            .headers(headers.clone());
        record.key = message.key;
        record.payload = message.payload;
        match producer.send(record) {
            Ok(()) => return,
            Err(_) => {
                producer.poll(Duration::from_millis(10));
            }
        }
    }
}

/// Sends texts to a partition and waits until the broker has them.
pub fn send_all<T: AsRef<[u8]>>(
    producer: &BaseProducer,
    partition: i32,
    payloads: impl IntoIterator<Item = T>,
) {
    for payload in payloads {
        send(
            producer,
            &Message {
                partition,
                payload: Some(payload.as_ref()),
                ..Message::default()
            },
        );
    }
    producer.flush(PATIENCE).unwrap();
}

/// The usual message: entity `eN`, time N seconds after 2026-01-01.
pub fn json_of(n: usize) -> String {
    let ts = 1_767_225_600 + n;
    format!(r#"{{"id":"e{n}","ts":{ts},"v":[{n}.5,-1,0.25]}}"#)
}

pub fn config(cluster: &Cluster) -> Value {
    json!({
        "brokers": cluster.bootstrap_servers().split(',').collect::<Vec<_>>(),
        "topic": TOPIC,
        "entity_id_field": "id",
        "vector_field": "v",
        "timestamp_field": "ts",
        // More than the three seconds for which the mock waits for a first member; whoever comes after another it
        // keeps waiting for a second less than the session.
        "properties": {"security.protocol": "plaintext", "session.timeout.ms": 4000, "heartbeat.interval.ms": 300},
    })
}

/// The configuration with more keys, or others.
pub fn with(mut config: Value, more: Value) -> Value {
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    config
}

/// What the engine keeps between runs, and what one run brought.
#[derive(Default)]
pub struct Store {
    pub watermark: BTreeMap<String, Value>,
    /// Entity and first element, in the order of arrival.
    pub rows: Vec<(String, f32)>,
    /// Position and code.
    pub rejects: Vec<(String, String)>,
    pub payloads: Vec<Value>,
    pub skipped: u64,
}

impl Store {
    pub fn keep(&mut self, delivery: Delivery) {
        self.rows.extend(
            delivery
                .batch
                .records()
                .map(|it| (it.entity_id.to_owned(), it.vector[0])),
        );
        for reject in delivery.batch.rejects() {
            self.rejects
                .push((reject.position.clone(), reject.reason.code().to_owned()));
            self.payloads.push(serde_json::from_str(&reject.payload).unwrap());
        }
        for position in delivery.positions {
            self.watermark.insert(position.part, position.value.unwrap());
        }
        self.skipped += delivery.skipped;
    }

    pub fn offset(&self, partition: i32) -> Option<i64> {
        self.watermark.get(&format!("{TOPIC}/{partition}"))?["offset"].as_i64()
    }

    pub fn read(&self) -> usize {
        self.rows.len() + self.rejects.len() + self.skipped as usize
    }

    pub fn request(&self, work: Work) -> Request {
        Request {
            dims: DIMS,
            registered: None,
            work,
            watermark: self.watermark.clone(),
            limits: Limits {
                rows: 100,
                linger: Duration::from_millis(50),
                ..Limits::default()
            },
            secrets: Secrets::default(),
            progress: SharedProgress::default(),
            stop: Stop::default(),
        }
    }

    pub fn open(&self, config: &Value) -> Box<dyn Connector> {
        open(config, self.request(Work::Incremental)).unwrap()
    }

    /// Reads on until that many messages have been read in all.
    pub fn read_to(&mut self, connector: &mut dyn Connector, count: usize) {
        self.read_until(connector, |store| store.read() >= count);
    }

    pub fn read_until(&mut self, connector: &mut dyn Connector, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} read, {:?}",
                self.read(),
                self.watermark
            );
            match connector.next().unwrap() {
                Step::Delivery(delivery) => {
                    let positions = delivery.positions.clone();
                    self.keep(delivery);
                    connector.committed(&positions);
                }
                Step::Idle => {}
                Step::End => panic!("a stream ended"),
            }
        }
    }

    /// Reads for a while, however much there is.
    pub fn read_for(&mut self, connector: &mut dyn Connector, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            if let Step::Delivery(delivery) = connector.next().unwrap() {
                self.keep(delivery);
            }
        }
    }
}

pub fn open(config: &Value, request: Request) -> Result<Box<dyn Connector>, SourceError> {
    SourceConfig::parse("kafka", config)?.open(request)
}

/// Steps until the source fails.
pub fn failure(connector: &mut dyn Connector) -> SourceError {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no error");
        if let Err(error) = connector.next() {
            return error;
        }
    }
}
