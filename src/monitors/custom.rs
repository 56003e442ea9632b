//! Queries of users: each row is a finding.
//!
//! They run as the monitor's owner, who is logged in: no SET ROLE leads to more. The transaction, or the part of one, is
//! read only, which nothing inside it can change, and is rolled back whatever it did.

use std::cell::RefCell;

use pgrx::JsonB;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
use serde_json::Value;

use super::{Finding, invalid, refused};
use crate::catalog::monitor::Monitor;
use crate::catalog::{internal, parse, rights, subtransaction};
use crate::guc;
use crate::types::TimestampTz;

/// Rows that are looked at.
const MOST_ROWS: usize = 10_000;
/// Bytes of them.
const MOST_BYTES: usize = 64 << 20;
const BATCH: i64 = 500;

/// It must be one SELECT by itself; returns it without what ends it.
pub fn check(sql: &str) -> Result<&str, ErrorReport> {
    parse::one_select(sql).ok_or_else(|| {
        invalid(
            "the query of a monitor is one SELECT",
            "Each of its rows is an alert; columns entity_id, ts, value, severity and message are taken as such.",
        )
    })
}

/// Whether a role's queries are run at all.
pub fn check_owner(owner: pg_sys::Oid) -> Result<(), ErrorReport> {
    if rights::is_superuser(owner) && !guc::superuser_monitors() {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "custom queries of superusers are not run",
            "Create the monitor as a role with fewer rights, or set cvx.superuser_monitors to on in postgresql.conf.",
        ));
    }
    Ok(())
}

/// Runs the query in the session of a user, who must be logged in as the owner.
pub fn in_session(it: &Monitor, sql: &str, owner: pg_sys::Oid) -> Result<Vec<Finding>, ErrorReport> {
    check_owner(owner)?;
    // SAFETY: a plain variable of the backend.
    let login = unsafe { pg_sys::GetSessionUserId() };
    if login != owner || rights::current_user() != owner {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!(
                "the query of monitor {:?} runs in sessions of its owner, role {:?}, alone",
                it.declared.name, it.owner
            ),
            "Log in as that role, or let the workers evaluate it.",
        ));
    }
    undone(|| collect(sql, owner))
}

/// Runs the query as the role that this process is logged in as, in a transaction that the caller rolls back.
pub fn collect(sql: &str, owner: pg_sys::Oid) -> Result<Vec<Finding>, ErrorReport> {
    // SAFETY: PostgreSQL's flag of the transaction, which nothing but its end takes back.
    unsafe { pg_sys::XactReadOnly = true };
    rights::restricted_to(owner, || rows(sql))
}

/// What `body` returns; all else that it did is undone.
fn undone<T>(body: impl FnOnce() -> Result<T, ErrorReport>) -> Result<T, ErrorReport> {
    let kept = RefCell::new(None);
    subtransaction::attempt(
        || {
            let found = body()?;
            kept.replace(Some(found));
            // The only way to have a subtransaction rolled back.
            Err(ErrorReport::new(
                PgSqlErrorCode::ERRCODE_TRANSACTION_ROLLBACK,
                "rolled back",
                "cvx",
            ))
        },
        |error: CaughtError| match kept.borrow().is_some() {
            true => Ok(()),
            false => error.rethrow(),
        },
    )?;
    let missing = || crate::monitors::invalid("the query of the monitor was not run", "Try it again.");
    kept.into_inner().ok_or_else(missing)
}

fn wrapped(sql: &str) -> Result<String, ErrorReport> {
    let sql = check(sql)?;
    Ok(format!(
        "SELECT q.j, q.j OPERATOR(pg_catalog.->>) 'entity_id',
            (q.j OPERATOR(pg_catalog.->>) 'ts')::pg_catalog.timestamptz,
            (q.j OPERATOR(pg_catalog.->>) 'value')::pg_catalog.float8,
            q.j OPERATOR(pg_catalog.->>) 'severity', q.j OPERATOR(pg_catalog.->>) 'message'
         FROM (SELECT pg_catalog.to_jsonb(r) AS j FROM (\n{sql}\n) r) q"
    ))
}

/// Whether PostgreSQL understands the query, with the rights of its owner.
pub fn try_out(sql: &str, owner: pg_sys::Oid) -> Result<(), ErrorReport> {
    let query = wrapped(sql)?;
    rights::restricted_to(owner, || {
        Spi::connect(|client| client.prepare(query.as_str(), &[]).map(drop)).map_err(internal)
    })
}

fn rows(sql: &str) -> Result<Vec<Finding>, ErrorReport> {
    let mut found = Vec::new();
    let mut bytes = 0;
    let query = wrapped(sql)?;
    Spi::connect(|client| {
        let mut cursor = client.try_open_cursor(query.as_str(), &[])?;
        loop {
            let batch = cursor.fetch(BATCH)?;
            if batch.is_empty() {
                return Ok::<_, pgrx::spi::Error>(());
            }
            for row in batch {
                let (finding, size) = finding(&row)?;
                bytes += size;
                found.push(finding);
                if found.len() >= MOST_ROWS || bytes > MOST_BYTES {
                    return Ok(());
                }
            }
        }
    })
    .map_err(internal)?;
    Ok(found)
}

fn finding(row: &SpiHeapTupleData<'_>) -> pgrx::spi::Result<(Finding, usize)> {
    let details = row.get::<JsonB>(1)?.map_or(Value::Null, |it| it.0);
    let text = details.to_string();
    let given: Option<String> = row.get(6)?;
    let finding = Finding {
        entity_id: row.get(2)?,
        ts: row.get::<TimestampWithTimeZone>(3)?.map(TimestampTz::from),
        value: row.get(4)?,
        severity: row
            .get::<String>(5)?
            .filter(|it| cvx_config::SEVERITIES.contains(&it.as_str())),
        message: given.unwrap_or_else(|| shown(&text)),
        details,
        ..Finding::default()
    };
    Ok((finding, text.len()))
}

/// A row as the message of an alert, when it has none of its own.
fn shown(row: &str) -> String {
    const MOST_CHARS: usize = 200;
    match row.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}...", &row[..end]),
        None => row.to_owned(),
    }
}
