//! Flat columns, from Parquet's values to texts, times and JSON. Texts are borrowed from the decoder's
//! buffers, where rows that repeat one share it: copied out, a file of a megabyte could become gigabytes.

use super::kind::Scalar;
use super::leaf::{Leaf, Values};
use crate::payload::number;
use crate::time::{self, EpochUnit, TimeError};
use crate::{MAX_TEXT_BYTES, RejectReason};
use serde_json::Value;
use std::fmt::Write;

/// A flat column being read.
pub(super) struct Flat {
    pub leaf: Leaf,
    kind: Scalar,
    /// The column's name in the file.
    pub name: String,
    /// For each row read the index of its value, None where it is null.
    indexes: Vec<Option<usize>>,
    /// What values that are no text are as text, and where each row's ends.
    printed: String,
    ends: Vec<usize>,
}

impl Flat {
    pub(super) fn new(leaf: Leaf, kind: Scalar, name: String) -> Self {
        Self {
            leaf,
            kind,
            name,
            indexes: Vec::new(),
            printed: String::new(),
            ends: Vec::new(),
        }
    }

    /// Finds the rows among the values that the leaf has just read.
    pub(super) fn index(&mut self, rows: usize) {
        self.indexes.clear();
        self.indexes.extend(self.leaf.indexes(rows));
    }

    /// Makes texts of integers and UUIDs, so that [`Self::text`] may be asked for them.
    pub(super) fn print(&mut self) {
        self.printed.clear();
        self.ends.clear();
        if matches!(self.leaf.values, Values::Bytes(_)) {
            return;
        }
        for index in self.indexes.iter().flatten() {
            match &self.leaf.values {
                Values::Fixed(values) => push_uuid(&mut self.printed, values[*index].data()),
                // Writing into a String cannot fail.
                _ => drop(write!(self.printed, "{}", integer(&self.leaf, self.kind, *index))),
            }
            self.ends.push(self.printed.len());
        }
    }

    /// The text of a row, which is not yet known to be UTF-8: text as it is, integers in decimal, UUIDs in
    /// their usual form.
    pub(super) fn text(&self, row: usize) -> Option<&[u8]> {
        let index = (*self.indexes.get(row)?)?;
        if let Values::Bytes(values) = &self.leaf.values {
            return Some(values[index].data());
        }
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.printed.as_bytes()[start..self.ends[index]])
    }

    /// The same as UTF-8.
    pub(super) fn utf8(&self, row: usize, field: &'static str) -> Result<Option<&str>, RejectReason> {
        self.text(row).map(|bytes| utf8(bytes, field)).transpose()
    }

    /// The time of a row in PostgreSQL's microseconds, None where it is null; `unit` is what integers count.
    pub(super) fn time(&self, row: usize, unit: EpochUnit) -> Result<Option<i64>, TimeError> {
        let Some(index) = self.indexes[row] else {
            return Ok(None);
        };
        let time = match (&self.leaf.values, self.kind) {
            (Values::Bytes(values), _) => {
                let bytes = values[index].data();
                time::from_text(&String::from_utf8_lossy(
                    &bytes[..bytes.len().min(MAX_TIME_BYTES)],
                ))?
            }
            (Values::Int96(values), _) => {
                let [low, high, day] = values[index].data() else {
                    return Ok(None);
                };
                time::from_julian(*day, (u64::from(*high) << 32 | u64::from(*low)) as i64)?
            }
            (_, Scalar::Date) => time::from_days(integer_i64(&self.leaf, self.kind, index))?,
            (_, Scalar::Time(unit)) => time::from_epoch(integer_i64(&self.leaf, self.kind, index), unit)?,
            _ => time::from_epoch(integer_i64(&self.leaf, self.kind, index), unit)?,
        };
        Ok(Some(time))
    }

    /// The value of a row as JSON; times are ISO 8601 text.
    pub(super) fn json(&self, row: usize) -> Result<Value, RejectReason> {
        let Some(index) = self.indexes[row] else {
            return Ok(Value::Null);
        };
        Ok(match (&self.leaf.values, self.kind) {
            (Values::Bool(values), _) => values[index].into(),
            (Values::Float(values), _) => number(shortest(values[index])),
            (Values::Double(values), _) => number(values[index]),
            (Values::Bytes(values), _) => utf8(values[index].data(), "attrs")?.into(),
            (Values::Fixed(values), _) => {
                let mut text = String::new();
                push_uuid(&mut text, values[index].data());
                text.into()
            }
            (_, Scalar::Signed) => integer_i64(&self.leaf, self.kind, index).into(),
            (_, Scalar::Unsigned) => u64::try_from(integer(&self.leaf, self.kind, index)).ok().into(),
            _ => match self.time(row, EpochUnit::Micros) {
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
}

/// Longer than any timestamp in ISO 8601.
const MAX_TIME_BYTES: usize = 256;

/// Text of a size that may be stored, as UTF-8.
fn utf8<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, RejectReason> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(RejectReason::TextTooLong {
            field,
            bytes: bytes.len(),
        });
    }
    std::str::from_utf8(bytes).map_err(|e| RejectReason::InvalidUtf8 {
        field,
        at: e.valid_up_to(),
    })
}

/// A value of an integer column; wide enough for uint64. 0 for other columns, which are not asked.
fn integer(leaf: &Leaf, kind: Scalar, index: usize) -> i128 {
    match (&leaf.values, kind) {
        (Values::Int32(values), Scalar::Unsigned) => (values[index] as u32).into(),
        (Values::Int64(values), Scalar::Unsigned) => (values[index] as u64).into(),
        (Values::Int32(values), _) => values[index].into(),
        (Values::Int64(values), _) => values[index].into(),
        _ => 0,
    }
}

/// The same as an i64: what is larger is out of every range of times anyway.
pub(super) fn integer_i64(leaf: &Leaf, kind: Scalar, index: usize) -> i64 {
    integer(leaf, kind, index).try_into().unwrap_or(i64::MAX - 1)
}

fn push_uuid(text: &mut String, bytes: &[u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
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
        let mut text = String::new();
        push_uuid(&mut text, &bytes);
        assert_eq!(text, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(number(shortest(0.1)).to_string(), "0.1");
        assert_eq!(number(shortest(f32::NAN)), "NaN");
    }
}
