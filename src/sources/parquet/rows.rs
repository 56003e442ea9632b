//! Rows of one row group: the leaves side by side, read in step, and made into records or rejects.

use super::columns::{Columns, ScalarColumn};
use super::file::OpenFile;
use super::kind::Scalar;
use super::leaf::Leaf;
use super::scalars::{Texts, json_at, time_at};
use super::vectors::Vectors;
use super::{Error, Units};
use crate::time::{EpochUnit, TimeError, to_text};
use crate::{Batch, Payload, Record, RejectReason};

/// The text columns in the order of [`Columns::texts`].
const TEXT_FIELDS: [&str; 4] = ["model_version", "model_hash", "input_hash", "pipeline_hash"];

/// A flat column being read.
struct Flat {
    leaf: Leaf,
    kind: Scalar,
    name: String,
}

/// The row group that is being read, and what of it is decoded.
pub(super) struct Rows {
    entity_id: Flat,
    ts: Flat,
    vector: Leaf,
    texts: [Option<Flat>; 4],
    produced_at: Option<Flat>,
    attrs_json: Option<Flat>,
    attrs: Vec<Flat>,
    units: Units,
    /// Rows not yet read.
    left: usize,
    decoded: Decoded,
}

/// A batch of columns, decoded; the buffers outlive the batch.
#[derive(Default)]
struct Decoded {
    entity_ids: Texts,
    ts: Vec<Result<Option<i64>, TimeError>>,
    vectors: Vectors,
    texts: [Texts; 4],
    produced_at: Vec<Result<Option<i64>, TimeError>>,
    attrs_json: Texts,
    attrs: Vec<Result<Option<String>, RejectReason>>,
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
            Ok(Flat {
                leaf: file.leaf(group, column.leaf)?,
                kind: column.kind,
                name: column.name.clone(),
            })
        };
        let optional = |column: &Option<ScalarColumn>| column.as_ref().map(flat).transpose();
        let [a, b, c, d] = texts;
        Ok(Self {
            entity_id: flat(entity_id)?,
            ts: flat(ts)?,
            vector: file.leaf(group, vector.leaf)?,
            texts: [optional(a)?, optional(b)?, optional(c)?, optional(d)?],
            produced_at: optional(produced_at)?,
            attrs_json: optional(attrs_json)?,
            attrs: attrs.iter().map(flat).collect::<Result<_, _>>()?,
            units,
            left: file.group_rows(group)?,
            decoded: Decoded::default(),
        })
    }

    /// Whether all rows of the group have been read.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Reads at most `rows` more rows into the batch; `first` is the number of the first in its file. Returns
    /// how many.
    pub(super) fn read(
        &mut self,
        file: &OpenFile,
        first: u64,
        rows: usize,
        batch: &mut Batch,
    ) -> Result<usize, Error> {
        let rows = rows.min(self.left);
        for leaf in self.leaves() {
            let read = leaf.read(rows).map_err(|e| Error::format(&file.path, e))?;
            if read != rows {
                let error = format!("a column ends {} rows before its row group does", rows - read);
                return Err(Error::corrupt(&file.path, error));
            }
        }
        if self.decode(file, batch.dims(), rows) != rows {
            return Err(Error::corrupt(
                &file.path,
                "the vector column has other rows than the other columns",
            ));
        }
        self.left -= rows;
        for row in 0..rows {
            let position = || format!("{}#{}", file.path.display(), first + row as u64);
            match self.record(row) {
                Ok(record) => drop(batch.push(&record, position)),
                Err(reason) => batch.reject(position(), reason, self.payload(row)),
            }
        }
        Ok(rows)
    }

    fn leaves(&mut self) -> impl Iterator<Item = &mut Leaf> {
        let texts = self.texts.iter_mut().flatten();
        [&mut self.entity_id, &mut self.ts]
            .into_iter()
            .chain(texts)
            .chain(&mut self.produced_at)
            .chain(&mut self.attrs_json)
            .chain(&mut self.attrs)
            .map(|flat| &mut flat.leaf)
            .chain([&mut self.vector])
    }

    /// Decodes what the leaves have read. Returns the rows of the vector column.
    fn decode(&mut self, file: &OpenFile, dims: usize, rows: usize) -> usize {
        let decoded = &mut self.decoded;
        decoded
            .entity_ids
            .decode(&self.entity_id.leaf, self.entity_id.kind, rows);
        decode_times(&self.ts, self.units.ts, rows, &mut decoded.ts);
        for (flat, texts) in self.texts.iter().zip(&mut decoded.texts) {
            if let Some(flat) = flat {
                texts.decode(&flat.leaf, flat.kind, rows);
            }
        }
        if let Some(flat) = &self.produced_at {
            decode_times(flat, self.units.produced_at, rows, &mut decoded.produced_at);
        }
        if let Some(flat) = &self.attrs_json {
            decoded.attrs_json.decode(&flat.leaf, flat.kind, rows);
        }
        if !self.attrs.is_empty() {
            decode_attrs(&self.attrs, rows, &mut decoded.attrs);
        }
        decoded.vectors.decode(&self.vector, &file.columns.vector, dims)
    }

    fn record(&self, row: usize) -> Result<Record<'_>, RejectReason> {
        let decoded = &self.decoded;
        let text = |i: usize| match &self.texts[i] {
            Some(_) => decoded.texts[i].utf8(row, TEXT_FIELDS[i]),
            None => Ok(None),
        };
        let bad_time = |field| move |error: TimeError| RejectReason::BadTimestamp { field, error };
        let attrs = match (&self.attrs_json, decoded.attrs.get(row)) {
            (Some(_), _) => decoded.attrs_json.utf8(row, "attrs"),
            (None, Some(attrs)) => attrs.as_ref().map(Option::as_deref).map_err(Clone::clone),
            (None, None) => Ok(None),
        };
        Ok(Record {
            entity_id: decoded
                .entity_ids
                .utf8(row, "entity_id")?
                .ok_or(RejectReason::NullEntityId)?,
            ts: decoded.ts[row]
                .clone()
                .map_err(bad_time("timestamp"))?
                .ok_or(RejectReason::NullTimestamp)?,
            vector: decoded.vectors.get(&self.vector, row)?,
            model_version: text(0)?,
            model_hash: text(1)?,
            input_hash: text(2)?,
            pipeline_hash: text(3)?,
            produced_at: match decoded.produced_at.get(row) {
                Some(time) => time.clone().map_err(bad_time("produced_at"))?,
                None => None,
            },
            attrs: attrs?,
        })
    }

    /// What can be shown of a row that is no record.
    fn payload(&self, row: usize) -> Payload {
        let decoded = &self.decoded;
        let mut payload = Payload::default();
        payload.text("entity_id", decoded.entity_ids.get(row));
        payload.text("ts", shown_time(&decoded.ts[row]).as_deref().map(str::as_bytes));
        match decoded.vectors.shown(&self.vector, row) {
            Some((elements, dims)) => payload.vector(elements, dims),
            None => payload.text("vector", None),
        };
        for ((field, flat), texts) in TEXT_FIELDS.iter().zip(&self.texts).zip(&decoded.texts) {
            if flat.is_some() {
                payload.text(field, texts.get(row));
            }
        }
        if let Some(time) = decoded.produced_at.get(row) {
            payload.text("produced_at", shown_time(time).as_deref().map(str::as_bytes));
        }
        if self.attrs_json.is_some() {
            payload.text("attrs", decoded.attrs_json.get(row));
        } else if let Some(Ok(attrs)) = decoded.attrs.get(row) {
            payload.text("attrs", attrs.as_deref().map(str::as_bytes));
        }
        payload
    }
}

fn decode_times(flat: &Flat, unit: EpochUnit, rows: usize, out: &mut Vec<Result<Option<i64>, TimeError>>) {
    out.clear();
    out.extend(
        flat.leaf
            .indexes(rows)
            .map(|index| time_at(&flat.leaf, flat.kind, unit, index)),
    );
}

/// One JSON object a row, of the columns that are not null there; None where all are.
fn decode_attrs(columns: &[Flat], rows: usize, out: &mut Vec<Result<Option<String>, RejectReason>>) {
    out.clear();
    let mut indexes: Vec<_> = columns.iter().map(|flat| flat.leaf.indexes(rows)).collect();
    for _ in 0..rows {
        let mut object = Ok(serde_json::Map::new());
        for (flat, indexes) in columns.iter().zip(&mut indexes) {
            let value = json_at(&flat.leaf, flat.kind, indexes.next().flatten());
            object = object.and_then(|mut object| {
                let value = value?;
                if !value.is_null() {
                    object.insert(flat.name.clone(), value);
                }
                Ok(object)
            });
        }
        out.push(
            object.map(|object| (!object.is_empty()).then(|| serde_json::Value::Object(object).to_string())),
        );
    }
}

fn shown_time(time: &Result<Option<i64>, TimeError>) -> Option<String> {
    match time {
        Ok(time) => time.map(to_text),
        Err(TimeError::Infinite(text) | TimeError::OutOfRange(text) | TimeError::NotIso(text)) => {
            Some(text.clone())
        }
    }
}
