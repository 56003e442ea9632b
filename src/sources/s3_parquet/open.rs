//! From a configuration to a connector.

use super::Config;
use super::bucket::BucketStore;
use super::config::{Location, MissingColumns};
use super::connector::S3Parquet;
use super::local::LocalStore;
use super::partitions::Partitions;
use super::store::Store;
use crate::parquet::{self, Room, RowFilter};
use crate::time::EpochUnit;
use crate::{Common, Connector, Request, SourceError};
use std::sync::Arc;

/// Opens the bucket or folder; nothing is listed before the first [`Connector::next`].
///
/// # Errors
/// [`crate::ErrorKind::Config`] for what the configuration alone shows to be wrong, [`crate::ErrorKind::Io`] for a file of
/// certificates that cannot be read.
pub fn open(config: &Config, common: &Common, request: Request) -> Result<Box<dyn Connector>, SourceError> {
    let filter = row_filter(common)?.map(Arc::new);
    let partitions = config
        .partition_format
        .as_deref()
        .map(Partitions::parse)
        .transpose()?;
    let times = filter.clone().filter(|it| it.from.is_some() || it.to.is_some());
    let pruning = partitions.zip(times);
    let columns = columns(config, &request)?;
    let store: Box<dyn Store> = match config.location()? {
        Location::Folder(folder) => Box::new(LocalStore::new(folder, pruning, request.stop.clone())),
        Location::Bucket { bucket, prefix } => {
            Box::new(BucketStore::open(config, bucket, prefix, pruning, &request)?)
        }
    };
    let room = Room {
        rows: (request.limits.bytes / (request.dims * size_of::<f32>())).clamp(1, request.limits.rows),
        bytes: request.limits.bytes,
    };
    Ok(Box::new(S3Parquet::new(store, columns, filter, room, request)))
}

/// What the decoder is told of the columns.
fn columns(config: &Config, request: &Request) -> Result<parquet::Config, SourceError> {
    let columns = parquet::Config {
        registered: request.registered.clone(),
        model_version_column: config.model_version_column.clone(),
        model_hash_column: config.model_hash_column.clone(),
        input_hash_column: config.input_hash_column.clone(),
        pipeline_hash_column: config.pipeline_hash_column.clone(),
        produced_at_column: config.produced_at_column.clone(),
        attrs_column: config.attrs_column.clone(),
        attrs_columns: config.attrs_columns.clone(),
        timestamp_unit: config.timestamp_unit.as_deref().and_then(EpochUnit::from_name),
        column_aliases: config.column_aliases.clone(),
        optional_columns_may_lack: config.missing_columns == MissingColumns::Null,
        batch_size: request.limits.rows,
        ..parquet::Config::new(
            "",
            request.dims,
            &config.entity_id_column,
            &config.timestamp_column,
            &config.vector_column,
        )
    };
    columns.check()?;
    Ok(columns)
}

fn row_filter(common: &Common) -> Result<Option<RowFilter>, SourceError> {
    let Some(filter) = &common.filter else {
        return Ok(None);
    };
    let wanted = RowFilter {
        entity_ids: filter
            .entity_ids
            .as_ref()
            .map(|ids| ids.iter().cloned().collect()),
        from: filter.from()?,
        to: filter.to()?,
    };
    Ok((wanted != RowFilter::default()).then_some(wanted))
}
