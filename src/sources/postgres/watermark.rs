//! How far a table was read: the greatest value of its incremental column, and which rows with that value were.

use super::columns::{ENTITY, TS, ValueKind};
use super::decode::{Fields, incremental, int, value_text};
use crate::{ErrorKind, Position, SourceError};
use serde_json::{Value, json};

/// The one part of a table.
pub(super) const PART: &str = "";

/// A number of rows and the sum of a hash of their keys: tells whether two sets of rows are the same whatever their
/// order and number, in 24 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ties {
    rows: u64,
    keys: u128,
}

impl Ties {
    /// Takes one more row into account: FNV-1a (128 bits, the parameters of draft-eastlake-fnv) of its key, each part
    /// behind its length, so that no two keys are the same bytes.
    pub(super) fn add(&mut self, fields: &Fields<'_>) {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let mut hash = BASIS;
        let mut take = |bytes: &[u8]| {
            for &byte in bytes {
                hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
            }
        };
        for field in [fields[ENTITY], fields[TS]] {
            let length = field.map_or(u64::MAX, |bytes| bytes.len() as u64);
            take(&length.to_be_bytes());
            take(field.unwrap_or_default());
        }
        self.rows += 1;
        self.keys = self.keys.wrapping_add(hash);
    }
}

/// A watermark.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    pub column: String,
    /// None: only the rows without a value were read.
    pub value: Option<String>,
    pub ties: Ties,
}

impl Mark {
    pub(super) fn position(&self) -> Position {
        let Ties { rows, keys } = self.ties;
        let value =
            json!({"column": self.column, "value": self.value, "rows": rows, "keys": format!("{keys:032x}")});
        Position {
            part: PART.into(),
            value: Some(value),
        }
    }

    /// The mark that a position holds.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it is no position of this connector.
    pub(super) fn parse(position: &Value) -> Result<Self, SourceError> {
        let parse = || {
            let keys = u128::from_str_radix(position["keys"].as_str()?, 16).ok()?;
            let value = match &position["value"] {
                Value::Null => None,
                value => Some(value.as_str()?.to_owned()),
            };
            Some(Self {
                column: position["column"].as_str()?.to_owned(),
                value,
                ties: Ties {
                    rows: position["rows"].as_u64()?,
                    keys,
                },
            })
        };
        parse().ok_or_else(|| {
            SourceError::new(
                ErrorKind::Config,
                "the watermark of the source is not one of a table",
            )
            .detail(position.to_string())
            .hint("Read everything anew: cvx.sync_source(name, full => true).")
        })
    }
}

/// The order in which rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Of the incremental column: what was read so far can be gone on from.
    Ascending,
    /// None: only the end tells how far the table was read.
    Any,
}

/// Follows the incremental column over the rows that are read.
#[derive(Debug)]
pub(super) struct Tracker {
    column: String,
    kind: ValueKind,
    greatest: Option<Vec<u8>>,
    ties: Ties,
}

impl Tracker {
    pub(super) fn new(column: &str, kind: ValueKind) -> Self {
        Self {
            column: column.to_owned(),
            kind,
            greatest: None,
            ties: Ties::default(),
        }
    }

    /// Takes a row into account. Texts are only followed in ascending order: how they compare is the server's matter.
    pub(super) fn add(&mut self, fields: &Fields<'_>, order: Order) {
        let Some(value) = incremental(fields, self.kind) else {
            return;
        };
        match &mut self.greatest {
            Some(greatest) if greatest == value => {}
            Some(greatest) if order == Order::Any && int(value) < int(greatest) => return,
            Some(greatest) => {
                greatest.clear();
                greatest.extend_from_slice(value);
                self.ties = Ties::default();
            }
            None => self.greatest = Some(value.to_vec()),
        }
        self.ties.add(fields);
    }

    /// What was read so far, None when nothing that tells.
    pub(super) fn mark(&self) -> Option<Mark> {
        let value = value_text(self.greatest.as_ref()?, self.kind);
        Some(Mark {
            column: self.column.clone(),
            value: Some(value),
            ties: self.ties,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::columns::{FIELDS, INCREMENTAL};

    fn row<'a>(entity: Option<&'a [u8]>, value: &'a [u8]) -> Fields<'a> {
        let mut fields = [None; FIELDS];
        fields[ENTITY] = entity;
        fields[TS] = Some(value);
        fields[INCREMENTAL] = Some(value);
        fields
    }

    fn ties(entities: &[Option<&[u8]>]) -> Ties {
        let mut ties = Ties::default();
        entities
            .iter()
            .for_each(|&entity| ties.add(&row(entity, &[0; 8])));
        ties
    }

    #[test]
    fn ties_tell_sets_apart() {
        assert_eq!(ties(&[Some(b"a"), Some(b"b")]), ties(&[Some(b"b"), Some(b"a")]));
        assert_ne!(ties(&[Some(b"a"), Some(b"b")]), ties(&[Some(b"a"), Some(b"c")]));
        assert_ne!(ties(&[Some(b"a"), Some(b"a")]), ties(&[Some(b"a")]));
        assert_ne!(ties(&[None]), ties(&[Some(b"")]));
        // FNV-1a of the empty text is its basis: nothing but the two lengths and eight zeros went in.
        assert_ne!(ties(&[None]).keys, 0);
    }

    #[test]
    fn the_greatest_value_and_its_rows_are_kept_in_any_order() {
        let [one, two] = [1i64, 2].map(i64::to_be_bytes);
        let infinity = i64::MAX.to_be_bytes();
        let mut tracker = Tracker::new("seq", ValueKind::Micros);
        assert_eq!(tracker.mark(), None);
        for (entity, value) in [(b"a", &two), (b"b", &one), (b"c", &two), (b"d", &infinity)] {
            tracker.add(&row(Some(entity), value), Order::Any);
        }
        let mark = tracker.mark().unwrap();
        assert_eq!(mark.value.as_deref(), Some("2000-01-01 00:00:00.000002"));
        assert_eq!(mark.ties.rows, 2);
        let position = mark.position();
        assert_eq!(Mark::parse(position.value.as_ref().unwrap()), Ok(mark));
        assert_eq!(
            Mark::parse(&json!({"offset": 1})).unwrap_err().kind,
            ErrorKind::Config
        );
    }
}
