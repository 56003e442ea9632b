//! Flat columns, from Parquet's values to texts, times and JSON.

use super::kind::Scalar;
use super::leaf::{Leaf, Values};
use crate::RejectReason;
use crate::payload::number;
use crate::time::{self, EpochUnit, TimeError};
use serde_json::Value;
use std::fmt::Write;

/// Texts of a batch as bytes that are not yet known to be UTF-8.
#[derive(Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    spans: Vec<Option<(usize, usize)>>,
}

impl Texts {
    pub(super) fn get(&self, row: usize) -> Option<&[u8]> {
        let (start, end) = (*self.spans.get(row)?)?;
        self.bytes.get(start..end)
    }

    /// The text of a row as UTF-8.
    pub(super) fn utf8(&self, row: usize, field: &'static str) -> Result<Option<&str>, RejectReason> {
        self.get(row)
            .map(|bytes| {
                std::str::from_utf8(bytes).map_err(|e| RejectReason::InvalidUtf8 {
                    field,
                    at: e.valid_up_to(),
                })
            })
            .transpose()
    }

    /// Replaces what is held by `rows` rows of a column: text as it is, integers in decimal, UUIDs in
    /// canonical form.
    pub(super) fn decode(&mut self, leaf: &Leaf, kind: Scalar, rows: usize) {
        self.bytes.clear();
        self.spans.clear();
        let mut digits = String::new();
        for index in leaf.indexes(rows) {
            let start = self.bytes.len();
            if let Some(index) = index {
                match &leaf.values {
                    Values::Bytes(values) => self.bytes.extend_from_slice(values[index].data()),
                    Values::Fixed(values) => self
                        .bytes
                        .extend_from_slice(uuid(values[index].data()).as_bytes()),
                    _ => {
                        digits.clear();
                        // Writing into a String cannot fail.
                        let _ = write!(digits, "{}", integer(leaf, kind, index).unwrap_or_default());
                        self.bytes.extend_from_slice(digits.as_bytes());
                    }
                }
            }
            self.spans.push(index.map(|_| (start, self.bytes.len())));
        }
    }
}

/// A value of an integer column; wide enough for uint64.
fn integer(leaf: &Leaf, kind: Scalar, index: usize) -> Option<i128> {
    Some(match (&leaf.values, kind) {
        (Values::Int32(values), Scalar::Unsigned) => (values[index] as u32).into(),
        (Values::Int64(values), Scalar::Unsigned) => (values[index] as u64).into(),
        (Values::Int32(values), _) => values[index].into(),
        (Values::Int64(values), _) => values[index].into(),
        _ => return None,
    })
}

/// The same as an i64: what is larger is out of every range anyway.
pub(super) fn integer_i64(leaf: &Leaf, kind: Scalar, index: usize) -> i64 {
    let value = integer(leaf, kind, index).unwrap_or_default();
    value.try_into().unwrap_or(i64::MAX - 1)
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A time of a row, None where it is null, in PostgreSQL's microseconds; `unit` is what integers count.
pub(super) fn time_at(
    leaf: &Leaf,
    kind: Scalar,
    unit: EpochUnit,
    index: Option<usize>,
) -> Result<Option<i64>, TimeError> {
    let Some(index) = index else { return Ok(None) };
    let time = match (&leaf.values, kind) {
        (Values::Bytes(values), _) => {
            let text = String::from_utf8_lossy(values[index].data());
            time::from_text(&text)?
        }
        (Values::Int96(values), _) => {
            let [low, high, day] = values[index].data() else {
                return Ok(None);
            };
            time::from_julian(*day, (u64::from(*high) << 32 | u64::from(*low)) as i64)?
        }
        (_, Scalar::Date) => time::from_days(integer_i64(leaf, kind, index))?,
        (_, Scalar::Time(unit)) => time::from_epoch(integer_i64(leaf, kind, index), unit)?,
        _ => time::from_epoch(integer_i64(leaf, kind, index), unit)?,
    };
    Ok(Some(time))
}

/// A value of a row as JSON; times are ISO 8601 text.
pub(super) fn json_at(leaf: &Leaf, kind: Scalar, index: Option<usize>) -> Result<Value, RejectReason> {
    let Some(index) = index else {
        return Ok(Value::Null);
    };
    Ok(match (&leaf.values, kind) {
        (Values::Bool(values), _) => values[index].into(),
        (Values::Float(values), _) => number(shortest(values[index])),
        (Values::Double(values), _) => number(values[index]),
        (Values::Bytes(values), _) => std::str::from_utf8(values[index].data())
            .map_err(|e| RejectReason::InvalidUtf8 {
                field: "attrs",
                at: e.valid_up_to(),
            })?
            .into(),
        (Values::Fixed(values), _) => uuid(values[index].data()).into(),
        (_, Scalar::Signed) => integer_i64(leaf, kind, index).into(),
        (_, Scalar::Unsigned) => integer(leaf, kind, index)
            .and_then(|v| u64::try_from(v).ok())
            .into(),
        _ => match time_at(leaf, kind, EpochUnit::Micros, Some(index)) {
            Ok(time) => time.map(time::to_text).into(),
            Err(error) => {
                return Err(RejectReason::BadTimestamp {
                    field: "attrs",
                    error,
                });
            }
        },
    })
}

/// The double that prints as the float does: 0.1 rather than 0.10000000149.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(x.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_and_floats_print_as_people_write_them() {
        let bytes: Vec<u8> = (0..16).map(|i| i * 0x11).collect();
        assert_eq!(uuid(&bytes), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(number(shortest(0.1)).to_string(), "0.1");
        assert_eq!(number(shortest(f32::NAN)), "NaN");
    }
}
