//! From messages to records of a batch.

use super::config::Config;
use super::fields::{Field, Mapping};
use super::registry::{Missing, Registry};
use super::value::{Fields, Value, write_text};
use super::vector::Vector;
use super::{avro, json};
use crate::time::{EpochUnit, from_epoch, to_text};
use crate::{Batch, Common, Payload, Record, RejectReason, Request, SourceError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::Message;
use std::borrow::Cow;
use std::collections::HashSet;

/// Largest message that is decoded: several times what the largest vector needs, and few enough that reading one cannot
/// fill the memory of a server.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// What a dead letter shows of a message that is no text, before its base64.
const MAX_SHOWN_BYTES: usize = 768;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    Rejected,
    /// A tombstone, or not wanted by the filter.
    Skipped,
}

/// Reads the messages of a source, one after the other.
#[derive(Debug)]
pub struct Decoder {
    mapping: Mapping,
    /// With one, messages are Avro.
    registry: Option<Registry>,
    entity_ids: Option<HashSet<String>>,
    from: Option<i64>,
    to: Option<i64>,
    vector: Vector,
    attrs: String,
}

impl Decoder {
    /// # Errors
    /// [`crate::ErrorKind::Config`] when fields, filter or registry make no sense.
    pub fn new(config: &Config, common: &Common, request: &Request) -> Result<Self, SourceError> {
        let filter = common.filter.clone().unwrap_or_default();
        Ok(Self {
            mapping: Mapping::new(config)?,
            registry: config
                .schema_registry
                .as_ref()
                .map(|it| Registry::new(it, request))
                .transpose()?,
            from: filter.from()?,
            to: filter.to()?,
            entity_ids: filter.entity_ids.map(HashSet::from_iter),
            vector: Vector::default(),
            attrs: String::new(),
        })
    }

    /// Whether the record's time is that which Kafka keeps, by which offsets can be looked up.
    pub(super) fn has_kafka_time(&self) -> bool {
        self.mapping.has_kafka_time()
    }

    /// Puts the record of a message into the batch, or what is wrong with it among the rejects.
    ///
    /// # Errors
    /// The schema registry failed: nothing is known of the message.
    pub fn decode<M: Message>(&mut self, message: &M, batch: &mut Batch) -> Result<Outcome, SourceError> {
        let Some(payload) = message.payload() else {
            return Ok(Outcome::Skipped);
        };
        match self.try_decode(message, payload, batch) {
            Ok(outcome) => Ok(outcome),
            Err(Missing::Source(error)) => Err(error),
            Err(Missing::Message(reason)) => {
                let shown = match reason {
                    RejectReason::TooLarge { .. } => &[],
                    _ => payload,
                };
                batch.reject(position(message), reason, shown_payload(message, shown));
                Ok(Outcome::Rejected)
            }
        }
    }

    fn try_decode<M: Message>(
        &mut self,
        message: &M,
        payload: &[u8],
        batch: &mut Batch,
    ) -> Result<Outcome, Missing> {
        if payload.len() > MAX_MESSAGE_BYTES {
            return Err(Missing::Message(RejectReason::TooLarge {
                bytes: payload.len(),
                limit: MAX_MESSAGE_BYTES,
            }));
        }
        let malformed = |error: String| Missing::Message(RejectReason::Malformed { error });
        let mut fields = Fields::new(self.mapping.slots);
        let (root, vector) = (&self.mapping.root, &mut self.vector);
        match &mut self.registry {
            None => {
                let text = std::str::from_utf8(payload)
                    .map_err(|error| malformed(format!("invalid UTF-8 at byte {}", error.valid_up_to())))?;
                json::read(text, root, &mut fields, vector).map_err(|error| malformed(error.to_string()))?;
            }
            Some(registry) => {
                let (types, bytes) = registry.schema_of(payload)?;
                avro::read(bytes, &types, root, &mut fields, vector)
                    .map_err(|error| malformed(format!("invalid Avro: {error}")))?;
            }
        }
        self.push(message, &fields, batch).map_err(Missing::Message)
    }

    fn push<M: Message>(
        &mut self,
        message: &M,
        fields: &Fields<'_>,
        batch: &mut Batch,
    ) -> Result<Outcome, RejectReason> {
        let Self {
            mapping,
            vector,
            attrs,
            ..
        } = self;
        let id_value = mapping.entity_id.of(message, fields);
        let entity_id = required(
            id_value.id(&mapping.entity_id.name)?,
            &id_value,
            &mapping.entity_id,
            || RejectReason::NullEntityId,
        )?;
        let ts_value = mapping.timestamp.of(message, fields);
        let ts = ts_value.time(&mapping.timestamp.name, "timestamp", mapping.unit)?;
        let ts = required(ts, &ts_value, &mapping.timestamp, || RejectReason::NullTimestamp)?;
        if self
            .entity_ids
            .as_ref()
            .is_some_and(|ids| !ids.contains(&*entity_id))
            || self.from.is_some_and(|from| ts < from)
            || self.to.is_some_and(|to| ts >= to)
        {
            return Ok(Outcome::Skipped);
        }
        let vector = vector_of(&mapping.vector, &mapping.vector.of(message, fields), vector)?;
        let value = |field: &Option<Field>| {
            field
                .as_ref()
                .map_or(Value::Absent, |field| field.of(message, fields))
        };
        let optional = [
            (&mapping.model_version, "model_version"),
            (&mapping.model_hash, "model_hash"),
            (&mapping.input_hash, "input_hash"),
            (&mapping.pipeline_hash, "pipeline_hash"),
        ];
        let values = optional.map(|(field, _)| value(field));
        let mut texts: [Option<Cow<'_, str>>; 4] = Default::default();
        for ((text, value), (field, column)) in texts.iter_mut().zip(&values).zip(optional) {
            *text = value.text(field.as_ref().map_or("", |field| &field.name), column)?;
        }
        let [model_version, model_hash, input_hash, pipeline_hash] = &texts;
        let produced_at = match &mapping.produced_at {
            Some(field) => field
                .of(message, fields)
                .time(&field.name, "produced_at", mapping.unit)?,
            None => None,
        };
        let record = Record {
            entity_id: &entity_id,
            ts,
            vector,
            model_version: model_version.as_deref(),
            model_hash: model_hash.as_deref(),
            input_hash: input_hash.as_deref(),
            pipeline_hash: pipeline_hash.as_deref(),
            produced_at,
            attrs: attrs_of(mapping, message, fields, attrs)?,
        };
        Ok(if batch.push(&record, || position(message)) {
            Outcome::Taken
        } else {
            Outcome::Rejected
        })
    }
}

/// Where a message stands: what a dead letter is found by.
fn position<M: Message>(message: &M) -> String {
    format!("{}/{}/{}", message.topic(), message.partition(), message.offset())
}

/// The value that must be there; absent and null are different faults.
fn required<T>(
    found: Option<T>,
    value: &Value<'_>,
    field: &Field,
    null: impl FnOnce() -> RejectReason,
) -> Result<T, RejectReason> {
    found.ok_or_else(|| match value {
        Value::Absent => RejectReason::MissingField {
            field: field.name.clone(),
        },
        _ => null(),
    })
}

fn vector_of<'v>(
    field: &Field,
    value: &Value<'_>,
    vector: &'v mut Vector,
) -> Result<&'v [f32], RejectReason> {
    match value {
        Value::Array(_) => {}
        Value::Text(text) => vector.read_base64(text, &field.name)?,
        Value::Bytes(bytes) => vector.read_bytes(bytes, &field.name)?,
        Value::Null => return Err(RejectReason::NullVector),
        Value::Absent => {
            return Err(RejectReason::MissingField {
                field: field.name.clone(),
            });
        }
        other => {
            return Err(RejectReason::WrongType {
                field: field.name.clone(),
                found: other.kind().into(),
                expected: "an array of numbers or base64",
            });
        }
    }
    vector.get(&field.name)
}

/// The record's attrs as JSON text: an object of the message as it stands, or one made of several fields, of which those
/// that are absent are left out. `buffer` holds the latter.
fn attrs_of<'v, M: Message>(
    mapping: &Mapping,
    message: &'v M,
    fields: &'v Fields<'_>,
    buffer: &'v mut String,
) -> Result<Option<&'v str>, RejectReason> {
    buffer.clear();
    if let Some(field) = &mapping.attrs {
        match field.of(message, fields) {
            Value::Absent | Value::Null => return Ok(None),
            Value::Object(text) => buffer.push_str(&text),
            other => {
                return Err(RejectReason::WrongType {
                    field: field.name.clone(),
                    found: other.kind().into(),
                    expected: "an object",
                });
            }
        }
        return Ok(Some(buffer));
    }
    for (key, field) in &mapping.attrs_members {
        let value = field.of(message, fields);
        if value != Value::Absent {
            buffer.push(if buffer.is_empty() { '{' } else { ',' });
            write_text(key, buffer);
            buffer.push(':');
            value.write_json(buffer);
        }
    }
    if buffer.is_empty() {
        return Ok(None);
    }
    buffer.push('}');
    Ok(Some(buffer))
}

/// What a dead letter keeps of a message: its key and time, and its beginning as `raw` or, where it is no text, `base64`.
fn shown_payload<M: Message>(message: &M, payload: &[u8]) -> Payload {
    let mut shown = Payload::default();
    if let Some(key) = message.key() {
        shown.text("key", Some(key));
    }
    let ts = message.timestamp().to_millis();
    if let Some(Ok(ts)) = ts.map(|millis| from_epoch(millis, EpochUnit::Millis)) {
        shown.text("timestamp", Some(to_text(ts).as_bytes()));
    }
    if std::str::from_utf8(payload).is_ok() {
        if !payload.is_empty() {
            shown.text("raw", Some(payload));
        }
    } else {
        let start = &payload[..payload.len().min(MAX_SHOWN_BYTES)];
        shown.text("base64", Some(STANDARD.encode(start).as_bytes()));
    }
    shown
}
