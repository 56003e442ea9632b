//! One run of `cvx.ingest_parquet`.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use cvx_sources::Record;
use cvx_sources::parquet::{Config, ParquetConnector};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::reader::Reader;
use super::writer::Writer;
use crate::catalog::run::Counts;
use crate::catalog::{dead_letter, run, space::Space};
use crate::error::Error;

/// What a run did.
pub struct Outcome {
    pub run_id: i64,
    pub files: usize,
    pub counts: Counts,
    pub reject_reasons: BTreeMap<&'static str, i64>,
}

/// Reads everything that `config` names into the space, in the caller's transaction.
pub fn ingest(config: Config, space: &Space, source: &str) -> Result<Outcome, ErrorReport> {
    let partition = writable_partition(space, c"cvx.ingest_parquet()")?;
    let run_id = run::start(source, space.space_id)?;
    let mut outcome = Outcome {
        run_id,
        files: 0,
        counts: Counts::default(),
        reject_reasons: BTreeMap::new(),
    };
    let mut reader = Reader::start(move || Ok(ParquetConnector::open(config)?)).map_err(Error::Source)?;
    let mut writer = Writer::new(space, partition, source);
    while let Some(batch) = reader.next().map_err(Error::Source)? {
        pgrx::check_for_interrupts!();
        let records: Vec<Record<'_>> = batch.records().collect();
        let done = writer.write(&records)?;
        dead_letter::insert(run_id, source, space.space_id, batch.rejects())?;
        for reject in batch.rejects() {
            *outcome.reject_reasons.entry(reject.reason.code()).or_default() += 1;
        }
        let counts = &mut outcome.counts;
        counts.read += batch.rows_read() as i64;
        counts.written += done.written as i64;
        counts.skipped += done.skipped as i64;
        counts.rejected += batch.rejects().len() as i64;
        counts.bytes += batch.bytes() as i64;
    }
    outcome.files = reader.progress.parts_done;
    run::finish(run_id, &outcome.counts)?;
    Ok(outcome)
}

/// The space's partition, locked, after the checks that COPY makes of a user: INSERT on it, and no row-level
/// security. `command` is what an error says cannot be run.
pub fn writable_partition(space: &Space, command: &CStr) -> Result<pg_sys::Oid, ErrorReport> {
    let unknown = || Error::UnknownSpace {
        name: space.name.clone(),
    };
    // Names out of the catalog hold no NUL.
    let name = CString::new(space.name.as_str()).map_err(|_| unknown())?;
    // SAFETY: C strings and catalog look-ups; a failed check raises its own error, a missing relation is InvalidOid.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(command.as_ptr());
        pg_sys::PreventCommandIfParallelMode(command.as_ptr());
        let relation = |schema: &CStr, table: &CStr| {
            pg_sys::get_relname_relid(table.as_ptr(), pg_sys::get_namespace_oid(schema.as_ptr(), true))
        };
        let partition = relation(c"cvx_space", &name);
        if partition == pg_sys::InvalidOid {
            return Err(unknown().into());
        }
        let insert = pg_sys::ACL_INSERT as pg_sys::AclMode;
        let granted = pg_sys::pg_class_aclcheck(partition, pg_sys::GetUserId(), insert);
        if granted != pg_sys::AclResult::ACLCHECK_OK {
            pg_sys::aclcheck_error(granted, pg_sys::ObjectType::OBJECT_TABLE, name.as_ptr());
        }
        for table in [partition, relation(c"cvx", c"embedding")] {
            let rls = pg_sys::check_enable_rls(table, pg_sys::InvalidOid, false);
            if rls == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 {
                return Err(Error::RowSecurity {
                    table: String::from("cvx.embedding"),
                }
                .into());
            }
        }
        // Locked by name only now, when the user may: a space that is being dropped is gone once the lock is there.
        let copied = |text: &CStr| pg_sys::pstrdup(text.as_ptr());
        let named = pg_sys::makeRangeVar(copied(c"cvx_space"), copied(&name), -1);
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let locked = pg_sys::RangeVarGetRelidExtended(
            named,
            lock,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        );
        if locked == partition {
            Ok(partition)
        } else {
            Err(unknown().into())
        }
    }
}
