//! Parquet files for tests, column by column as the format stores them, so that every form of schema can be
//! had.
#![allow(dead_code)] // each test binary uses a part

use cvx_sources::parquet::{Config, Error, ParquetConnector};
use cvx_sources::time::{PG_EPOCH_UNIX_MICROS, to_text};
use cvx_sources::{Batch, Reject};
use parquet::data_type::{BoolType, Int32Type, Int64Type, Int96, Int96Type};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// 2026-01-01 00:00:00 UTC as PostgreSQL has it, and in seconds since 1970.
pub const NEW_YEAR: i64 = 1_767_225_600_000_000 - PG_EPOCH_UNIX_MICROS;
pub const NEW_YEAR_UNIX: i64 = 1_767_225_600;

#[derive(Clone)]
pub enum Data {
    Bool(Vec<bool>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I96(Vec<[u32; 3]>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bytes(Vec<Vec<u8>>),
    Fixed(Vec<Vec<u8>>),
}

/// A column: a field of a message type, the values that are not null, and levels where the field has them.
#[derive(Clone)]
pub struct Column {
    pub field: String,
    pub data: Data,
    pub def: Option<Vec<i16>>,
    pub rep: Option<Vec<i16>>,
}

pub fn column(field: &str, data: Data) -> Column {
    Column {
        field: field.into(),
        data,
        def: None,
        rep: None,
    }
}

/// The column of a field that is optional, of values that may be null.
pub fn optional<T>(field: &str, values: Vec<Option<T>>, data: fn(Vec<T>) -> Data) -> Column {
    let def = values.iter().map(|value| i16::from(value.is_some())).collect();
    Column {
        field: field.into(),
        data: data(values.into_iter().flatten().collect()),
        def: Some(def),
        rep: None,
    }
}

pub fn texts(values: &[&str]) -> Data {
    Data::Bytes(values.iter().map(|text| text.as_bytes().to_vec()).collect())
}

pub fn ids(values: &[&str]) -> Column {
    column("required binary id (STRING);", texts(values))
}

/// Seconds 0, 1, ... after new year 2026.
pub fn seconds(rows: usize) -> Column {
    let times = (0..rows as i64)
        .map(|i| (NEW_YEAR_UNIX + i) * 1_000_000)
        .collect();
    column("required int64 ts (TIMESTAMP(MICROS,true));", Data::I64(times))
}

pub type Vector<T> = Option<Vec<Option<T>>>;

/// Rows of a list as Parquet's three-level form has it, nulls allowed everywhere.
pub fn list<T: Clone>(element: &str, rows: &[Vector<T>], data: fn(Vec<T>) -> Data) -> Column {
    let (mut values, mut def, mut rep) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let Some(row) = row.as_ref().filter(|row| !row.is_empty()) else {
            def.push(i16::from(row.is_some()));
            rep.push(0);
            continue;
        };
        for (i, element) in row.iter().enumerate() {
            rep.push(i16::from(i > 0));
            def.push(2 + i16::from(element.is_some()));
            values.extend(element.clone());
        }
    }
    let field = format!("optional group vec (LIST) {{ repeated group list {{ optional {element}; }} }}");
    Column {
        field,
        data: data(values),
        def: Some(def),
        rep: Some(rep),
    }
}

/// Rows of float32 lists without nulls.
pub fn vectors(rows: &[&[f32]]) -> Column {
    let rows: Vec<Vector<f32>> = rows
        .iter()
        .map(|row| Some(row.iter().copied().map(Some).collect()))
        .collect();
    list("float element", &rows, Data::F32)
}

/// Writes a file of the given row groups, all with the first one's schema.
pub fn write(path: &Path, groups: &[Vec<Column>], properties: WriterProperties) {
    let fields: String = groups[0].iter().map(|column| column.field.as_str()).collect();
    let schema = parse_message_type(&format!("message schema {{ {fields} }}")).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
    for group in groups {
        let mut rows = writer.next_row_group().unwrap();
        for column in group {
            match &column.data {
                Data::Bool(values) => put::<BoolType>(&mut rows, column, values),
                Data::I32(values) => put::<Int32Type>(&mut rows, column, values),
                Data::I64(values) => put::<Int64Type>(&mut rows, column, values),
                Data::I96(values) => {
                    let values: Vec<Int96> = values.iter().map(|words| Int96::from(words.to_vec())).collect();
                    put::<Int96Type>(&mut rows, column, &values);
                }
                Data::F32(values) => put::<FloatType>(&mut rows, column, values),
                Data::F64(values) => put::<DoubleType>(&mut rows, column, values),
                Data::Bytes(values) => {
                    let values: Vec<ByteArray> = values.iter().map(|bytes| bytes.clone().into()).collect();
                    put::<ByteArrayType>(&mut rows, column, &values);
                }
                Data::Fixed(values) => {
                    let values: Vec<_> = values
                        .iter()
                        .map(|bytes| ByteArray::from(bytes.clone()).into())
                        .collect();
                    put::<FixedLenByteArrayType>(&mut rows, column, &values);
                }
            }
        }
        rows.close().unwrap();
    }
    writer.close().unwrap();
}

fn put<T: DataType>(rows: &mut SerializedRowGroupWriter<'_, File>, column: &Column, values: &[T::T]) {
    let mut writer = rows.next_column().unwrap().unwrap();
    writer
        .typed::<T>()
        .write_batch(values, column.def.as_deref(), column.rep.as_deref())
        .unwrap();
    writer.close().unwrap();
}

/// A folder of this test, empty.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Writes one row group to a file of a folder of its own.
pub fn file(name: &str, columns: Vec<Column>) -> PathBuf {
    let path = folder(name).join("a.parquet");
    write(&path, &[columns], WriterProperties::default());
    path
}

pub fn config(path: &Path, dims: usize) -> Config {
    Config::new(path, dims, "id", "ts", "vec")
}

/// All that a source yields: (entity id, time, vector) of each record, and the rejects.
pub struct Read {
    pub records: Vec<(String, i64, Vec<f32>)>,
    pub rejects: Vec<Reject>,
    pub batches: Vec<Batch>,
}

pub fn read(config: Config) -> Result<Read, Error> {
    let mut connector = ParquetConnector::open(config)?;
    let mut read = Read {
        records: Vec::new(),
        rejects: Vec::new(),
        batches: Vec::new(),
    };
    while let Some(batch) = connector.read_batch()? {
        assert!(batch.rows_read() > 0);
        read.records.extend(
            batch
                .records()
                .map(|r| (r.entity_id.to_string(), r.ts, r.vector.to_vec())),
        );
        read.rejects.extend_from_slice(batch.rejects());
        read.batches.push(batch);
    }
    Ok(read)
}

/// The times of a file whose timestamp column is the given one, as text, or the rejects' messages in their
/// place.
pub fn times(name: &str, ts: Column, rows: usize) -> Result<Vec<String>, Error> {
    let vector = vectors(&vec![&[1.0f32, 2.0][..]; rows]);
    let path = file(name, vec![ids(&vec!["e"; rows]), ts, vector]);
    let read = read(config(&path, 2))?;
    let mut rejects = read.rejects.iter();
    let rejected = |r: &Reject| r.position.rsplit('#').next().unwrap().parse::<usize>().unwrap();
    let rows_of_rejects: Vec<usize> = read.rejects.iter().map(rejected).collect();
    let mut records = read.records.iter();
    Ok((0..rows)
        .map(|row| match rows_of_rejects.contains(&row) {
            true => rejects.next().unwrap().reason.to_string(),
            false => to_text(records.next().unwrap().1),
        })
        .collect())
}
