//! What a field holds, whatever the format of the message, and the texts, times and JSON made of it.

use crate::RejectReason;
use crate::payload::number;
use crate::time::{self, EpochUnit, TimeError};
use std::borrow::Cow;

/// Longest text that may be a time.
const MAX_TIME_BYTES: usize = 64;

/// A field's value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Value<'a> {
    #[default]
    Absent,
    Null,
    Bool(bool),
    Integer(i64),
    /// A number of JSON that is no i64, as it was written.
    Number(Cow<'a, str>),
    Double(f64),
    Text(Cow<'a, str>),
    /// Bytes that may be UTF-8: a key, a header, Avro's bytes.
    Bytes(&'a [u8]),
    /// A time that needs no guess of its unit.
    Time(i64, EpochUnit),
    /// JSON text of an object.
    Object(Cow<'a, str>),
    /// JSON text of an array.
    Array(Cow<'a, str>),
}

/// The fields of one message, by slot.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(Vec<Value<'a>>);

impl<'a> Fields<'a> {
    pub(super) fn new(slots: usize) -> Self {
        Self(vec![Value::Absent; slots])
    }

    pub(super) fn set(&mut self, slot: usize, value: Value<'a>) {
        if let Some(place) = self.0.get_mut(slot) {
            *place = value;
        }
    }

    pub(super) fn get(&self, slot: usize) -> &Value<'a> {
        self.0.get(slot).unwrap_or(&Value::Absent)
    }
}

impl Value<'_> {
    /// The same, without a copy of its text.
    pub(super) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Number(text) => Value::Number(Cow::Borrowed(text)),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Object(text) => Value::Object(Cow::Borrowed(text)),
            Self::Array(text) => Value::Array(Cow::Borrowed(text)),
            &Self::Absent => Value::Absent,
            &Self::Null => Value::Null,
            &Self::Bool(truth) => Value::Bool(truth),
            &Self::Integer(integer) => Value::Integer(integer),
            &Self::Double(double) => Value::Double(double),
            &Self::Bytes(bytes) => Value::Bytes(bytes),
            &Self::Time(count, unit) => Value::Time(count, unit),
        }
    }

    /// What it is, in the words of an error.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Number(_) | Self::Double(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Time(..) => "a time",
            Self::Object(_) => "an object",
            Self::Array(_) => "an array",
        }
    }

    fn wrong(&self, field: &str, expected: &'static str) -> RejectReason {
        RejectReason::WrongType {
            field: field.into(),
            found: self.kind().into(),
            expected,
        }
    }

    /// The value as text: texts and bytes of UTF-8 as they are, numbers as they were written. None where there is none.
    ///
    /// # Errors
    /// Another type, or no UTF-8 (then `column` names it).
    pub(super) fn text(
        &self,
        field: &str,
        column: &'static str,
    ) -> Result<Option<Cow<'_, str>>, RejectReason> {
        Ok(Some(match self {
            Self::Absent | Self::Null => return Ok(None),
            Self::Text(text) | Self::Number(text) => Cow::Borrowed(&**text),
            Self::Integer(integer) => Cow::Owned(integer.to_string()),
            Self::Double(double) => Cow::Owned(double.to_string()),
            Self::Bytes(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|error| RejectReason::InvalidUtf8 {
                    field: column,
                    at: error.valid_up_to(),
                })?;
                Cow::Borrowed(text)
            }
            other => return Err(other.wrong(field, "a text or a number")),
        }))
    }

    /// The same, where a number must be an integer: 7 and 7.0 are one to some writers and two texts.
    pub(super) fn id(&self, field: &str) -> Result<Option<Cow<'_, str>>, RejectReason> {
        let is_integer = |text: &str| text.bytes().all(|c| c == b'-' || c.is_ascii_digit());
        match self {
            Self::Number(text) if !is_integer(text) => Err(self.wrong(field, "a text or an integer")),
            Self::Double(_) => Err(self.wrong(field, "a text or an integer")),
            _ => self.text(field, "entity_id"),
        }
    }

    /// The value as PostgreSQL's microseconds: ISO 8601, or a count since 1970 of `unit`s or else, for integers, of
    /// whatever unit its size speaks for ([`EpochUnit::of_magnitude`]). None where there is none.
    ///
    /// # Errors
    /// Another type, not ISO 8601, or out of range.
    pub(super) fn time(
        &self,
        field: &str,
        column: &'static str,
        unit: Option<EpochUnit>,
    ) -> Result<Option<i64>, RejectReason> {
        let time = match self {
            Self::Absent | Self::Null => return Ok(None),
            &Self::Time(count, unit) => time::from_epoch(count, unit),
            &Self::Integer(count) => {
                time::from_epoch(count, unit.unwrap_or_else(|| EpochUnit::of_magnitude(count)))
            }
            Self::Number(text) => match unit {
                Some(unit) => text
                    .parse()
                    .map_or_else(|_| Err(out_of_range(text)), |x| fraction(x, unit)),
                None => {
                    return Err(self.wrong(field, "an integer, ISO 8601, or a number with timestamp_unit"));
                }
            },
            &Self::Double(count) => match unit {
                Some(unit) => fraction(count, unit),
                None => {
                    return Err(self.wrong(field, "an integer, ISO 8601, or a number with timestamp_unit"));
                }
            },
            Self::Text(text) => iso(text.as_bytes()),
            Self::Bytes(bytes) => iso(bytes),
            other => return Err(other.wrong(field, "a time")),
        };
        time.map(Some)
            .map_err(|error| RejectReason::BadTimestamp { field: column, error })
    }

    /// Appends the value as JSON; bytes that are no UTF-8 become U+FFFD, absent is null.
    pub(super) fn write_json(&self, out: &mut String) {
        match self {
            Self::Absent | Self::Null => out.push_str("null"),
            Self::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Self::Integer(integer) => out.push_str(&integer.to_string()),
            Self::Number(text) | Self::Object(text) | Self::Array(text) => out.push_str(text),
            Self::Double(double) => out.push_str(&number(*double).to_string()),
            Self::Text(text) => write_text(text, out),
            Self::Bytes(bytes) => write_text(&String::from_utf8_lossy(bytes), out),
            &Self::Time(count, unit) => match time::from_epoch(count, unit) {
                Ok(ts) => write_text(&time::to_text(ts), out),
                Err(_) => out.push_str(&count.to_string()),
            },
        }
    }
}

pub(super) fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn iso(bytes: &[u8]) -> Result<i64, TimeError> {
    let shown = &bytes[..bytes.len().min(MAX_TIME_BYTES + 1)];
    time::from_text(&String::from_utf8_lossy(shown))
}

fn out_of_range(text: &str) -> TimeError {
    TimeError::OutOfRange(crate::payload::cut(text, MAX_TIME_BYTES))
}

/// A count with a fraction, to the nearest microsecond.
fn fraction(count: f64, unit: EpochUnit) -> Result<i64, TimeError> {
    let micros = count
        * match unit {
            EpochUnit::Seconds => 1e6,
            EpochUnit::Millis => 1e3,
            EpochUnit::Micros => 1.0,
            EpochUnit::Nanos => 1e-3,
        };
    // A double of seconds has steps of 0.2 microseconds nowadays: what was meant is the nearest microsecond.
    let micros = micros.round();
    if micros.abs() < 9.2e18 {
        time::from_epoch(micros as i64, EpochUnit::Micros)
    } else {
        Err(TimeError::OutOfRange(format!("{count} {}", unit.name())))
    }
}
