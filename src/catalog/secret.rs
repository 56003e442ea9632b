use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::internal;

/// A secret's owner and value.
pub fn load(name: &str) -> Result<Option<(String, String)>, ErrorReport> {
    let query = "SELECT s.owner::text, s.value FROM cvx.secret s WHERE s.name OPERATOR(pg_catalog.=) $1";
    Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[name.into()])?;
        rows.into_iter().next().map_or(Ok(None), |row| {
            Ok(row.get::<String>(1)?.zip(row.get::<String>(2)?))
        })
    })
    .map_err(internal)
}

/// Keeps a secret, in place of the one of this name.
pub fn store(name: &str, owner: &str, value: &str) -> Result<(), ErrorReport> {
    let upsert = "INSERT INTO cvx.secret AS s (name, owner, value) VALUES ($1, $2::pg_catalog.name, $3)
        ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, value = excluded.value, changed_at = pg_catalog.now()";
    Spi::run_with_args(upsert, &[name.into(), owner.into(), value.into()]).map_err(internal)
}

pub fn delete(name: &str) -> Result<(), ErrorReport> {
    let delete = "DELETE FROM cvx.secret s WHERE s.name OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(delete, &[name.into()]).map_err(internal)
}
