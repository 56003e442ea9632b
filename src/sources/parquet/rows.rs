//! Rows of one row group: the leaves side by side, read in step, and made into records or rejects.

use super::columns::{Columns, ScalarColumn};
use super::file::OpenFile;
use super::leaf::Leaf;
use super::scalars::Flat;
use super::select::Selection;
use super::vectors::Vectors;
use super::{Error, Units};
use crate::time::{TimeError, to_text};
use crate::{Batch, Payload, Record, RejectReason};

/// The text columns in the order of [`Columns::texts`].
const TEXT_FIELDS: [&str; 4] = ["model_version", "model_hash", "input_hash", "pipeline_hash"];

/// Rows decoded at a time. A row may have 65 536 elements, so this many take up to 70 MB in a file made for
/// it, and with honest vectors what is decoded stays in the processor's cache.
const DECODED_ROWS: usize = 128;

/// What a batch may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub rows: usize,
    pub bytes: usize,
}

impl Room {
    pub(crate) fn is_full(&self, batch: &Batch) -> bool {
        batch.rows_read() >= self.rows || batch.bytes() >= self.bytes
    }
}

/// How far a step has come.
pub(super) struct Taken {
    /// Rows passed, wanted or not.
    pub rows: u64,
    /// Those that the filter left out.
    pub skipped: u64,
}

/// The row group that is being read, and some rows of it that are decoded.
pub(super) struct Rows {
    entity_id: Flat,
    ts: Flat,
    vector: Leaf,
    vectors: Vectors,
    texts: [Option<Flat>; 4],
    produced_at: Option<Flat>,
    attrs_json: Option<Flat>,
    attrs: Vec<Flat>,
    units: Units,
    /// Rows not yet decoded.
    left: usize,
    /// Rows decoded, and how many of them are already in a batch.
    decoded: usize,
    taken: usize,
}

impl Rows {
    pub(super) fn open(file: &OpenFile, group: usize, units: Units) -> Result<Self, Error> {
        let Columns {
            entity_id,
            ts,
            vector,
            texts,
            produced_at,
            attrs_json,
            attrs,
        } = &file.columns;
        let flat = |column: &ScalarColumn| -> Result<Flat, Error> {
            Ok(Flat::new(
                file.leaf(group, column.leaf)?,
                column.kind,
                column.name.clone(),
            ))
        };
        let optional = |column: &Option<ScalarColumn>| column.as_ref().map(flat).transpose();
        let [a, b, c, d] = texts;
        Ok(Self {
            entity_id: flat(entity_id)?,
            ts: flat(ts)?,
            vector: file.leaf(group, vector.leaf)?,
            vectors: Vectors::default(),
            texts: [optional(a)?, optional(b)?, optional(c)?, optional(d)?],
            produced_at: optional(produced_at)?,
            attrs_json: optional(attrs_json)?,
            attrs: attrs.iter().map(flat).collect::<Result<_, _>>()?,
            units,
            left: file.group_rows(group)?,
            decoded: 0,
            taken: 0,
        })
    }

    /// Whether all rows of the group are in a batch.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0 && self.taken == self.decoded
    }

    /// Adds the wanted rows to the batch until it is full or what is decoded ends; decodes more when nothing
    /// is. `first` is the number in its file of the next row.
    pub(super) fn read(
        &mut self,
        file: &OpenFile,
        first: u64,
        selection: &Selection,
        room: Room,
        batch: &mut Batch,
    ) -> Result<Taken, Error> {
        if self.taken == self.decoded {
            self.decode(file, batch.dims(), DECODED_ROWS)?;
        }
        let (start, mut skipped) = (self.taken, 0);
        while self.taken < self.decoded && !room.is_full(batch) {
            let row = self.taken;
            self.taken += 1;
            let number = first + (row - start) as u64;
            if !selection.wants_row(number) {
                continue;
            }
            if let Some(filter) = &selection.filter {
                let ts = self.ts.time(row, self.units.ts).ok().flatten();
                if !filter.wants(self.entity_id.text(row), ts) {
                    skipped += 1;
                    continue;
                }
            }
            let position = || format!("{}#{number}", file.label);
            let attrs = self.attrs(row);
            match self.record(row, &attrs) {
                Ok(record) => drop(batch.push(&record, position)),
                Err(reason) => batch.reject(position(), reason, self.payload(row)),
            }
        }
        Ok(Taken {
            rows: (self.taken - start) as u64,
            skipped,
        })
    }

    /// Decodes at most `rows` more rows.
    fn decode(&mut self, file: &OpenFile, dims: usize, rows: usize) -> Result<(), Error> {
        let rows = rows.min(self.left);
        let step = |leaf: &mut Leaf| {
            let read = leaf.read(rows).map_err(|e| Error::format(&file.path, e))?;
            if read == rows {
                return Ok(());
            }
            let error = format!(
                "a column ends {} rows before its row group does",
                rows.abs_diff(read)
            );
            Err(Error::corrupt(&file.path, error))
        };
        self.flats().try_for_each(|flat| step(&mut flat.leaf))?;
        step(&mut self.vector)?;
        if self.vectors.decode(&self.vector, &file.columns.vector, dims) != rows {
            return Err(Error::corrupt(
                &file.path,
                "the vector column has other rows than the other columns",
            ));
        }
        self.flats().for_each(|flat| flat.index(rows));
        self.entity_id.print();
        self.texts.iter_mut().flatten().for_each(Flat::print);
        self.left -= rows;
        (self.decoded, self.taken) = (rows, 0);
        Ok(())
    }

    fn flats(&mut self) -> impl Iterator<Item = &mut Flat> {
        let texts = self.texts.iter_mut().flatten();
        let optional = self
            .produced_at
            .iter_mut()
            .chain(&mut self.attrs_json)
            .chain(&mut self.attrs);
        [&mut self.entity_id, &mut self.ts]
            .into_iter()
            .chain(texts)
            .chain(optional)
    }

    fn record<'a>(
        &'a self,
        row: usize,
        attrs: &'a Result<Option<String>, RejectReason>,
    ) -> Result<Record<'a>, RejectReason> {
        let text = |i: usize| match &self.texts[i] {
            Some(flat) => flat.utf8(row, TEXT_FIELDS[i]),
            None => Ok(None),
        };
        let bad_time = |field| move |error: TimeError| RejectReason::BadTimestamp { field, error };
        let ts = self.ts.time(row, self.units.ts).map_err(bad_time("timestamp"))?;
        let produced_at = self
            .produced_at
            .as_ref()
            .map_or(Ok(None), |flat| flat.time(row, self.units.produced_at));
        Ok(Record {
            entity_id: self
                .entity_id
                .utf8(row, "entity_id")?
                .ok_or(RejectReason::NullEntityId)?,
            ts: ts.ok_or(RejectReason::NullTimestamp)?,
            vector: self.vectors.get(&self.vector, row)?,
            model_version: text(0)?,
            model_hash: text(1)?,
            input_hash: text(2)?,
            pipeline_hash: text(3)?,
            produced_at: produced_at.map_err(bad_time("produced_at"))?,
            attrs: attrs.as_ref().map(Option::as_deref).map_err(Clone::clone)?,
        })
    }

    /// The attrs of a row: its JSON text, or one object of the columns that are not null; None where all are.
    fn attrs(&self, row: usize) -> Result<Option<String>, RejectReason> {
        if let Some(flat) = &self.attrs_json {
            return Ok(flat.utf8(row, "attrs")?.map(str::to_string));
        }
        let mut object = serde_json::Map::new();
        for flat in &self.attrs {
            let value = flat.json(row)?;
            if !value.is_null() {
                object.insert(flat.name.clone(), value);
            }
        }
        Ok((!object.is_empty()).then(|| serde_json::Value::Object(object).to_string()))
    }

    /// What can be shown of a row that is no record.
    fn payload(&self, row: usize) -> Payload {
        let mut payload = Payload::default();
        payload.text("entity_id", self.entity_id.text(row));
        payload.text(
            "ts",
            shown(self.ts.time(row, self.units.ts))
                .as_deref()
                .map(str::as_bytes),
        );
        match self.vectors.shown(&self.vector, row) {
            Some((elements, dims)) => payload.vector(elements, dims),
            None => payload.text("vector", None),
        };
        for (field, flat) in TEXT_FIELDS.iter().zip(&self.texts) {
            if let Some(flat) = flat {
                payload.text(field, flat.text(row));
            }
        }
        if let Some(flat) = &self.produced_at {
            let time = shown(flat.time(row, self.units.produced_at));
            payload.text("produced_at", time.as_deref().map(str::as_bytes));
        }
        if let Some(flat) = &self.attrs_json {
            payload.text("attrs", flat.text(row));
        } else if let Ok(attrs) = self.attrs(row) {
            payload.text("attrs", attrs.as_deref().map(str::as_bytes));
        }
        payload
    }
}

fn shown(time: Result<Option<i64>, TimeError>) -> Option<String> {
    match time {
        Ok(time) => time.map(to_text),
        Err(TimeError::Infinite(text) | TimeError::OutOfRange(text) | TimeError::NotIso(text)) => Some(text),
    }
}
