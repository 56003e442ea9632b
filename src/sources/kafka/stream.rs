//! A topic read for ever, as a member of a consumer group.

use super::client::{self, Consumer, Handle};
use super::config::{Config, RetentionGap, Start};
use super::decode::{Decoder, Outcome};
use super::partitions::{Lost, Partitions};
use super::question::{Ask, Marks, Question};
use super::trouble::{Meaning, Outage, hint, meaning, unknown_topic};
use crate::time::PG_EPOCH_UNIX_MICROS;
use crate::{
    Batch, Common, Connector, Delivery, ErrorKind, Payload, Position, RejectReason, Request, SourceError,
    Step, Work,
};
use rdkafka::Message;
use rdkafka::consumer::{CommitMode, Consumer as _, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a step waits for a first message.
const IDLE: Duration = Duration::from_millis(500);
/// Longest single wait, after which Stop is looked at.
const SLICE: Duration = Duration::from_millis(100);
/// The same while an answer is awaited.
const ANSWER_SLICE: Duration = Duration::from_millis(10);
/// Messages read between two looks at everything else.
const BURST: usize = 64;
/// How often the ends of the partitions are asked for.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// How soon what failed is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// Offsets out of range in a row, without one that proves to be, before the run ends with an error.
const MAX_VAIN_CHECKS: u32 = 20;

pub(super) struct Stream {
    consumer: Handle,
    topic: String,
    start: Start,
    policy: RetentionGap,
    decoder: Decoder,
    request: Request,
    partitions: Partitions,
    subscribed: bool,
    question: Option<(Purpose, Question)>,
    /// What is to be asked next, and not before.
    next: Option<(Purpose, Instant)>,
    lag_asked: Instant,
    outage: Option<Outage>,
    unknown_since: Option<Instant>,
    /// Whether a broker ever answered.
    heard: bool,
    vain_checks: u32,
    expected_rows: usize,
}

/// What an answer is for.
#[derive(Debug, Clone)]
enum Purpose {
    /// Where the partitions of the topic start.
    Start,
    /// Partitions that the group gave us; whether on top of those that we have.
    Assign(Vec<i32>, bool),
    /// The library found an offset out of range.
    Check,
    Lag,
    /// Whether brokers are there again.
    Probe,
}

impl Stream {
    pub(super) fn open(config: &Config, common: &Common, request: Request) -> Result<Self, SourceError> {
        let decoder = Decoder::new(config, common, &request)?;
        let full = request.work == Work::Full;
        let start = match config.start()? {
            _ if full => Start::Earliest,
            // What the filter would leave out need not be read, where Kafka knows the time by which it filters.
            start => match common.filter.as_ref().map_or(Ok(None), |it| it.from())? {
                Some(from) if decoder.has_kafka_time() => match start {
                    Start::Earliest => Start::At(from),
                    Start::At(at) => Start::At(at.max(from)),
                    Start::Latest => Start::Latest,
                },
                _ => start,
            },
        };
        let partitions = Partitions::new(&config.topic, &request.watermark, full)?;
        request.progress.update(|progress| {
            progress.phase = "connecting";
            progress.current = Some(config.topic.clone());
        });
        Ok(Self {
            consumer: Handle::new(client::create(config, &request)?),
            topic: config.topic.clone(),
            start,
            policy: config.retention_gap,
            decoder,
            partitions,
            subscribed: false,
            question: None,
            next: Some((Purpose::Start, Instant::now())),
            lag_asked: Instant::now(),
            outage: None,
            unknown_since: None,
            heard: false,
            vain_checks: 0,
            expected_rows: 0,
            request,
        })
    }

    fn step(&mut self, consumer: &Arc<Consumer>) -> Result<Step, SourceError> {
        let mut delivery = Delivery {
            batch: self.batch(),
            ..Delivery::default()
        };
        let begun = Instant::now();
        let mut first = None;
        while !self.request.stop.is_set() {
            self.look_around(consumer, &mut delivery)?;
            let now = Instant::now();
            let until = first.map_or(begun + IDLE, |first| first + self.request.limits.linger);
            if now >= until || self.is_full(&delivery) {
                break;
            }
            let slice = if self.question.is_some() {
                ANSWER_SLICE
            } else {
                SLICE
            };
            let mut wait = slice.min(until - now);
            for _ in 0..BURST {
                match consumer.poll(wait) {
                    Some(Ok(message)) => {
                        first.get_or_insert_with(Instant::now);
                        self.take(&message, &mut delivery)?;
                    }
                    Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                        return Err(self.error(ErrorKind::Io, &code.to_string()));
                    }
                    // Its text is among the reports.
                    Some(Err(_)) | None => break,
                }
                if self.is_full(&delivery) {
                    break;
                }
                wait = Duration::ZERO;
            }
        }
        Ok(self.finish(delivery))
    }

    fn batch(&self) -> Batch {
        Batch::new(
            self.request.dims,
            self.expected_rows,
            self.request.registered.as_ref(),
        )
    }

    fn is_full(&self, delivery: &Delivery) -> bool {
        let rows = delivery.batch.rows_read() as u64 + delivery.skipped;
        rows >= self.request.limits.rows as u64 || delivery.batch.bytes() >= self.request.limits.bytes
    }

    fn take<M: Message>(&mut self, message: &M, delivery: &mut Delivery) -> Result<(), SourceError> {
        if message.topic() != self.topic || !self.partitions.advance(message.partition(), message.offset()) {
            return Ok(());
        }
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
        delivery.bytes += length(message.payload()) + length(message.key());
        if self.decoder.decode(message, &mut delivery.batch)? == Outcome::Skipped {
            delivery.skipped += 1;
        }
        if self.outage.is_some() || self.unknown_since.is_some() {
            self.heard();
        }
        self.vain_checks = 0;
        Ok(())
    }

    fn finish(&mut self, mut delivery: Delivery) -> Step {
        delivery.positions = self.partitions.take_positions();
        let rows = delivery.batch.rows_read() as u64;
        let phase = if self.outage.is_some() {
            "waiting for brokers"
        } else if !self.subscribed {
            "connecting"
        } else if self.partitions.owned().is_empty() {
            "joining the group"
        } else if rows + delivery.skipped > 0 {
            "reading messages"
        } else {
            "waiting for messages"
        };
        let (lag, owned) = (self.partitions.lag(), self.partitions.owned().len());
        self.request.progress.update(|progress| {
            progress.phase = phase;
            progress.rows_read += rows + delivery.skipped;
            progress.lag = lag;
            progress.parts_total = Some(owned);
        });
        if rows + delivery.skipped == 0 && delivery.positions.is_empty() {
            return Step::Idle;
        }
        self.expected_rows = delivery.batch.len();
        Step::Delivery(delivery)
    }

    /// Everything that is not a message: what the library reports, what the group gives, what brokers answer.
    fn look_around(&mut self, consumer: &Arc<Consumer>, delivery: &mut Delivery) -> Result<(), SourceError> {
        for (code, reason) in consumer.context().take_reports() {
            let reason = self.request.secrets.mask(&reason);
            self.judge(code, &reason)?;
        }
        if let Some((purpose, question)) = self.question.take() {
            match question.look() {
                None => self.question = Some((purpose, question)),
                Some(Ok(marks)) => self.answered(consumer, purpose, &marks, delivery)?,
                Some(Err(code)) => self.not_answered(purpose, code)?,
            }
        }
        if let Some((partitions, besides)) = consumer.context().take_assigned() {
            self.question = None;
            self.next = Some((Purpose::Assign(partitions, besides), Instant::now()));
        }
        if let Some(error) = self.outage.as_ref().and_then(|outage| outage.over(self.heard)) {
            return Err(error);
        }
        if let Some(error) = self
            .unknown_since
            .and_then(|since| unknown_topic(&self.topic, since))
        {
            return Err(error);
        }
        self.ask(consumer);
        Ok(())
    }

    fn judge(&mut self, code: RDKafkaErrorCode, reason: &str) -> Result<(), SourceError> {
        match meaning(code, reason) {
            Meaning::Nothing => {}
            Meaning::Outage(kind) => Outage::note(&mut self.outage, kind, code, reason),
            Meaning::Unknown => drop(self.unknown_since.get_or_insert_with(Instant::now)),
            Meaning::OutOfRange => {
                if !matches!(self.question, Some((Purpose::Assign(..), _))) {
                    self.vain_checks += 1;
                    self.question = None;
                    self.next = Some((
                        Purpose::Check,
                        Instant::now() + RETRY.min(SLICE * self.vain_checks),
                    ));
                }
            }
            Meaning::Stop(kind) => return Err(self.error(kind, reason)),
        }
        if self.vain_checks > MAX_VAIN_CHECKS {
            return Err(self.error(ErrorKind::Io, reason));
        }
        Ok(())
    }

    fn error(&self, kind: ErrorKind, reason: &str) -> SourceError {
        let reason = self.request.secrets.mask(reason);
        let error = SourceError::new(kind, format!("topic {:?}: {reason}", self.topic));
        match hint(kind, &reason) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn heard(&mut self) {
        self.heard = true;
        self.outage = None;
        self.unknown_since = None;
    }

    /// Puts the question that is due, if none is open.
    fn ask(&mut self, consumer: &Arc<Consumer>) {
        if self.question.is_some() {
            return;
        }
        let now = Instant::now();
        let purpose = match &self.next {
            Some((_, when)) if now < *when => return,
            Some(_) => self.next.take().map(|(purpose, _)| purpose),
            None if self.outage.is_some() || self.unknown_since.is_some() => Some(Purpose::Probe),
            None if self.subscribed && now - self.lag_asked >= LAG_INTERVAL => Some(Purpose::Lag),
            None => None,
        };
        let Some(purpose) = purpose else {
            return;
        };
        let owned = || Some(self.partitions.owned());
        let all = Ask {
            low: true,
            high: true,
            ..Ask::default()
        };
        let ask = match &purpose {
            Purpose::Start => Ask {
                at: match self.start {
                    Start::At(ts) => Some((ts + PG_EPOCH_UNIX_MICROS).div_euclid(1000)),
                    _ => None,
                },
                ..all
            },
            Purpose::Assign(partitions, _) => Ask {
                partitions: Some(partitions.clone()),
                ..all
            },
            Purpose::Check => Ask {
                partitions: owned(),
                ..all
            },
            Purpose::Lag => Ask {
                partitions: owned(),
                high: true,
                ..Ask::default()
            },
            Purpose::Probe => Ask::default(),
        };
        if matches!(purpose, Purpose::Lag) {
            self.lag_asked = now;
        }
        if ask
            .partitions
            .as_ref()
            .is_none_or(|partitions| !partitions.is_empty())
        {
            self.question = Some((purpose, Question::put(consumer, &self.topic, ask)));
        }
    }

    fn not_answered(&mut self, purpose: Purpose, code: RDKafkaErrorCode) -> Result<(), SourceError> {
        self.judge(code, &code.to_string())?;
        // What was asked for the sake of it is not asked again.
        if !matches!(purpose, Purpose::Lag) {
            self.next = Some((purpose, Instant::now() + RETRY));
        }
        Ok(())
    }

    fn answered(
        &mut self,
        consumer: &Arc<Consumer>,
        purpose: Purpose,
        marks: &Marks,
        delivery: &mut Delivery,
    ) -> Result<(), SourceError> {
        self.heard();
        match purpose {
            Purpose::Probe => {}
            Purpose::Lag => self.partitions.set_high(marks),
            Purpose::Start => {
                self.partitions.start(marks, self.start);
                consumer
                    .subscribe(&[&self.topic])
                    .map_err(|error| self.failed(&error))?;
                self.subscribed = true;
            }
            Purpose::Assign(partitions, besides) => {
                self.check(&partitions, marks, delivery)?;
                let list = self.list(&partitions).map_err(|error| self.failed(&error))?;
                let done = if besides {
                    consumer.incremental_assign(&list)
                } else {
                    consumer.assign(&list)
                };
                // A group that has taken them back meanwhile says so in the next report or assignment.
                if done.is_ok() {
                    self.partitions.own(&partitions, besides);
                }
            }
            Purpose::Check => {
                let owned = self.partitions.owned();
                self.check(&owned, marks, delivery)?;
                // Seeking is refused in the state in which an offset out of range leaves a partition. What fails here is
                // ours no more, and the group will say so.
                let list = self.list(&owned).map_err(|error| self.failed(&error))?;
                let _ = match consumer.rebalance_protocol() {
                    RebalanceProtocol::Cooperative => consumer
                        .incremental_unassign(&list)
                        .and_then(|()| consumer.incremental_assign(&list)),
                    _ => consumer.assign(&list),
                };
            }
        }
        Ok(())
    }

    /// Checks that what is to be read next is there; what is lost becomes a dead letter each.
    fn check(
        &mut self,
        partitions: &[i32],
        marks: &Marks,
        delivery: &mut Delivery,
    ) -> Result<(), SourceError> {
        for Lost { partition, from, to } in self.partitions.check(partitions, marks, self.policy)? {
            let records = to.abs_diff(from) + 1;
            let position = format!("{}/{partition}/{from}-{to}", self.topic);
            delivery.batch.reject(
                position,
                RejectReason::RetentionGap { records },
                Payload::default(),
            );
        }
        Ok(())
    }

    fn list(&self, partitions: &[i32]) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            let next = self.partitions.next(partition).unwrap_or_default();
            list.add_partition_offset(&self.topic, partition, Offset::Offset(next))?;
        }
        Ok(list)
    }

    fn failed(&self, error: &KafkaError) -> SourceError {
        self.error(ErrorKind::Io, &error.to_string())
    }
}

impl Connector for Stream {
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

    /// Commits to the group what is ours, for tools that show a group's lag; answers are not waited for.
    fn committed(&mut self, positions: &[Position]) {
        let Some(consumer) = self.consumer.open() else {
            return;
        };
        let owned = self.partitions.owned();
        let mut list = TopicPartitionList::new();
        for Position { part, value } in positions {
            let partition = part.rsplit('/').next().and_then(|number| number.parse().ok());
            let offset = value.as_ref().and_then(|value| value["offset"].as_i64());
            if let (Some(partition), Some(offset)) = (partition, offset)
                && owned.contains(&partition)
            {
                let _ = list.add_partition_offset(&self.topic, partition, Offset::Offset(offset));
            }
        }
        if list.count() > 0 {
            let _ = consumer.commit(&list, CommitMode::Async);
        }
    }
}
