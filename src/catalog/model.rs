use cvx_sources::Registered;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Statements, internal, prepared};
use crate::error::Error;
use crate::types::TimestampTz;

thread_local! {
    static REGISTERED: Statements<()> = Statements::default();
    static VERSIONS: Statements<()> = Statements::default();
    static MODEL_OF: Statements<()> = Statements::default();
}

/// What tells a fit from every other: its number, and its time, since the numbers start anew with the extension.
pub type Revision = (i64, TimestampTz);

/// A row of cvx.model_version with the state of its alignment.
#[derive(Clone, Debug)]
pub struct Version {
    pub version: String,
    pub predecessor: Option<String>,
    /// None when its space was dropped.
    pub space_id: Option<i32>,
    pub space: Option<String>,
    pub dims: usize,
    /// Of its alignment to the predecessor; None for the first version.
    pub status: Option<String>,
    /// None when there is no map.
    pub revision: Option<Revision>,
}

/// The model version registered for a space, read with the rights of the extension's owner.
pub fn registered(space_id: i32) -> Result<Option<Registered>, ErrorReport> {
    let found = Spi::connect(|client| {
        let statement = prepared(&REGISTERED, (), || {
            let query = "SELECT r.version, r.model_hash FROM cvx._registered_model($1) r";
            Ok(client.prepare(query, &[PgOid::from(pg_sys::INT4OID)])?.keep())
        })?;
        let rows = client.select(&*statement, Some(1), &[space_id.into()])?;
        if rows.is_empty() {
            Ok((None, None))
        } else {
            rows.first().get_two::<String, String>()
        }
    });
    let (version, hash) = found.map_err(internal)?;
    Ok(version.map(|version| Registered { version, hash }))
}

/// All versions of a model, the first one first; the error that there is none.
pub fn versions(model: &str) -> Result<Vec<Version>, ErrorReport> {
    let found = Spi::connect(|client| {
        let statement = prepared(&VERSIONS, (), || {
            let query = "SELECT v.version, v.predecessor, s.space_id, s.name, v.dims, a.status,
                    CASE WHEN a.forward IS NOT NULL THEN a.revision END, a.computed_at
                FROM cvx.model_version v
                LEFT JOIN cvx.space s ON s.space_id OPERATOR(pg_catalog.=) v.space_id
                LEFT JOIN cvx.alignment a ON a.model OPERATOR(pg_catalog.=) v.model
                    AND a.version OPERATOR(pg_catalog.=) v.version
                WHERE v.model OPERATOR(pg_catalog.=) $1
                ORDER BY v.predecessor IS NOT NULL, v.registered_at, v.version";
            Ok(client.prepare(query, &[PgOid::from(pg_sys::TEXTOID)])?.keep())
        })?;
        let rows = client.select(&*statement, None, &[model.into()])?;
        rows.map(|row| {
            let at = row
                .get::<TimestampWithTimeZone>(8)?
                .map(TimestampTz::from)
                .unwrap_or_default();
            Ok(Version {
                version: row.get(1)?.unwrap_or_default(),
                predecessor: row.get(2)?,
                space_id: row.get(3)?,
                space: row.get(4)?,
                dims: row.get::<i32>(5)?.unwrap_or_default().unsigned_abs() as usize,
                status: row.get(6)?,
                revision: row.get::<i64>(7)?.map(|number| (number, at)),
            })
        })
        .collect::<Result<Vec<_>, pgrx::spi::Error>>()
    })
    .map_err(internal)?;
    if found.is_empty() {
        return Err(Error::UnknownModel {
            model: model.to_owned(),
        }
        .into());
    }
    Ok(found)
}

/// The model that a space is registered for.
pub fn model_of(space_id: i32) -> Result<Option<String>, ErrorReport> {
    Spi::connect(|client| {
        let statement = prepared(&MODEL_OF, (), || {
            let query = "SELECT v.model FROM cvx.model_version v WHERE v.space_id OPERATOR(pg_catalog.=) $1";
            Ok(client.prepare(query, &[PgOid::from(pg_sys::INT4OID)])?.keep())
        })?;
        let rows = client.select(&*statement, Some(1), &[space_id.into()])?;
        if rows.is_empty() {
            Ok(None)
        } else {
            rows.first().get_one::<String>()
        }
    })
    .map_err(internal)
}
