//! Why a row is refused, and the check that every row of every connector passes.

use crate::record::{MAX_DIMS, MAX_ENTITY_ID_BYTES, MAX_TEXT_BYTES, Record};
use crate::time::{END_TS, MIN_TS, TimeError, to_text};
use serde_json::Value;
use std::fmt;

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Reject {
    /// Where it stands in its source, such as `/data/a.parquet#17` (row 17 of the file, counted from 0).
    pub position: String,
    /// What is wrong with it.
    pub reason: RejectReason,
    /// What was read of the row, as a JSON object of bounded size (see [`crate::Payload`]).
    pub payload: String,
}

/// What is wrong with a row. The text (`Display`) shows the offending value.
#[derive(Debug, Clone, PartialEq)]
pub enum RejectReason {
    NullEntityId,
    EmptyEntityId,
    EntityIdTooLong {
        bytes: usize,
    },
    NulCharacter {
        field: &'static str,
    },
    InvalidUtf8 {
        field: &'static str,
        at: usize,
    },
    TextTooLong {
        field: &'static str,
        bytes: usize,
    },
    NullTimestamp,
    BadTimestamp {
        field: &'static str,
        error: TimeError,
    },
    NullVector,
    NullElement {
        index: usize,
    },
    NotANumber {
        index: usize,
    },
    InfiniteElement {
        index: usize,
        value: f64,
    },
    ElementOverflow {
        index: usize,
        value: f64,
    },
    WrongDimension {
        found: usize,
        expected: usize,
    },
    TooManyDimensions {
        found: usize,
    },
    ZeroVector,
    ModelMismatch {
        field: &'static str,
        named: String,
        registered: String,
    },
    InvalidAttrs {
        error: String,
    },
    /// Not what its format claims: no JSON, no Avro of the schema it names.
    Malformed {
        error: String,
    },
    MissingField {
        field: String,
    },
    WrongType {
        field: String,
        found: String,
        expected: &'static str,
    },
    TooLarge {
        bytes: usize,
        limit: usize,
    },
    /// What an earlier run refused is not in the source any more.
    Gone,
    /// Records that expired before they were read, where the source is told to go on.
    RetentionGap {
        records: u64,
    },
    /// The table's own constraints or triggers refused it.
    RefusedByTable {
        sqlstate: String,
        message: String,
    },
}

impl RejectReason {
    /// A name that stays the same across releases, for counting and for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NullEntityId => "null_entity_id",
            Self::EmptyEntityId => "empty_entity_id",
            Self::EntityIdTooLong { .. } => "entity_id_too_long",
            Self::NulCharacter { .. } => "nul_character",
            Self::InvalidUtf8 { .. } => "invalid_utf8",
            Self::TextTooLong { .. } => "text_too_long",
            Self::NullTimestamp => "null_timestamp",
            Self::BadTimestamp {
                error: TimeError::NotIso(_),
                ..
            } => "invalid_timestamp",
            Self::BadTimestamp {
                error: TimeError::Infinite(_),
                ..
            } => "infinite_timestamp",
            Self::BadTimestamp {
                error: TimeError::OutOfRange(_),
                ..
            } => "timestamp_out_of_range",
            Self::NullVector => "null_vector",
            Self::NullElement { .. } => "null_element",
            Self::NotANumber { .. } => "not_a_number",
            Self::InfiniteElement { .. } => "infinite_element",
            Self::ElementOverflow { .. } => "element_overflow",
            Self::WrongDimension { .. } => "wrong_dimension",
            Self::TooManyDimensions { .. } => "too_many_dimensions",
            Self::ZeroVector => "zero_vector",
            Self::ModelMismatch { .. } => "model_mismatch",
            Self::InvalidAttrs { .. } => "invalid_attrs",
            Self::Malformed { .. } => "malformed",
            Self::MissingField { .. } => "missing_field",
            Self::WrongType { .. } => "wrong_type",
            Self::TooLarge { .. } => "too_large",
            Self::Gone => "gone",
            Self::RetentionGap { .. } => "retention_gap",
            Self::RefusedByTable { .. } => "refused_by_table",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NullEntityId | Self::EmptyEntityId => "Give every row the id of its entity.",
            Self::EntityIdTooLong { .. } => {
                "Use a shorter key of the entity, such as a hash of the long one."
            }
            Self::NulCharacter { .. } => "PostgreSQL's text cannot hold the character U+0000; strip it.",
            Self::InvalidUtf8 { .. } => "Write text as UTF-8, and binary keys as hex or base64.",
            Self::TextTooLong { .. } => "Keep large values elsewhere and store their hash or address.",
            Self::NullTimestamp => "Give every row the time at which its embedding holds.",
            Self::BadTimestamp { error, .. } => match error {
                TimeError::NotIso(_) => "Write timestamps as ISO 8601, such as 2026-01-31T12:00:00Z.",
                TimeError::Infinite(_) => "A point of a trajectory has a finite time.",
                TimeError::OutOfRange(_) => {
                    "Check the unit of the timestamps (s, ms, us, ns); PostgreSQL holds 4714 BC to 294276 AD."
                }
            },
            Self::NullVector => "Leave out rows without an embedding.",
            Self::NullElement { .. } | Self::NotANumber { .. } | Self::InfiniteElement { .. } => {
                "Every element must be a finite number; look for overflow or a failed batch in the model."
            }
            Self::ElementOverflow { .. } => {
                "Vectors are stored as 32-bit floats, up to 3.4e38; scale the embedding."
            }
            Self::WrongDimension { .. } => {
                "A space holds one dimension; embeddings of another model need their own space."
            }
            Self::TooManyDimensions { .. } => "pgvector holds at most 16000 dimensions.",
            Self::ZeroVector => "A zero vector has no direction; it often stands for a failed embedding.",
            Self::ModelMismatch { .. } => {
                "Vectors of two models cannot be compared: write them to a space of their own, registered with \
                 cvx.create_model; or SET cvx.model_mismatch = 'warning' if only the name differs."
            }
            Self::InvalidAttrs { .. } => "attrs must be JSON that jsonb can hold.",
            Self::Malformed { .. } => {
                "Check the format that the source is configured for against what it sends."
            }
            Self::MissingField { .. } | Self::WrongType { .. } => {
                "Check the names of the fields in the source's configuration against what it sends."
            }
            Self::TooLarge { .. } => "Keep large values elsewhere and store their hash or address.",
            Self::Gone => "Delete the dead letter, or send the record again.",
            Self::RetentionGap { .. } => {
                "Read more often than the source forgets, or have it keep records for longer."
            }
            Self::RefusedByTable { .. } => {
                "Mend what the constraint or trigger objects to, then cvx.replay_dead_letters(source)."
            }
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NullEntityId => f.write_str("entity id is null"),
            Self::EmptyEntityId => f.write_str("entity id is empty"),
            Self::EntityIdTooLong { bytes } => {
                write!(f, "entity id has {bytes} bytes, more than {MAX_ENTITY_ID_BYTES}")
            }
            Self::NulCharacter { field } => write!(f, "{field} holds a NUL character"),
            Self::InvalidUtf8 { field, at } => write!(f, "{field} is not UTF-8 from byte {at} on"),
            Self::TextTooLong { field, bytes } => {
                write!(f, "{field} has {bytes} bytes, more than {MAX_TEXT_BYTES}")
            }
            Self::NullTimestamp => f.write_str("timestamp is null"),
            Self::BadTimestamp { field, error } => match error {
                TimeError::NotIso(value) => write!(f, "{field} \"{value}\" is not ISO 8601"),
                TimeError::Infinite(value) => write!(f, "{field} is {value}"),
                TimeError::OutOfRange(value) => write!(f, "{field} {value} is out of range"),
            },
            Self::NullVector => f.write_str("vector is null"),
            Self::NullElement { index } => write!(f, "vector element {index} is null"),
            Self::NotANumber { index } => write!(f, "vector element {index} is NaN"),
            Self::InfiniteElement { index, value } => {
                write!(
                    f,
                    "vector element {index} is {}Infinity",
                    if *value < 0.0 { "-" } else { "" }
                )
            }
            Self::ElementOverflow { index, value } => {
                write!(
                    f,
                    "vector element {index} is {value:e}, too large for a 32-bit float"
                )
            }
            Self::WrongDimension { found, expected } => {
                write!(f, "vector has {found} dimensions, the space has {expected}")
            }
            Self::TooManyDimensions { found } => {
                write!(f, "vector has {found} dimensions, more than {MAX_DIMS}")
            }
            Self::ZeroVector => f.write_str("vector is all zero"),
            Self::ModelMismatch {
                field,
                named,
                registered,
            } => {
                write!(
                    f,
                    "{field} is {named:?}, the space is registered for {registered:?}"
                )
            }
            Self::InvalidAttrs { error } => write!(f, "attrs: {error}"),
            Self::Malformed { error } => write!(f, "record cannot be decoded: {error}"),
            Self::MissingField { field } => write!(f, "record has no field {field:?}"),
            Self::WrongType {
                field,
                found,
                expected,
            } => {
                write!(f, "field {field:?} is {found}, expected {expected}")
            }
            Self::TooLarge { bytes, limit } => write!(f, "record has {bytes} bytes, more than {limit}"),
            Self::Gone => f.write_str("record is not in the source any more"),
            Self::RetentionGap { records } => {
                write!(f, "{records} records expired in the source before they were read")
            }
            Self::RefusedByTable { sqlstate, message } => write!(f, "{message} (SQLSTATE {sqlstate})"),
        }
    }
}

/// Whether a record may stand in a space of `dims` dimensions. Vector elements are counted from 0 in
/// messages.
///
/// # Errors
/// The first thing wrong, in the order entity, time, vector, provenance.
pub fn validate(record: &Record<'_>, dims: usize) -> Result<(), RejectReason> {
    validate_entity_id(record.entity_id)?;
    validate_time("timestamp", record.ts)?;
    validate_vector(record.vector, dims)?;
    let texts = [
        ("model_version", record.model_version),
        ("model_hash", record.model_hash),
        ("input_hash", record.input_hash),
        ("pipeline_hash", record.pipeline_hash),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            validate_text(field, text)?;
        }
    }
    if let Some(produced_at) = record.produced_at {
        validate_time("produced_at", produced_at)?;
    }
    record.attrs.map_or(Ok(()), validate_attrs)
}

fn validate_entity_id(id: &str) -> Result<(), RejectReason> {
    if id.is_empty() {
        return Err(RejectReason::EmptyEntityId);
    }
    if id.len() > MAX_ENTITY_ID_BYTES {
        return Err(RejectReason::EntityIdTooLong { bytes: id.len() });
    }
    validate_text("entity_id", id)
}

fn validate_text(field: &'static str, text: &str) -> Result<(), RejectReason> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(RejectReason::TextTooLong {
            field,
            bytes: text.len(),
        });
    }
    if text.as_bytes().contains(&0) {
        return Err(RejectReason::NulCharacter { field });
    }
    Ok(())
}

fn validate_time(field: &'static str, ts: i64) -> Result<(), RejectReason> {
    let error = match ts {
        i64::MAX => TimeError::Infinite("infinity".into()),
        i64::MIN => TimeError::Infinite("-infinity".into()),
        ts if !(MIN_TS..END_TS).contains(&ts) => TimeError::OutOfRange(to_text(ts)),
        _ => return Ok(()),
    };
    Err(RejectReason::BadTimestamp { field, error })
}

fn validate_vector(vector: &[f32], dims: usize) -> Result<(), RejectReason> {
    if vector.len() > MAX_DIMS {
        return Err(RejectReason::TooManyDimensions { found: vector.len() });
    }
    if vector.len() != dims {
        return Err(RejectReason::WrongDimension {
            found: vector.len(),
            expected: dims,
        });
    }
    // The largest bit pattern without its sign tells both zero and not finite, in one pass the compiler
    // vectorizes.
    let largest = vector.iter().map(|x| x.to_bits() & 0x7fff_ffff).fold(0, u32::max);
    if largest == 0 {
        return Err(RejectReason::ZeroVector);
    }
    if largest < f32::INFINITY.to_bits() {
        return Ok(());
    }
    let index = vector.iter().position(|x| !x.is_finite()).unwrap_or_default();
    Err(match vector[index] {
        x if x.is_nan() => RejectReason::NotANumber { index },
        x => RejectReason::InfiniteElement {
            index,
            value: x.into(),
        },
    })
}

/// Whether a text is JSON that PostgreSQL's jsonb takes: numbers within a double's range, no NUL character,
/// nesting of at most 128.
pub fn validate_attrs(attrs: &str) -> Result<(), RejectReason> {
    if attrs.len() > MAX_TEXT_BYTES {
        return Err(RejectReason::TextTooLong {
            field: "attrs",
            bytes: attrs.len(),
        });
    }
    let value: Value =
        serde_json::from_str(attrs).map_err(|e| RejectReason::InvalidAttrs { error: e.to_string() })?;
    if has_nul(&value) {
        Err(RejectReason::NulCharacter { field: "attrs" })
    } else {
        Ok(())
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(key, item)| key.contains('\0') || has_nul(item)),
        _ => false,
    }
}

#[cfg(test)]
#[path = "reject_tests.rs"]
mod tests;
