//! Declaring sources: what is checked, with whose rights, and who is told.

use cvx_config::schedule::Schedule;
use cvx_sources::{SecretRef, Secrets, SourceConfig};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::catalog::source::{self, Declared, Source};
use crate::catalog::{activation, rights, secret, space::Space};
use crate::error::Error;
use crate::guc;
use crate::workers::{poke, process::now, shared};

/// More than this and the declarations themselves would be the load.
const MOST_SOURCES: i64 = 1000;
const MOST_NAME_BYTES: usize = 255;
/// Between 1970 and 2000.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Checks a declaration with the rights of `owner`, without looking at the source.
pub fn check(it: &Declared, owner: pg_sys::Oid, owner_name: &str) -> Result<SourceConfig, ErrorReport> {
    check_name("source", &it.name)?;
    let config = SourceConfig::parse(&it.source_type, &it.config).map_err(Error::Source)?;
    if let Some(schedule) = &it.schedule {
        Schedule::parse(schedule, &it.time_zone).map_err(Error::Declaration)?;
    }
    let space = Space::by_name(&it.space)?;
    rights::restricted_to(owner, || {
        super::parquet::writable_partition(&space, c"cvx.create_source()").map(drop)
    })?;
    check_needs(&config, owner, owner_name)?;
    Ok(config)
}

pub fn check_name(kind: &'static str, name: &str) -> Result<(), ErrorReport> {
    if (1..=MOST_NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::InvalidName {
        kind,
        bytes: name.len(),
    }
    .into())
}

/// What the source reaches with the server's own rights, its owner must have as well.
pub fn check_needs(config: &SourceConfig, owner: pg_sys::Oid, owner_name: &str) -> Result<(), ErrorReport> {
    let needs = config.needs();
    let refused = |what| {
        Err(Error::SourceNeeds {
            role: owner_name.to_owned(),
            what,
        }
        .into())
    };
    if needs.server_identity && !rights::is_superuser(owner) {
        return refused("a login without a password, which is the database server's own");
    }
    if (needs.server_files || needs.server_credentials) && !rights::reads_server_files(owner) {
        return refused(if needs.server_files {
            "files of the server"
        } else {
            "the server's own credentials"
        });
    }
    Ok(())
}

/// Makes a source that belongs to the calling role. In a database without any, workers may act from here on: what a
/// dump or a copy brings is not made by this function.
pub fn create(it: &Declared) -> Result<i32, ErrorReport> {
    let owner = rights::current_user();
    let owner_name = rights::name_of(owner)?;
    check(it, owner, &owner_name)?;
    let next = next_run(it)?;
    let source_id = rights::as_extension_owner(|| {
        let count = count()?;
        if count == 0 {
            activation::enable()?;
        }
        if count >= MOST_SOURCES {
            return Err(Error::TooMany {
                kind: "sources",
                limit: MOST_SOURCES,
            }
            .into());
        }
        let Some(source_id) = source::insert(it, &owner_name)? else {
            return Err(Error::SourceExists {
                name: it.name.clone(),
            }
            .into());
        };
        let next = next.map(TimestampWithTimeZone::try_from).and_then(Result::ok);
        source::set_state(
            source_id,
            "owner_oid = $2, next_run_at = $3",
            vec![owner.into(), next.into()],
        )?;
        Ok(source_id)
    })?;
    poke::workers();
    if !shared::is_preloaded() {
        let source = it.name.clone();
        Error::NoWorkers { source }.warn();
    }
    Ok(source_id)
}

fn count() -> Result<i64, ErrorReport> {
    let count = Spi::get_one::<i64>("SELECT pg_catalog.count(*) FROM cvx.source");
    Ok(count.map_err(crate::catalog::internal)?.unwrap_or_default())
}

/// Changes a source into what is declared now.
pub fn alter(before: &Source, it: &Declared) -> Result<(), ErrorReport> {
    let owner = owner_of(before)?;
    check(it, owner, &before.owner)?;
    let next = next_run(it)?;
    rights::as_extension_owner(|| {
        source::update(before.source_id, it)?;
        let next = next.map(TimestampWithTimeZone::try_from).and_then(Result::ok);
        let set = "next_run_at = $2, failures = 0, crashes = 0, next_attempt_at = NULL,
            status = CASE WHEN status OPERATOR(pg_catalog.=) 'running' THEN status ELSE 'waiting' END,
            requested = CASE WHEN failures OPERATOR(pg_catalog.>) 0 THEN COALESCE(requested, 'sync') ELSE requested END";
        source::set_state(before.source_id, set, vec![next.into()])
    })?;
    poke::workers();
    Ok(())
}

/// The source of this name, for somebody who may change it.
pub fn owned(name: &str) -> Result<Source, ErrorReport> {
    let user = rights::current_user();
    let found = rights::as_extension_owner(|| source::by_name(name))?;
    let Some(found) = found else {
        return Err(Error::UnknownSource {
            name: name.to_owned(),
        }
        .into());
    };
    if !rights::acts_for(user, &found.owner) {
        return Err(Error::NotOwner {
            kind: "source",
            name: name.to_owned(),
        }
        .into());
    }
    Ok(found)
}

/// The role that a source writes as: the one that was there when it was declared.
pub fn owner_of(it: &Source) -> Result<pg_sys::Oid, ErrorReport> {
    match (it.owner_oid, it.state.owner_oid) {
        (Some(now), Some(then)) if now != then => Err(ErrorReport::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!(
                "the owner of source {:?}, role {:?}, was dropped",
                it.declared.name, it.owner
            ),
            "cvx",
        )
        .set_hint("A role of the same name has been made since. Drop the source and create it again.")),
        (Some(now), _) => Ok(now),
        (None, _) => Err(ErrorReport::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!(
                "the owner of source {:?}, role {:?}, does not exist",
                it.declared.name, it.owner
            ),
            "cvx",
        )
        .set_hint("Drop the source and create it again as a role that exists.")),
    }
}

/// When a schedule is due next, in microseconds since 2000.
pub fn next_run(it: &Declared) -> Result<Option<i64>, ErrorReport> {
    next_time(it.schedule.as_deref(), &it.time_zone)
}

pub fn next_time(cron: Option<&str>, time_zone: &str) -> Result<Option<i64>, ErrorReport> {
    let Some(cron) = cron else {
        return Ok(None);
    };
    let schedule = Schedule::parse(cron, time_zone).map_err(Error::Declaration)?;
    Ok(schedule
        .next_after(now().saturating_add(EPOCH_MICROS))
        .map(|at| at.saturating_sub(EPOCH_MICROS)))
}

/// The values of the secrets that a configuration refers to, as far as its owner may use them.
pub fn resolve_secrets(config: &SourceConfig, owner: pg_sys::Oid) -> Result<Secrets, ErrorReport> {
    let values = config.secrets().into_iter().map(|reference| {
        let value = resolve_secret(&reference, owner)?;
        Ok((reference, value))
    });
    values.collect()
}

/// What a reference stands for, if its owner may use it.
pub fn resolve_secret(reference: &SecretRef, owner: pg_sys::Oid) -> Result<String, ErrorReport> {
    let name = match reference {
        SecretRef::Secret(name) => name,
        SecretRef::Env(name) => return environment(name),
    };
    let found = rights::as_extension_owner(|| secret::load(name))?;
    let Some((secret_owner, value)) = found else {
        return Err(Error::UnknownSecret { name: name.clone() }.into());
    };
    if !rights::acts_for(owner, &secret_owner) {
        return Err(Error::NotOwner {
            kind: "secret",
            name: name.clone(),
        }
        .into());
    }
    Ok(value)
}

fn environment(name: &str) -> Result<String, ErrorReport> {
    let refused = |problem: &str, hint: &str| {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("environment variable {name:?} {problem}"),
            "cvx",
        )
        .set_hint(hint.to_owned())
    };
    if !guc::may_read_environment(name) {
        return Err(refused(
            "is not one that sources may refer to",
            "A superuser can add it to cvx.source_environment.",
        ));
    }
    std::env::var(name).map_err(|_| {
        refused(
            "is not set for the server",
            "Set it where the server is started, and restart it.",
        )
    })
}
