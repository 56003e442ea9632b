//! Which field of a message is which column.

use super::config::Config;
use super::paths::Node;
use super::value::{Fields, Value};
use crate::time::EpochUnit;
use crate::{ErrorKind, SourceError};
use rdkafka::Message;
use rdkafka::message::Headers;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A field of the configuration.
#[derive(Debug)]
pub(super) struct Field {
    /// As the configuration has it.
    pub name: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Slot(usize),
    Key,
    Timestamp,
    Topic,
    Partition,
    Offset,
    Header(String),
}

/// All fields of a source.
#[derive(Debug)]
pub(super) struct Mapping {
    pub root: Node,
    pub slots: usize,
    pub entity_id: Field,
    pub vector: Field,
    pub timestamp: Field,
    pub unit: Option<EpochUnit>,
    pub model_version: Option<Field>,
    pub model_hash: Option<Field>,
    pub input_hash: Option<Field>,
    pub pipeline_hash: Option<Field>,
    pub produced_at: Option<Field>,
    pub attrs: Option<Field>,
    /// With the key that each has in the object.
    pub attrs_members: Vec<(String, Field)>,
}

impl Mapping {
    /// # Errors
    /// [`ErrorKind::Config`]: an empty path, an unknown `$` name or unit, `attrs_field` beside `attrs_fields`.
    pub(super) fn new(config: &Config) -> Result<Self, SourceError> {
        if config.attrs_field.is_some() && !config.attrs_fields.is_empty() {
            return Err(error("attrs_field and attrs_fields exclude each other"));
        }
        let unit = config.timestamp_unit.as_deref().map(|name| {
            EpochUnit::from_name(name)
                .ok_or_else(|| error(format!("timestamp_unit is {name:?}, not one of s, ms, us, ns")))
        });
        let (mut root, mut slots) = (Node::default(), 0);
        let vector = Field {
            name: config.vector_field.clone(),
            place: match config.vector_field.strip_prefix('$') {
                Some(_) => place("vector_field", &config.vector_field, &mut root, &mut slots)?,
                None => {
                    check_path("vector_field", &config.vector_field)?;
                    Place::Slot(root.add_vector(&config.vector_field, &mut slots))
                }
            },
        };
        let mut field = |key: &str, name: &str| -> Result<Field, SourceError> {
            Ok(Field {
                name: name.to_owned(),
                place: place(key, name, &mut root, &mut slots)?,
            })
        };
        let entity_id = field("entity_id_field", &config.entity_id_field)?;
        let timestamp = field("timestamp_field", &config.timestamp_field)?;
        let mut optional = |key: &str, name: &Option<String>| -> Result<Option<Field>, SourceError> {
            name.as_ref().map(|name| field(key, name)).transpose()
        };
        let model_version = optional("model_version_field", &config.model_version_field)?;
        let model_hash = optional("model_hash_field", &config.model_hash_field)?;
        let input_hash = optional("input_hash_field", &config.input_hash_field)?;
        let pipeline_hash = optional("pipeline_hash_field", &config.pipeline_hash_field)?;
        let produced_at = optional("produced_at_field", &config.produced_at_field)?;
        let attrs = optional("attrs_field", &config.attrs_field)?;
        let mut attrs_members = Vec::new();
        for name in &config.attrs_fields {
            let last = name.rsplit(['.', '$']).next().unwrap_or_default();
            if attrs_members.iter().any(|(key, _)| key == last) {
                return Err(error(format!(
                    "attrs_fields has two fields whose last part is {last:?}"
                )));
            }
            attrs_members.push((last.to_owned(), field("attrs_fields", name)?));
        }
        Ok(Self {
            unit: unit.transpose()?,
            entity_id,
            vector,
            timestamp,
            model_version,
            model_hash,
            input_hash,
            pipeline_hash,
            produced_at,
            attrs,
            attrs_members,
            root,
            slots,
        })
    }

    /// Whether the record's time is that which Kafka keeps, by which offsets can be looked up.
    pub(super) fn has_kafka_time(&self) -> bool {
        matches!(self.timestamp.place, Place::Timestamp)
    }
}

impl Field {
    /// Its value in a message, whose own fields have been read.
    pub(super) fn of<'v, M: Message>(&self, message: &'v M, fields: &'v Fields<'_>) -> Value<'v> {
        match &self.place {
            Place::Slot(slot) => fields.get(*slot).borrowed(),
            Place::Key => message.key().map_or(Value::Null, Value::Bytes),
            Place::Timestamp => match message.timestamp().to_millis() {
                Some(millis) => Value::Time(millis, EpochUnit::Millis),
                None => Value::Null,
            },
            Place::Topic => Value::Text(message.topic().into()),
            Place::Partition => Value::Integer(message.partition().into()),
            Place::Offset => Value::Integer(message.offset()),
            Place::Header(name) => header(message, name),
        }
    }
}

/// The last header of that name.
fn header<'v, M: Message>(message: &'v M, name: &str) -> Value<'v> {
    let Some(headers) = message.headers() else {
        return Value::Absent;
    };
    // The client library panics on a header whose name is no UTF-8; such a header is none of ours.
    let read = |at| {
        catch_unwind(AssertUnwindSafe(|| headers.try_get(at)))
            .ok()
            .flatten()
    };
    let found = (0..headers.count())
        .rev()
        .filter_map(read)
        .find(|header| header.key == name);
    found.map_or(Value::Absent, |header| {
        header.value.map_or(Value::Null, Value::Bytes)
    })
}

fn place(key: &str, name: &str, root: &mut Node, slots: &mut usize) -> Result<Place, SourceError> {
    Ok(match name {
        "$key" => Place::Key,
        "$timestamp" => Place::Timestamp,
        "$topic" => Place::Topic,
        "$partition" => Place::Partition,
        "$offset" => Place::Offset,
        _ => match name.strip_prefix("$headers.") {
            Some(header) if !header.is_empty() => Place::Header(header.to_owned()),
            None if !name.starts_with('$') => {
                check_path(key, name)?;
                Place::Slot(root.add(name, slots))
            }
            _ => {
                let known = "$key, $timestamp, $topic, $partition, $offset, $headers.NAME";
                return Err(error(format!("{key} is {name:?}, which is none of {known}")));
            }
        },
    })
}

fn check_path(key: &str, path: &str) -> Result<(), SourceError> {
    if path.split('.').any(str::is_empty) {
        return Err(error(format!("{key} is {path:?}, which is no dotted path")));
    }
    Ok(())
}

fn error(message: impl Into<String>) -> SourceError {
    SourceError::new(ErrorKind::Config, message)
}
