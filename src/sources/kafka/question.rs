//! What brokers are asked besides messages: the library's calls for it block, so each is put from a thread of its own, and
//! whoever asked looks for the answer now and then.

use super::client::Consumer;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

/// Longest wait for one of the answers that a question needs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The offsets of partitions: the first that is kept, the one that comes next, and that of a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Marks {
    /// Partitions that the topic has, where that was asked.
    pub partitions: Vec<i32>,
    pub low: BTreeMap<i32, i64>,
    pub high: BTreeMap<i32, i64>,
    pub at: BTreeMap<i32, i64>,
}

/// What to ask.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    /// None asks which there are.
    pub partitions: Option<Vec<i32>>,
    pub low: bool,
    pub high: bool,
    /// Milliseconds since 1970.
    pub at: Option<i64>,
}

/// An answer that is awaited.
#[derive(Debug)]
pub(super) struct Question(Receiver<Result<Marks, RDKafkaErrorCode>>);

impl Question {
    pub(super) fn put(consumer: &Arc<Consumer>, topic: &str, ask: Ask) -> Self {
        let (sender, receiver) = mpsc::channel();
        let (consumer, topic) = (Arc::clone(consumer), topic.to_owned());
        // Without a thread the sender is gone, which reads as a failure.
        let _ = thread::Builder::new()
            .name("cvx kafka ask".into())
            .spawn(move || {
                let answer = answer(&consumer, &topic, &ask);
                let _ = sender.send(
                    answer.map_err(|error| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
                );
            });
        Self(receiver)
    }

    /// The answer, when it has come.
    pub(super) fn look(&self) -> Option<Result<Marks, RDKafkaErrorCode>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(RDKafkaErrorCode::Fail)),
        }
    }
}

fn answer(consumer: &Consumer, topic: &str, ask: &Ask) -> Result<Marks, KafkaError> {
    let mut marks = Marks::default();
    if ask.partitions.is_none() {
        marks.partitions = partitions(consumer, topic)?;
    }
    let asked = ask.partitions.as_ref().unwrap_or(&marks.partitions);
    if ask.low {
        marks.low = offsets(consumer, topic, asked, Offset::Beginning)?;
    }
    if ask.high || ask.at.is_some() {
        marks.high = offsets(consumer, topic, asked, Offset::End)?;
    }
    if let Some(millis) = ask.at {
        marks.at = offsets(consumer, topic, asked, Offset::Offset(millis.max(0)))?;
        // Nothing is as late: what comes next will be.
        for (partition, offset) in &mut marks.at {
            if *offset < 0 {
                *offset = marks.high.get(partition).copied().unwrap_or_default();
            }
        }
    }
    Ok(marks)
}

fn partitions(consumer: &Consumer, topic: &str) -> Result<Vec<i32>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    let Some(found) = metadata.topics().iter().find(|it| it.name() == topic) else {
        return Err(unknown);
    };
    if let Some(error) = found.error() {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    let partitions: Vec<i32> = found.partitions().iter().map(|it| it.id()).collect();
    if partitions.is_empty() {
        Err(unknown)
    } else {
        Ok(partitions)
    }
}

/// One request a broker for all partitions that it leads: the protocol's special times are these offsets.
fn offsets(
    consumer: &Consumer,
    topic: &str,
    partitions: &[i32],
    at: Offset,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for &partition in partitions {
        list.add_partition_offset(topic, partition, at)?;
    }
    let answers = consumer.offsets_for_times(list, TIMEOUT)?;
    let mut offsets = BTreeMap::new();
    for element in answers.elements() {
        element.error()?;
        let offset = match element.offset() {
            Offset::Offset(offset) => offset,
            _ => -1,
        };
        offsets.insert(element.partition(), offset);
    }
    Ok(offsets)
}
