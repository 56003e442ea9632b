//! A source's runs as the engine makes them, with the watermark kept between them.

use crate::common::*;
use cvx_sources::{
    Connector, ErrorKind, Limits, Position, Registered, Reject, Request, Secrets, SharedProgress,
    SourceConfig, SourceError, Step, Stop, Work,
};
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A source and what its engine has stored of it.
pub struct Source {
    pub config: Value,
    pub dims: usize,
    pub watermark: BTreeMap<String, Value>,
    pub limits: Limits,
    pub secrets: Secrets,
    pub progress: SharedProgress,
    pub stop: Stop,
    pub registered: Option<Arc<Registered>>,
}

/// What one run delivered.
#[derive(Debug, Default)]
pub struct Run {
    /// Entity ids, in order.
    pub ids: Vec<String>,
    pub vectors: Vec<Vec<f32>>,
    pub times: Vec<i64>,
    pub attrs: Vec<Option<String>>,
    pub model_versions: Vec<Option<String>>,
    pub rejects: Vec<Reject>,
    pub skipped: u64,
    pub bytes: u64,
    pub deliveries: usize,
    pub largest_batch: usize,
}

impl Source {
    /// Columns id, ts and vec of two dimensions, 1000 rows a batch.
    pub fn new(mut config: Value) -> Self {
        for (key, column) in [
            ("entity_id_column", "id"),
            ("timestamp_column", "ts"),
            ("vector_column", "vec"),
        ] {
            if config.get(key).is_none() {
                config[key] = json!(column);
            }
        }
        Self {
            config,
            dims: 2,
            watermark: BTreeMap::new(),
            limits: Limits {
                rows: 1000,
                bytes: 8 << 20,
                linger: Duration::from_secs(10),
            },
            secrets: Secrets::default(),
            progress: SharedProgress::default(),
            stop: Stop::default(),
            registered: None,
        }
    }

    pub fn folder(path: &Path) -> Self {
        Self::new(json!({"url": format!("file://{}", path.display())}))
    }

    pub fn open(&self, work: Work) -> Result<Box<dyn Connector>, SourceError> {
        SourceConfig::parse("s3_parquet", &self.config)?.open(Request {
            dims: self.dims,
            registered: self.registered.clone(),
            work,
            watermark: self.watermark.clone(),
            limits: self.limits,
            secrets: self.secrets.clone(),
            progress: self.progress.clone(),
            stop: self.stop.clone(),
        })
    }

    /// Runs to the end.
    pub fn run(&mut self, work: Work) -> Result<Run, SourceError> {
        let (run, _) = self.run_for(work, usize::MAX)?;
        Ok(run)
    }

    pub fn sync(&mut self) -> Run {
        self.run(Work::Incremental).unwrap()
    }

    /// Runs for at most so many deliveries, which are committed, and one that is lost. Returns whether it
    /// ended.
    pub fn run_for(&mut self, work: Work, deliveries: usize) -> Result<(Run, bool), SourceError> {
        let mut connector = self.open(work)?;
        let mut run = Run::default();
        loop {
            match connector.next()? {
                Step::End => return Ok((run, true)),
                Step::Idle => panic!("a finite source is never idle"),
                Step::Delivery(_) if run.deliveries == deliveries => return Ok((run, false)),
                Step::Delivery(mut delivery) => {
                    let batch = &mut delivery.batch;
                    for record in batch.records() {
                        run.ids.push(record.entity_id.into());
                        run.times.push(record.ts);
                        run.vectors.push(record.vector.to_vec());
                        run.attrs.push(record.attrs.map(String::from));
                        run.model_versions.push(record.model_version.map(String::from));
                    }
                    run.largest_batch = run.largest_batch.max(batch.rows_read());
                    run.rejects.extend(batch.take_rejects());
                    run.skipped += delivery.skipped;
                    run.bytes += delivery.bytes;
                    run.deliveries += 1;
                    self.commit(&delivery.positions);
                    connector.committed(&delivery.positions);
                }
            }
        }
    }

    fn commit(&mut self, positions: &[Position]) {
        for Position { part, value } in positions {
            match value {
                Some(value) => self.watermark.insert(part.clone(), value.clone()),
                None => self.watermark.remove(part),
            };
        }
    }

    /// The kind and the whole text of the error that a run ends with.
    pub fn error(&mut self) -> (ErrorKind, String) {
        let error = self.run(Work::Incremental).expect_err("the run fails");
        (error.kind, text_of(&error))
    }
}

pub fn text_of(error: &SourceError) -> String {
    let parts = [Some(&error.message), error.detail.as_ref(), error.hint.as_ref()];
    parts
        .into_iter()
        .flatten()
        .cloned()
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Rows named `PREFIX-0`, `PREFIX-1`, ... a second apart from new year 2026 on, of vectors (row + 1, 0.5).
pub fn rows(prefix: &str, numbers: std::ops::Range<usize>) -> Vec<Column> {
    let names: Vec<String> = numbers.clone().map(|i| format!("{prefix}-{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let times = numbers
        .clone()
        .map(|i| (NEW_YEAR_UNIX + i as i64) * 1_000_000)
        .collect();
    let elements: Vec<[f32; 2]> = numbers.map(|i| [i as f32 + 1.0, 0.5]).collect();
    let elements: Vec<&[f32]> = elements.iter().map(|row| &row[..]).collect();
    vec![
        ids(&names),
        column("required int64 ts (TIMESTAMP(MICROS,true));", Data::I64(times)),
        vectors(&elements),
    ]
}

/// A file of `groups` row groups of `size` rows each.
pub fn write_rows(path: &Path, prefix: &str, groups: usize, size: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let groups: Vec<_> = (0..groups)
        .map(|g| rows(prefix, g * size..(g + 1) * size))
        .collect();
    write(path, &groups, WriterProperties::default());
}

pub fn expected(prefix: &str, rows: usize) -> Vec<String> {
    (0..rows).map(|i| format!("{prefix}-{i}")).collect()
}
