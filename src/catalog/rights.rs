//! Under whose rights statements run.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Statements, internal, prepared};

thread_local! {
    static OWNER: Statements<()> = Statements::default();
}

/// The role that runs this, as SQL functions see it.
pub fn current_user() -> pg_sys::Oid {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::GetUserId() }
}

/// A role's name.
pub fn name_of(role: pg_sys::Oid) -> Result<String, ErrorReport> {
    let query = "SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) $1";
    let name = Spi::connect(|client| {
        client
            .select(query, Some(1), &[role.into()])?
            .first()
            .get_one::<String>()
    });
    Ok(name.map_err(internal)?.unwrap_or_default())
}

/// Whether the role may do what a role of this name may. Nobody may do what a role may that is gone, but a superuser.
pub fn acts_for(role: pg_sys::Oid, name: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(name) else {
        return false;
    };
    // SAFETY: catalog look-ups with a C string.
    unsafe {
        let other = pg_sys::get_role_oid(name.as_ptr(), true);
        pg_sys::superuser_arg(role) || (other != pg_sys::InvalidOid && pg_sys::has_privs_of_role(role, other))
    }
}

pub fn is_superuser(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::superuser_arg(role) }
}

/// Whether the role may read the server's files.
pub fn reads_server_files(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::has_privs_of_role(role, pg_sys::Oid::from(pg_sys::ROLE_PG_READ_SERVER_FILES)) }
}

/// Runs statements on the extension's own tables, which callers need no rights on.
pub fn as_extension_owner<T>(body: impl FnOnce() -> Result<T, ErrorReport>) -> Result<T, ErrorReport> {
    const QUERY: &str =
        "SELECT e.extowner FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'cvx'";
    // Not get_one, which counts as writing: this is asked on standbys too.
    let owner = Spi::connect(|client| {
        let statement = prepared(&OWNER, (), || Ok(client.prepare(QUERY, &[])?.keep()))?;
        client
            .select(&*statement, Some(1), &[])?
            .first()
            .get_one::<pg_sys::Oid>()
    });
    let owner = owner.map_err(internal)?.unwrap_or_else(current_user);
    with_user(owner, pg_sys::SECURITY_LOCAL_USERID_CHANGE, body)
}

/// Runs as a role in a security-restricted context: what the role's triggers do cannot reach the session's rights.
pub fn restricted_to<T>(
    role: pg_sys::Oid,
    body: impl FnOnce() -> Result<T, ErrorReport>,
) -> Result<T, ErrorReport> {
    let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    with_user(role, flags, body)
}

fn with_user<T>(
    role: pg_sys::Oid,
    flags: u32,
    body: impl FnOnce() -> Result<T, ErrorReport>,
) -> Result<T, ErrorReport> {
    let (mut before, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: restored below, and by the end of the transaction when an error is raised in between.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut before, &mut context);
        pg_sys::SetUserIdAndSecContext(role, context | flags as i32);
    }
    let done = body();
    // SAFETY: as it was.
    unsafe { pg_sys::SetUserIdAndSecContext(before, context) };
    done
}
