use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::internal;

/// This server and this database, as cvx.activation names them.
fn here() -> (String, pg_sys::Oid) {
    // SAFETY: plain variables of the server.
    unsafe { (pg_sys::GetSystemIdentifier().to_string(), pg_sys::MyDatabaseId) }
}

/// Whether workers may act here.
pub fn is_enabled() -> Result<bool, ErrorReport> {
    let query = "SELECT EXISTS (SELECT FROM cvx.activation a
        WHERE a.system_identifier OPERATOR(pg_catalog.=) $1 AND a.database_oid OPERATOR(pg_catalog.=) $2)";
    let (system, database) = here();
    let arguments = [system.into(), database.into()];
    let found = Spi::connect(|client| {
        client
            .select(query, Some(1), &arguments)?
            .first()
            .get_one::<bool>()
    });
    Ok(found.map_err(internal)?.unwrap_or(false))
}

pub fn enable() -> Result<(), ErrorReport> {
    let insert =
        "INSERT INTO cvx.activation (system_identifier, database_oid) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let (system, database) = here();
    Spi::run_with_args(insert, &[system.into(), database.into()]).map_err(internal)
}

/// Of any server: what is copied from here is off as well.
pub fn disable() -> Result<(), ErrorReport> {
    Spi::run("DELETE FROM cvx.activation").map_err(internal)
}
