//! A Kafka broker for tests and benchmarks: librdkafka's mock cluster in a process of its own.
//!
//! ```text
//! kafka_mock [BROKERS]        default 1; prints `bootstrap HOST:PORT,...` on standard output
//! ```
//!
//! Then it obeys lines on standard input and answers each with `ok` or `error ...`; it ends with `quit` or with its
//! input. Brokers are numbered from 1; -1 is all of them.
//!
//! ```text
//! topic NAME PARTITIONS       create a topic (one that nobody created appears with 4 partitions when it is asked for)
//! down ID                     the broker closes its connections and takes no new ones
//! up ID                       and takes them again
//! rtt ID MS                   every answer of the broker takes so long
//! leader TOPIC PARTITION ID   another broker leads the partition; `none` is nobody
//! topic-error TOPIC CODE      metadata of the topic is this error; 0 clears it
//! error APIKEY CODE COUNT     the next COUNT requests of this sort fail: APIKEY is the protocol's number or a name of
//!                             `API_KEYS`, CODE the protocol's number of an error, or -195 to close the connection
//! quit
//! ```
//!
//! What the mock keeps: 5 MiB of message sets a partition, as the producer sent them (compressed, where it compresses),
//! and at most 100 000 sets; the oldest are dropped silently, which is how its retention is tested. So a test that
//! wants N bytes back creates at least N / 4 MiB partitions. It answers a fetch with one message set a partition and finds
//! it by walking the list: producers with large batches (linger.ms 50, batch.size 1 MB) make it fast. Nothing is on disk.
//! Partitions cannot be added to a topic, topics cannot be deleted, aborted transactions are not told to consumers.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

type Cluster = MockCluster<'static, DefaultProducerContext>;

const API_KEYS: [(&str, i16, RDKafkaApiKey); 11] = [
    ("Produce", 0, RDKafkaApiKey::Produce),
    ("Fetch", 1, RDKafkaApiKey::Fetch),
    ("ListOffsets", 2, RDKafkaApiKey::ListOffsets),
    ("Metadata", 3, RDKafkaApiKey::Metadata),
    ("OffsetCommit", 8, RDKafkaApiKey::OffsetCommit),
    ("OffsetFetch", 9, RDKafkaApiKey::OffsetFetch),
    ("FindCoordinator", 10, RDKafkaApiKey::FindCoordinator),
    ("JoinGroup", 11, RDKafkaApiKey::JoinGroup),
    ("Heartbeat", 12, RDKafkaApiKey::Heartbeat),
    ("LeaveGroup", 13, RDKafkaApiKey::LeaveGroup),
    ("SyncGroup", 14, RDKafkaApiKey::SyncGroup),
];

const CODES: [(i32, RDKafkaRespErr); 21] = [
    (-195, RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT),
    (-1, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN),
    (0, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR),
    (1, RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE),
    (2, RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_MSG),
    (3, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART),
    (5, RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
    (6, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
    (7, RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT),
    (14, RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
    (15, RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE),
    (16, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR),
    (22, RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION),
    (25, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID),
    (27, RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS),
    (29, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
    (30, RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED),
    (31, RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED),
    (56, RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR),
    (74, RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH),
    (76, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH),
];

/// More errors than this would only pile up in the mock.
const MAX_ERRORS: usize = 100_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kafka_mock: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let brokers = match std::env::args().nth(1) {
        Some(text) => parse(&text)?,
        None => 1,
    };
    let cluster = MockCluster::new(brokers).map_err(|error| error.to_string())?;
    say(&format!("bootstrap {}", cluster.bootstrap_servers()))?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["quit"] => return say("ok"),
            words => match obey(&cluster, words) {
                Ok(()) => say("ok")?,
                Err(error) => say(&format!("error {error}"))?,
            },
        }
    }
    Ok(())
}

/// A line at once, whoever reads it through a pipe.
fn say(line: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())
}

fn obey(cluster: &Cluster, words: &[&str]) -> Result<(), String> {
    let done = match *words {
        ["topic", name, partitions] => cluster.create_topic(name, parse(partitions)?, 1),
        ["down", id] => cluster.broker_down(parse(id)?),
        ["up", id] => cluster.broker_up(parse(id)?),
        ["rtt", id, ms] => cluster.broker_round_trip_time(parse(id)?, Duration::from_millis(parse(ms)?)),
        ["leader", topic, partition, "none"] => cluster.partition_leader(topic, parse(partition)?, None),
        ["leader", topic, partition, id] => {
            cluster.partition_leader(topic, parse(partition)?, Some(parse(id)?))
        }
        ["topic-error", topic, code] => cluster.topic_error(topic, error_of(code)?),
        ["error", api, code, count] => {
            let count: usize = parse(count)?;
            if count > MAX_ERRORS {
                return Err(format!("{count} errors, at most {MAX_ERRORS}"));
            }
            cluster.request_errors(api_key(api)?, &vec![error_of(code)?; count]);
            Ok(())
        }
        _ => return Err(format!("not understood: {}", words.join(" "))),
    };
    done.map_err(|error| error.to_string())
}

fn parse<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

fn api_key(text: &str) -> Result<RDKafkaApiKey, String> {
    let number = text.parse().ok();
    let found = API_KEYS
        .into_iter()
        .find(|&(name, key, _)| number == Some(key) || name.eq_ignore_ascii_case(text));
    found
        .map(|(_, _, key)| key)
        .ok_or_else(|| format!("unknown request: {text}"))
}

fn error_of(text: &str) -> Result<RDKafkaRespErr, String> {
    let number: i32 = parse(text)?;
    let found = CODES.into_iter().find(|&(code, _)| code == number);
    found
        .map(|(_, error)| error)
        .ok_or_else(|| format!("unknown error code: {text}"))
}
