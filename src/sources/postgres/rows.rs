//! Rows of the COPY made into records or rejects.

use super::columns::{
    ATTRS, Columns, ENTITY, PRODUCED_AT, TEXT_FIELDS, TEXTS, TS, VECTOR, ValueKind, VectorKind,
};
use super::decode::{self, Fields, Malformed};
use super::position::Positions;
use crate::time::{TimeError, to_text};
use crate::{Batch, MAX_TEXT_BYTES, Payload, Record, RejectReason};

/// Reads rows of one table.
#[derive(Debug)]
pub(super) struct Rows {
    vector: VectorKind,
    ts: ValueKind,
    produced_at: ValueKind,
    incremental: ValueKind,
    from: Option<i64>,
    to: Option<i64>,
    /// Elements of the current row.
    elements: Vec<f32>,
    pub positions: Positions,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    Rejected,
    /// Outside of the filter.
    Skipped,
}

impl Rows {
    pub(super) fn new(columns: &Columns, from: Option<i64>, to: Option<i64>) -> Self {
        let (ts, incremental) = (columns.ts.kind, columns.incremental.kind);
        Self {
            vector: columns.vector,
            ts,
            produced_at: columns.produced_at,
            incremental,
            from,
            to,
            elements: Vec::new(),
            positions: Positions::new(ts, incremental),
        }
    }

    /// Puts a row into the batch, under the position that is given or its own.
    ///
    /// # Errors
    /// When the fields are not of the types that the other side announced.
    pub(super) fn push(
        &mut self,
        fields: &Fields<'_>,
        position: Option<String>,
        batch: &mut Batch,
    ) -> Result<Outcome, Malformed> {
        let sized = decode::sized(fields[TS], self.ts)
            && decode::sized(fields[PRODUCED_AT], self.produced_at)
            && decode::sized(fields[super::columns::INCREMENTAL], self.incremental);
        if !sized {
            return Err(Malformed("a time or an integer has a wrong length"));
        }
        let ts = fields[TS].map(|bytes| decode::time(bytes, self.ts));
        if let Some(Ok(ts)) = ts
            && (self.from.is_some_and(|from| ts < from) || self.to.is_some_and(|to| ts >= to))
        {
            return Ok(Outcome::Skipped);
        }
        let mut elements = std::mem::take(&mut self.elements);
        let record = self.record(fields, ts, &mut elements);
        let outcome = match record {
            Ok(record) => {
                let taken = batch.push(&record, || position.unwrap_or_else(|| self.positions.of(fields)));
                if taken { Outcome::Taken } else { Outcome::Rejected }
            }
            Err(reason) => {
                let position = position.unwrap_or_else(|| self.positions.of(fields));
                batch.reject(position, reason, self.payload(fields));
                Outcome::Rejected
            }
        };
        self.elements = elements;
        Ok(outcome)
    }

    fn record<'a>(
        &self,
        fields: &Fields<'a>,
        ts: Option<Result<i64, TimeError>>,
        elements: &'a mut Vec<f32>,
    ) -> Result<Record<'a>, RejectReason> {
        let bad_time = |field| move |error| RejectReason::BadTimestamp { field, error };
        let entity_id = text(fields[ENTITY], "entity_id")?.ok_or(RejectReason::NullEntityId)?;
        let ts = ts
            .ok_or(RejectReason::NullTimestamp)?
            .map_err(bad_time("timestamp"))?;
        let vector = fields[VECTOR].ok_or(RejectReason::NullVector)?;
        decode::vector(vector, self.vector, elements)?;
        let produced_at = fields[PRODUCED_AT].map(|bytes| decode::time(bytes, self.produced_at));
        let named = |place: usize| text(fields[TEXTS + place], TEXT_FIELDS[place]);
        Ok(Record {
            entity_id,
            ts,
            vector: elements,
            model_version: named(0)?,
            model_hash: named(1)?,
            input_hash: named(2)?,
            pipeline_hash: named(3)?,
            produced_at: produced_at.transpose().map_err(bad_time("produced_at"))?,
            attrs: text(fields[ATTRS], "attrs")?,
        })
    }

    /// What can be shown of a row that is no record.
    fn payload(&self, fields: &Fields<'_>) -> Payload {
        let time = |place: usize, kind| {
            fields[place].map(|bytes| match decode::time(bytes, kind) {
                Ok(time) => to_text(time),
                Err(TimeError::Infinite(text) | TimeError::OutOfRange(text) | TimeError::NotIso(text)) => {
                    text
                }
            })
        };
        let mut payload = Payload::default();
        payload
            .text("entity_id", fields[ENTITY])
            .text("ts", time(TS, self.ts).as_deref().map(str::as_bytes));
        let mut elements = Vec::new();
        match fields[VECTOR].map(|bytes| decode::vector(bytes, self.vector, &mut elements)) {
            Some(Ok(())) => payload.vector(elements.iter().map(|&x| Some(x.into())), elements.len()),
            _ => payload.text("vector", None),
        };
        for (place, field) in TEXT_FIELDS.into_iter().enumerate() {
            if let Some(text) = fields[TEXTS + place] {
                payload.text(field, Some(text));
            }
        }
        if let Some(text) = time(PRODUCED_AT, self.produced_at) {
            payload.text("produced_at", Some(text.as_bytes()));
        }
        if fields[ATTRS].is_some() {
            payload.text("attrs", fields[ATTRS]);
        }
        payload
    }
}

fn text<'a>(bytes: Option<&'a [u8]>, field: &'static str) -> Result<Option<&'a str>, RejectReason> {
    let Some(bytes) = bytes else { return Ok(None) };
    if bytes.len() > MAX_TEXT_BYTES {
        let bytes = bytes.len();
        return Err(RejectReason::TextTooLong { field, bytes });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| RejectReason::InvalidUtf8 {
        field,
        at: error.valid_up_to(),
    })?;
    Ok(Some(text))
}
