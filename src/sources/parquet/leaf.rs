//! One leaf column of one row group: its decoded values and levels, a batch at a time, in buffers that are
//! reused.

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::{ByteArray, DataType, FixedLenByteArray, Int96};
use ::parquet::errors::Result;
use ::parquet::schema::types::ColumnDescPtr;

use super::pages::Pages;

/// The values of a batch that are not null, one after the other.
pub(super) enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Int96(Vec<Int96>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

pub(super) struct Leaf {
    reader: ColumnReader,
    max_def: i16,
    pub values: Values,
    /// Definition levels, one a row (an element for a list); empty when the column cannot be null.
    pub def: Vec<i16>,
    /// Repetition levels, one an element; empty for a flat column.
    pub rep: Vec<i16>,
}

impl Leaf {
    pub(super) fn new(column: ColumnDescPtr, pages: Pages) -> Self {
        let max_def = column.max_def_level();
        let reader = get_column_reader(column, Box::new(pages));
        let values = match &reader {
            ColumnReader::BoolColumnReader(_) => Values::Bool(Vec::new()),
            ColumnReader::Int32ColumnReader(_) => Values::Int32(Vec::new()),
            ColumnReader::Int64ColumnReader(_) => Values::Int64(Vec::new()),
            ColumnReader::Int96ColumnReader(_) => Values::Int96(Vec::new()),
            ColumnReader::FloatColumnReader(_) => Values::Float(Vec::new()),
            ColumnReader::DoubleColumnReader(_) => Values::Double(Vec::new()),
            ColumnReader::ByteArrayColumnReader(_) => Values::Bytes(Vec::new()),
            ColumnReader::FixedLenByteArrayColumnReader(_) => Values::Fixed(Vec::new()),
        };
        Self {
            reader,
            max_def,
            values,
            def: Vec::new(),
            rep: Vec::new(),
        }
    }

    /// Replaces what is held by the next `rows` rows, or by as many as are left. Returns how many those are.
    pub(super) fn read(&mut self, rows: usize) -> Result<usize> {
        let (def, rep) = (&mut self.def, &mut self.rep);
        def.clear();
        rep.clear();
        match (&mut self.reader, &mut self.values) {
            (ColumnReader::BoolColumnReader(r), Values::Bool(v)) => fill(r, rows, def, rep, v),
            (ColumnReader::Int32ColumnReader(r), Values::Int32(v)) => fill(r, rows, def, rep, v),
            (ColumnReader::Int64ColumnReader(r), Values::Int64(v)) => fill(r, rows, def, rep, v),
            (ColumnReader::Int96ColumnReader(r), Values::Int96(v)) => fill(r, rows, def, rep, v),
            (ColumnReader::FloatColumnReader(r), Values::Float(v)) => fill(r, rows, def, rep, v),
            (ColumnReader::DoubleColumnReader(r), Values::Double(v)) => fill(r, rows, def, rep, v),
            (ColumnReader::ByteArrayColumnReader(r), Values::Bytes(v)) => fill(r, rows, def, rep, v),
            (ColumnReader::FixedLenByteArrayColumnReader(r), Values::Fixed(v)) => fill(r, rows, def, rep, v),
            _ => Ok(0),
        }
    }

    /// For each of `rows` rows of a flat column the index of its value, None where it is null.
    pub(super) fn indexes(&self, rows: usize) -> impl Iterator<Item = Option<usize>> {
        let mut next = 0;
        (0..rows).map(move |row| {
            if self.def.get(row).is_some_and(|&def| def < self.max_def) {
                return None;
            }
            next += 1;
            Some(next - 1)
        })
    }
}

fn fill<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    def: &mut Vec<i16>,
    rep: &mut Vec<i16>,
    values: &mut Vec<T::T>,
) -> Result<usize> {
    values.clear();
    let (records, _, _) = reader.read_records(rows, Some(def), Some(rep), values)?;
    Ok(records)
}
