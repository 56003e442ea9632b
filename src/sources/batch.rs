//! A batch: the unit that travels from a connector to the writer.

use crate::{Payload, Record, Registered, Reject, RejectReason, TextColumn, validate};
use std::mem;
use std::sync::Arc;

/// Rows that passed validation, column by column and without an allocation a row, and rows that did not.
///
/// Every vector has the batch's dimensions, so row i's elements are `values[i * dims..][..dims]`. A batch
/// owns all it holds and may be sent to another thread.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    dims: usize,
    registered: Option<Arc<Registered>>,
    entity_ids: TextColumn,
    ts: Vec<i64>,
    values: Vec<f32>,
    // Model version, the three hashes, attrs; empty when no row has any, which is the common case.
    optional: [TextColumn; 5],
    produced_at: Vec<Option<i64>>,
    rejects: Vec<Reject>,
    reject_bytes: usize,
}

impl Batch {
    /// An empty batch for a space of `dims` dimensions, with room for `rows`. With a `registered` model, records
    /// that name another are refused.
    pub fn new(dims: usize, rows: usize, registered: Option<&Arc<Registered>>) -> Self {
        Self {
            dims,
            registered: registered.cloned(),
            ts: Vec::with_capacity(rows),
            values: Vec::with_capacity(rows.saturating_mul(dims)),
            ..Self::default()
        }
    }

    /// Takes the record, or keeps it among the rejects when [`validate`] or the space's registered model refuses
    /// it. `position` says where the record stands in its source and is called for a reject only. Returns whether
    /// the record was taken.
    pub fn push(&mut self, record: &Record<'_>, position: impl FnOnce() -> String) -> bool {
        let checked = validate(record, self.dims).and_then(|()| match &self.registered {
            Some(registered) => registered.check(record),
            None => Ok(()),
        });
        match checked {
            Ok(()) => self.push_valid(record),
            Err(reason) => {
                self.reject(position(), reason, Payload::of(record));
                return false;
            }
        }
        true
    }

    fn push_valid(&mut self, record: &Record<'_>) {
        let rows = self.len();
        self.entity_ids.push(Some(record.entity_id));
        self.ts.push(record.ts);
        self.values.extend_from_slice(record.vector);
        let texts = [
            record.model_version,
            record.model_hash,
            record.input_hash,
            record.pipeline_hash,
            record.attrs,
        ];
        for (column, text) in self.optional.iter_mut().zip(texts) {
            if text.is_some() || !column.is_empty() {
                (column.len()..rows).for_each(|_| column.push(None));
                column.push(text);
            }
        }
        if record.produced_at.is_some() || !self.produced_at.is_empty() {
            self.produced_at.resize(rows, None);
            self.produced_at.push(record.produced_at);
        }
    }

    /// Keeps a row that could not even be made a record.
    pub fn reject(&mut self, position: String, reason: RejectReason, payload: Payload) {
        let payload = payload.finish();
        self.reject_bytes += size_of::<Reject>() + position.len() + payload.len();
        self.rejects.push(Reject {
            position,
            reason,
            payload,
        });
    }

    /// The record of a row, counted from 0.
    ///
    /// # Panics
    /// When `row` is not below [`Self::len`].
    pub fn record(&self, row: usize) -> Record<'_> {
        let [model_version, model_hash, input_hash, pipeline_hash, attrs] = &self.optional;
        Record {
            entity_id: self.entity_ids.get(row).unwrap_or_default(),
            ts: self.ts[row],
            vector: &self.values[row * self.dims..][..self.dims],
            model_version: model_version.get(row),
            model_hash: model_hash.get(row),
            input_hash: input_hash.get(row),
            pipeline_hash: pipeline_hash.get(row),
            produced_at: self.produced_at.get(row).copied().flatten(),
            attrs: attrs.get(row),
        }
    }

    /// All records, in the order of the source.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.len()).map(|row| self.record(row))
    }

    /// Records taken.
    pub fn len(&self) -> usize {
        self.ts.len()
    }

    /// Whether no record was taken; there may still be rejects.
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty()
    }

    /// Rows read from the source: taken and refused.
    pub fn rows_read(&self) -> usize {
        self.len() + self.rejects.len()
    }

    /// Dimensions of every vector.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Rows refused, in the order of the source.
    pub fn rejects(&self) -> &[Reject] {
        &self.rejects
    }

    /// The same, moved out of the batch.
    pub fn take_rejects(&mut self) -> Vec<Reject> {
        self.reject_bytes = 0;
        mem::take(&mut self.rejects)
    }

    /// Bytes held, of records and rejects.
    pub fn bytes(&self) -> usize {
        self.entity_ids.bytes()
            + self.optional.iter().map(TextColumn::bytes).sum::<usize>()
            + mem::size_of_val(self.ts.as_slice())
            + mem::size_of_val(self.values.as_slice())
            + mem::size_of_val(self.produced_at.as_slice())
            + self.reject_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_columns_line_up_with_rows() {
        let mut batch = Batch::new(2, 4, None);
        let plain = Record {
            entity_id: "a",
            ts: 1,
            vector: &[1.0, 2.0],
            ..Record::default()
        };
        let full = Record {
            model_version: Some("v1"),
            produced_at: Some(7),
            attrs: Some("{}"),
            ..plain
        };
        for record in [&plain, &full, &plain] {
            assert!(batch.push(record, || unreachable!()));
        }
        let zero = Record {
            vector: &[0.0, -0.0],
            ..plain
        };
        assert!(!batch.push(&zero, || "x#3".into()));
        assert_eq!(batch.records().collect::<Vec<_>>(), [plain, full, plain]);
        assert_eq!((batch.len(), batch.rows_read(), batch.bytes() > 24), (3, 4, true));
        assert_eq!(batch.rejects()[0].position, "x#3");
        assert_eq!(batch.rejects()[0].reason, RejectReason::ZeroVector);
    }
}
