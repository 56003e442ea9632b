//! Messages read again by their positions, partition after partition, without the group.

use super::client::{self, Consumer, Handle};
use super::config::Config;
use super::decode::{Decoder, Outcome};
use super::question::{Ask, Marks, Question};
use super::trouble::{Meaning, Outage, meaning};
use crate::{
    Batch, Common, Connector, Delivery, ErrorKind, Payload, RejectReason, Request, SourceError, Step, Work,
};
use rdkafka::Message;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a step waits.
const IDLE: Duration = Duration::from_millis(500);
const SLICE: Duration = Duration::from_millis(50);
/// How long nothing may come of a partition that has something.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages between two that are wanted are read past; beyond so many it is quicker to ask for the place.
const NEAR: i64 = 500;

pub(super) struct Replay {
    consumer: Handle,
    topic: String,
    decoder: Decoder,
    request: Request,
    /// Unanswered offsets, by partition.
    wanted: BTreeMap<i32, BTreeSet<i64>>,
    /// Positions that name nothing that can be read.
    gone: Vec<String>,
    question: Option<Question>,
    marks: Option<Marks>,
    /// The partition being read, and the offset from which.
    reading: Option<(i32, i64)>,
    outage: Option<Outage>,
    /// When something came last.
    moved: Instant,
}

impl Replay {
    pub(super) fn open(config: &Config, common: &Common, request: Request) -> Result<Self, SourceError> {
        let mut wanted = BTreeMap::<i32, BTreeSet<i64>>::new();
        let mut gone = Vec::new();
        if let Work::Replay(positions) = &request.work {
            for position in positions {
                match parse(&config.topic, position) {
                    Some((partition, offset)) => drop(wanted.entry(partition).or_default().insert(offset)),
                    None => gone.push(position.clone()),
                }
            }
        }
        request.progress.update(|progress| {
            progress.phase = "reading dead letters";
            progress.current = Some(config.topic.clone());
        });
        Ok(Self {
            consumer: Handle::new(client::create(config, &request)?),
            topic: config.topic.clone(),
            decoder: Decoder::new(config, common, &request)?,
            request,
            wanted,
            gone,
            question: None,
            marks: None,
            reading: None,
            outage: None,
            moved: Instant::now(),
        })
    }

    fn step(&mut self, consumer: &Arc<Consumer>) -> Result<Step, SourceError> {
        let mut delivery = Delivery {
            batch: Batch::new(self.request.dims, 0, self.request.registered.as_ref()),
            ..Delivery::default()
        };
        let begun = Instant::now();
        while !self.request.stop.is_set() && begun.elapsed() < IDLE && !self.is_full(&delivery) {
            self.reject_gone(&mut delivery);
            if self.wanted.is_empty() && self.gone.is_empty() {
                break;
            }
            self.look_around(consumer)?;
            self.go_on(consumer)?;
            match consumer.poll(SLICE) {
                Some(Ok(message)) => self.take(&message, &mut delivery)?,
                Some(Err(KafkaError::PartitionEOF(partition))) => self.ended(partition),
                Some(Err(_)) | None => {}
            }
        }
        self.reject_gone(&mut delivery);
        let rows = delivery.batch.rows_read();
        self.request
            .progress
            .update(|progress| progress.rows_read += rows as u64);
        Ok(match (rows, self.wanted.is_empty() && self.gone.is_empty()) {
            (0, true) => Step::End,
            (0, false) => Step::Idle,
            _ => Step::Delivery(delivery),
        })
    }

    fn is_full(&self, delivery: &Delivery) -> bool {
        delivery.batch.rows_read() >= self.request.limits.rows
            || delivery.batch.bytes() >= self.request.limits.bytes
    }

    fn reject_gone(&mut self, delivery: &mut Delivery) {
        while !self.is_full(delivery)
            && let Some(position) = self.gone.pop()
        {
            delivery
                .batch
                .reject(position, RejectReason::Gone, Payload::default());
        }
    }

    fn look_around(&mut self, consumer: &Arc<Consumer>) -> Result<(), SourceError> {
        for (code, reason) in consumer.context().take_reports() {
            self.judge(code, &reason)?;
        }
        if let Some(error) = self
            .outage
            .as_ref()
            .and_then(|outage| outage.over(self.marks.is_some()))
        {
            return Err(error);
        }
        if self.moved.elapsed() > PATIENCE {
            return Err(self.error(ErrorKind::Io, "the messages asked for did not come in time"));
        }
        if self.marks.is_some() {
            return Ok(());
        }
        match self.question.as_ref().and_then(Question::look) {
            Some(Ok(marks)) => {
                self.drop_expired(&marks);
                self.marks = Some(marks);
                self.moved = Instant::now();
                self.outage = None;
            }
            Some(Err(code)) => {
                self.question = None;
                self.judge(code, &code.to_string())?;
            }
            None if self.question.is_none() => {
                let ask = Ask {
                    low: true,
                    high: true,
                    ..Ask::default()
                };
                self.question = Some(Question::put(consumer, &self.topic, ask));
            }
            None => {}
        }
        Ok(())
    }

    fn judge(&mut self, code: RDKafkaErrorCode, reason: &str) -> Result<(), SourceError> {
        let reason = self.request.secrets.mask(reason);
        match meaning(code, &reason) {
            Meaning::Nothing => {}
            Meaning::Outage(kind) => Outage::note(&mut self.outage, kind, code, &reason),
            // The topic is gone, and all of its messages.
            Meaning::Unknown => {
                for partition in self.wanted.keys().copied().collect::<Vec<_>>() {
                    self.ended(partition);
                }
            }
            // Expired since the ends were asked for: ask again.
            Meaning::OutOfRange => {
                self.marks = None;
                self.question = None;
                self.reading = None;
            }
            Meaning::Stop(kind) => return Err(self.error(kind, &reason)),
        }
        Ok(())
    }

    fn error(&self, kind: ErrorKind, reason: &str) -> SourceError {
        SourceError::new(kind, format!("topic {:?}: {reason}", self.topic))
    }

    /// What the brokers do not have any more, or never had, is gone.
    fn drop_expired(&mut self, marks: &Marks) {
        let (topic, gone) = (&self.topic, &mut self.gone);
        for (partition, offsets) in &mut self.wanted {
            let low = marks.low.get(partition).copied().unwrap_or(i64::MAX);
            let high = marks.high.get(partition).copied().unwrap_or(i64::MIN);
            offsets.retain(|&offset| {
                let there = offset >= low && offset < high;
                if !there {
                    gone.push(position(topic, *partition, offset));
                }
                there
            });
        }
        self.wanted.retain(|_, offsets| !offsets.is_empty());
    }

    /// Goes to the next offset that is wanted, where it is not about to come anyway.
    fn go_on(&mut self, consumer: &Consumer) -> Result<(), SourceError> {
        let Some((&partition, offsets)) = self.wanted.iter().next().filter(|_| self.marks.is_some()) else {
            return Ok(());
        };
        let Some(&offset) = offsets.first() else {
            return Ok(());
        };
        if let Some((reading, at)) = self.reading
            && reading == partition
            && (0..NEAR).contains(&(offset - at))
        {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
            .and_then(|()| consumer.assign(&list))
            .map_err(|error| self.error(ErrorKind::Io, &error.to_string()))?;
        self.reading = Some((partition, offset));
        Ok(())
    }

    fn take<M: Message>(&mut self, message: &M, delivery: &mut Delivery) -> Result<(), SourceError> {
        let (partition, offset) = (message.partition(), message.offset());
        if self
            .reading
            .is_none_or(|(reading, at)| reading != partition || offset < at)
        {
            return Ok(());
        }
        self.moved = Instant::now();
        self.outage = None;
        self.reading = Some((partition, offset + 1));
        let Some(offsets) = self.wanted.get_mut(&partition) else {
            return Ok(());
        };
        let later = offsets.split_off(&offset);
        // Compacted away, or part of a transaction that was taken back.
        self.gone.extend(
            offsets
                .iter()
                .map(|&missing| position(&self.topic, partition, missing)),
        );
        *offsets = later;
        if offsets.remove(&offset) {
            delivery.bytes += message.payload().map_or(0, <[u8]>::len) as u64;
            // Deleted, or left out by a filter that is new: nothing that could be stored.
            if self.decoder.decode(message, &mut delivery.batch)? == Outcome::Skipped {
                self.gone.push(position(&self.topic, partition, offset));
            }
        }
        if offsets.is_empty() {
            self.wanted.remove(&partition);
        }
        Ok(())
    }

    /// Nothing more comes of the partition: what is still wanted of it is not there.
    fn ended(&mut self, partition: i32) {
        let offsets = self.wanted.remove(&partition).unwrap_or_default();
        self.gone.extend(
            offsets
                .iter()
                .map(|&offset| position(&self.topic, partition, offset)),
        );
        self.moved = Instant::now();
    }
}

impl Connector for Replay {
    fn next(&mut self) -> Result<Step, SourceError> {
        let consumer = self.consumer.get()?;
        let step = self.step(&consumer);
        // The last one to hold it waits for brokers, which must not be us.
        drop(consumer);
        if step.is_err() {
            self.question = None;
            self.consumer.close();
        }
        step
    }
}

fn position(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}/{partition}/{offset}")
}

/// Partition and offset of a position, where it is one message of the topic and written as ours are.
fn parse(topic: &str, text: &str) -> Option<(i32, i64)> {
    let (partition, offset) = text.strip_prefix(topic)?.strip_prefix('/')?.split_once('/')?;
    let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
    (position(topic, partition, offset) == text).then_some((partition, offset))
}
