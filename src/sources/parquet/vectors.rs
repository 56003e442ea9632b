//! The list column: rows out of levels, and float32 out of whatever the elements are.

use super::columns::VectorColumn;
use super::leaf::{Leaf, Values};
use crate::RejectReason;
use half::f16;

/// One row's list.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Row {
    Null,
    /// Values from `start` on.
    Full {
        start: usize,
        len: usize,
    },
    /// The same with nulls among them, the first of them at `null`.
    Holed {
        start: usize,
        len: usize,
        null: usize,
    },
}

/// The vectors of a batch.
#[derive(Default)]
pub(super) struct Vectors {
    rows: Vec<Row>,
    /// float32 of other elements; float32 itself is read where the decoder put it.
    converted: Vec<f32>,
}

impl Vectors {
    /// Replaces what is held by what the leaf has read. Returns the number of rows.
    pub(super) fn decode(&mut self, leaf: &Leaf, column: &VectorColumn, dims: usize) -> usize {
        self.rows.clear();
        self.converted.clear();
        split_rows(&leaf.rep, &leaf.def, column, dims, &mut self.rows);
        match &leaf.values {
            Values::Double(values) => self.converted.extend(values.iter().map(|&x| x as f32)),
            Values::Fixed(values) => self.converted.extend(values.iter().map(|x| half(x.data()))),
            _ => {}
        }
        self.rows.len()
    }

    /// The vector of a row.
    ///
    /// # Errors
    /// It is null, or has a null element, or one that float32 cannot hold.
    pub(super) fn get<'a>(&'a self, leaf: &'a Leaf, row: usize) -> Result<&'a [f32], RejectReason> {
        let (start, len) = match self.rows.get(row) {
            Some(&Row::Full { start, len }) => (start, len),
            Some(&Row::Holed { null, .. }) => return Err(RejectReason::NullElement { index: null }),
            Some(Row::Null) | None => return Err(RejectReason::NullVector),
        };
        match &leaf.values {
            Values::Float(values) => Ok(&values[start..start + len]),
            Values::Double(values) => {
                let vector = &self.converted[start..start + len];
                let overflow = |(x, wide): (&f32, &f64)| x.is_infinite() && wide.is_finite();
                match vector.iter().zip(&values[start..start + len]).position(overflow) {
                    Some(index) => Err(RejectReason::ElementOverflow {
                        index,
                        value: values[start + index],
                    }),
                    None => Ok(vector),
                }
            }
            _ => Ok(&self.converted[start..start + len]),
        }
    }

    /// The elements of a row as far as they are there, for a dead letter: those before the first null, then
    /// the null.
    pub(super) fn shown(
        &self,
        leaf: &Leaf,
        row: usize,
    ) -> Option<(impl Iterator<Item = Option<f64>>, usize)> {
        let (start, len, null) = match *self.rows.get(row)? {
            Row::Null => return None,
            Row::Full { start, len } => (start, len, len),
            Row::Holed { start, len, null } => (start, len, null),
        };
        let value = move |i: usize| match &leaf.values {
            Values::Float(values) => values[start + i].into(),
            Values::Double(values) => values[start + i],
            Values::Fixed(values) => half(values[start + i].data()).into(),
            _ => f64::NAN,
        };
        let elements = (0..len.min(null + 1)).map(move |i| (i < null).then(|| value(i)));
        Some((elements, len))
    }
}

fn half(bytes: &[u8]) -> f32 {
    bytes
        .try_into()
        .map_or(f32::NAN, |bytes| f16::from_le_bytes(bytes).to_f32())
}

/// Cuts levels into rows. Nearly all rows are `dims` elements without a null: those are told by three passes
/// over the row's levels that the compiler vectorizes, the others level by level.
fn split_rows(rep: &[i16], def: &[i16], column: &VectorColumn, dims: usize, rows: &mut Vec<Row>) {
    let all = |levels: &[i16], level: i16| levels.iter().fold(0, |different, x| different | (x ^ level)) == 0;
    let (mut at, mut value) = (0, 0);
    while at < rep.len() {
        let end = at + dims;
        let ends_there = end == rep.len() || rep.get(end) == Some(&0);
        if ends_there && all(&rep[at + 1..end], 1) && all(&def[at..end], column.max_def) {
            rows.push(Row::Full {
                start: value,
                len: dims,
            });
            (at, value) = (end, value + dims);
            continue;
        }
        let len = 1 + rep[at + 1..].iter().take_while(|&&level| level != 0).count();
        let levels = &def[at..at + len];
        let present = levels.iter().filter(|&&level| level == column.max_def).count();
        rows.push(if levels[0] < column.list_def {
            if levels[0] + 1 == column.list_def {
                Row::Full { start: value, len: 0 }
            } else {
                Row::Null
            }
        } else if present == len {
            Row::Full { start: value, len }
        } else {
            let null = levels
                .iter()
                .position(|&level| level != column.max_def)
                .unwrap_or_default();
            Row::Holed {
                start: value,
                len,
                null,
            }
        });
        (at, value) = (at + len, value + present);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// optional group (def 1) of repeated (def 2) optional float (def 3).
    const COLUMN: VectorColumn = VectorColumn {
        leaf: 0,
        list_def: 2,
        max_def: 3,
    };

    #[test]
    fn rows_of_every_sort() {
        // [1, 2], null, [], [3, null], [4, 5, 6], [7], [8, 9]
        let rep = [0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1];
        let def = [3, 3, 0, 1, 3, 2, 3, 3, 3, 3, 3, 3];
        let expected = [
            Row::Full { start: 0, len: 2 },
            Row::Null,
            Row::Full { start: 2, len: 0 },
            Row::Holed {
                start: 2,
                len: 2,
                null: 1,
            },
            Row::Full { start: 3, len: 3 },
            Row::Full { start: 6, len: 1 },
            Row::Full { start: 7, len: 2 },
        ];
        for dims in [1, 2, 3, 100] {
            let mut rows = Vec::new();
            split_rows(&rep, &def, &COLUMN, dims, &mut rows);
            assert_eq!(rows, expected, "{dims}");
        }
    }
}
