//! Loading files of the server. DDL: sql/install/70_ingest.sql.

use std::sync::Arc;

use cvx_sources::parquet::Config;
use cvx_sources::time::EpochUnit;
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::catalog::space::Space;
use crate::error::Error;
use crate::ingest::{guard, parquet};

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn ingest_parquet(
    path: Option<String>,
    space: Option<&str>,
    entity_id_column: Option<String>,
    timestamp_column: Option<String>,
    vector_column: Option<String>,
    model_version_column: Option<String>,
    model_hash_column: Option<String>,
    input_hash_column: Option<String>,
    pipeline_hash_column: Option<String>,
    produced_at_column: Option<String>,
    attrs_columns: Option<Vec<String>>,
    source: Option<String>,
    batch_size: Option<i32>,
    timestamp_unit: Option<&str>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(run_id, i64),
            name!(files, i32),
            name!(records_read, i64),
            name!(written, i64),
            name!(rejected, i64),
            name!(skipped, i64),
            name!(reject_reasons, JsonB),
        ),
    >,
    ErrorReport,
> {
    let required = |value: Option<String>, argument| {
        value.ok_or(Error::NullArgument {
            function: "cvx.ingest_parquet",
            argument,
        })
    };
    let path = required(path, "path")?;
    // SAFETY: role look-ups of the running user.
    let allowed = unsafe {
        let reader = pg_sys::Oid::from(pg_sys::ROLE_PG_READ_SERVER_FILES);
        pg_sys::has_privs_of_role(pg_sys::GetUserId(), reader)
    };
    if !allowed {
        return Err(Error::NotServerFileReader { path }.into());
    }
    let space = Space::by_name(&required(space.map(str::to_owned), "space")?)?;
    let batch_size = batch_size.unwrap_or(DEFAULT_BATCH_SIZE);
    let batch_size = usize::try_from(batch_size).map_err(|_| {
        Error::Math(cvx_math::Error::InvalidParameter {
            name: "batch_size",
            value: batch_size.to_string(),
            expected: "a number of rows, 1 or more",
        })
    })?;
    let timestamp_unit = timestamp_unit.map(|name| {
        EpochUnit::from_name(name).ok_or_else(|| {
            Error::Math(cvx_math::Error::InvalidParameter {
                name: "timestamp_unit",
                value: format!("{name:?}"),
                expected: "'s', 'ms', 'us' or 'ns'",
            })
        })
    });
    let config = Config {
        model_version_column,
        model_hash_column,
        input_hash_column,
        pipeline_hash_column,
        produced_at_column,
        attrs_columns: attrs_columns.unwrap_or_default(),
        batch_size,
        timestamp_unit: timestamp_unit.transpose()?,
        registered: guard::refusing(space.space_id)?.map(Arc::new),
        ..Config::new(
            &path,
            space.dims,
            &required(entity_id_column, "entity_id_column")?,
            &required(timestamp_column, "timestamp_column")?,
            &required(vector_column, "vector_column")?,
        )
    };
    let source = source.unwrap_or_else(|| format!("parquet:{path}"));
    let it = parquet::ingest(config, &space, &source)?;
    let row = (
        it.run_id,
        it.files as i32,
        it.counts.read,
        it.counts.written,
        it.counts.rejected,
        it.counts.skipped,
        JsonB(serde_json::json!(it.reject_reasons)),
    );
    Ok(TableIterator::once(row))
}

const DEFAULT_BATCH_SIZE: i32 = 10_000;
