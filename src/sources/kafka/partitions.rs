//! How far each partition of the topic has been read, and what to do where the next offset is gone.

use super::config::{RetentionGap, Start};
use super::question::Marks;
use crate::{ErrorKind, Position, SourceError};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The partitions of one topic that are known.
#[derive(Debug)]
pub(super) struct Partitions {
    topic: String,
    known: BTreeMap<i32, Partition>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Partition {
    /// The offset to be read next.
    next: i64,
    /// The end of the partition, when it was last asked for.
    high: Option<i64>,
    /// Ours to read, as the group has it.
    owned: bool,
    /// Not yet delivered as a position.
    changed: bool,
    /// Started at the earliest record in this run, and nothing read so far: what expires meanwhile was never ours.
    fresh: bool,
}

/// Records that expired before they were read: offsets `from` to `to`, the last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub partition: i32,
    pub from: i64,
    pub to: i64,
}

impl Partitions {
    /// What the watermark knows of the topic. A full run forgets it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for a watermark that this connector did not write.
    pub(super) fn new(
        topic: &str,
        watermark: &BTreeMap<String, Value>,
        full: bool,
    ) -> Result<Self, SourceError> {
        let mut known = BTreeMap::new();
        for (part, value) in watermark.iter().filter(|_| !full) {
            let Some(number) = part.strip_prefix(topic).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            let (Ok(number), Some(next)) = (number.parse(), value["offset"].as_i64()) else {
                let message = format!("the watermark has {value} for {part:?}, which is no offset");
                return Err(SourceError::new(ErrorKind::Internal, message));
            };
            known.insert(
                number,
                Partition {
                    next,
                    ..Partition::default()
                },
            );
        }
        Ok(Self {
            topic: topic.to_owned(),
            known,
        })
    }

    /// Sets where partitions start that are not known: by `start` when none is, which is the first time that the topic is
    /// read; else at the earliest record, because the partition has been added since.
    pub(super) fn start(&mut self, marks: &Marks, start: Start) {
        let first = self.known.is_empty();
        for (&partition, &low) in &marks.low {
            let high = marks.high.get(&partition).copied();
            let (next, fresh) = match start {
                Start::Latest if first => (high.unwrap_or(low), false),
                Start::At(_) if first => (marks.at.get(&partition).map_or(low, |&at| at.max(low)), false),
                _ => (low, true),
            };
            self.known.entry(partition).or_insert(Partition {
                next,
                high,
                fresh,
                changed: true,
                ..Partition::default()
            });
        }
    }

    /// Takes partitions over for reading and returns what of them is lost; from then on they stand behind it.
    ///
    /// # Errors
    /// [`ErrorKind::Gap`] for lost records when the source is to stop then.
    pub(super) fn check(
        &mut self,
        partitions: &[i32],
        marks: &Marks,
        policy: RetentionGap,
    ) -> Result<Vec<Lost>, SourceError> {
        let mut lost = Vec::new();
        for &number in partitions {
            let (Some(&low), Some(&high)) = (marks.low.get(&number), marks.high.get(&number)) else {
                continue;
            };
            let part = format!("{}/{number}", self.topic);
            let partition = self.known.entry(number).or_insert(Partition {
                next: low,
                changed: true,
                fresh: true,
                ..Partition::default()
            });
            partition.high = Some(high);
            let next = partition.next;
            if next < low && !partition.fresh {
                if policy == RetentionGap::Stop {
                    return Err(gap(&part, next, low));
                }
                lost.push(Lost {
                    partition: number,
                    from: next,
                    to: low - 1,
                });
            }
            if next > high && policy == RetentionGap::Stop {
                return Err(recreated(&part, next, high));
            }
            if next < low || next > high {
                partition.next = low;
                partition.changed = true;
            }
        }
        Ok(lost)
    }

    /// Partitions that the group gave us.
    pub(super) fn own(&mut self, partitions: &[i32], besides: bool) {
        for (number, partition) in &mut self.known {
            partition.owned = partitions.contains(number) || (besides && partition.owned);
        }
    }

    pub(super) fn owned(&self) -> Vec<i32> {
        let owned = self.known.iter().filter(|(_, partition)| partition.owned);
        owned.map(|(&number, _)| number).collect()
    }

    pub(super) fn next(&self, partition: i32) -> Option<i64> {
        self.known.get(&partition).map(|it| it.next)
    }

    /// Notes that a message was read. False when it had been read before.
    pub(super) fn advance(&mut self, partition: i32, offset: i64) -> bool {
        let Some(partition) = self.known.get_mut(&partition).filter(|it| offset >= it.next) else {
            return false;
        };
        partition.next = offset + 1;
        partition.changed = true;
        partition.fresh = false;
        true
    }

    pub(super) fn set_high(&mut self, marks: &Marks) {
        for (number, &high) in &marks.high {
            if let Some(partition) = self.known.get_mut(number) {
                partition.high = Some(high);
            }
        }
    }

    /// Messages that the brokers have for us and that were not read, as of when they were last asked.
    pub(super) fn lag(&self) -> Option<u64> {
        let owned = self.known.values().filter(|partition| partition.owned);
        let behind = |it: &Partition| {
            it.high
                .map(|high| high.saturating_sub(it.next).max(0).unsigned_abs())
        };
        owned.map(behind).sum()
    }

    /// The positions that changed since the last call.
    pub(super) fn take_positions(&mut self) -> Vec<Position> {
        let changed = self.known.iter_mut().filter(|(_, partition)| partition.changed);
        changed
            .map(|(number, partition)| {
                partition.changed = false;
                Position {
                    part: format!("{}/{number}", self.topic),
                    value: Some(json!({ "offset": partition.next })),
                }
            })
            .collect()
    }
}

fn gap(part: &str, next: i64, low: i64) -> SourceError {
    let lost = low - next;
    SourceError::new(
        ErrorKind::Gap,
        format!("{part} was to be read from offset {next}, and begins at {low}: {lost} offsets have expired"),
    )
    .hint("With \"retention_gap\": \"skip\" the source goes on behind them and keeps a dead letter of the range.")
}

fn recreated(part: &str, next: i64, high: i64) -> SourceError {
    SourceError::new(
        ErrorKind::Gap,
        format!("{part} was to be read from offset {next}, and ends at {high}: the topic was recreated or truncated"),
    )
    .hint("With \"retention_gap\": \"skip\" the source reads the partition anew from its beginning.")
}

#[cfg(test)]
#[path = "partitions_tests.rs"]
mod tests;
