//! Sources and monitors as one TOML text: making the database match it, and printing what the database has.

use std::collections::{BTreeMap, BTreeSet};

use cvx_config::Declaration;
use pgrx::pg_sys::panic::ErrorReport;
use serde_json::Value;

use super::declare;
use crate::catalog::monitor::{self, Monitor};
use crate::catalog::rights;
use crate::catalog::source::{self, Declared, Source};
use crate::error::Error;
use crate::monitors::declare as monitors;
use crate::workers::poke;

/// What was done, or would be, with one source or monitor.
pub struct Done {
    pub kind: &'static str,
    pub name: String,
    pub action: &'static str,
}

/// Makes the sources and monitors that the calling role may change those of the text.
pub fn apply(toml: &str, dry_run: bool) -> Result<Vec<Done>, ErrorReport> {
    let wanted = cvx_config::parse(toml).map_err(Error::Declaration)?;
    let mut done = apply_sources(&wanted, dry_run)?;
    done.extend(apply_monitors(wanted, dry_run)?);
    Ok(done)
}

fn apply_sources(wanted: &Declaration, dry_run: bool) -> Result<Vec<Done>, ErrorReport> {
    let user = rights::current_user();
    let user_name = rights::name_of(user)?;
    let there: BTreeMap<String, Source> = rights::as_extension_owner(source::all)?
        .into_iter()
        .map(|it| (it.declared.name.clone(), it))
        .collect();
    let mut done = Vec::new();
    let mut note = |name: &str, action| {
        done.push(Done {
            kind: "source",
            name: name.to_owned(),
            action,
        });
    };
    for it in &wanted.sources {
        let declared = Declared {
            name: it.name.clone(),
            source_type: it.source_type.clone(),
            space: it.space.clone(),
            config: Value::Object(it.config.clone()),
            schedule: it.schedule.clone(),
            time_zone: it.time_zone.clone(),
            incremental: it.incremental,
            priority: it.priority,
            model: it.model.clone(),
        };
        match there.get(&it.name) {
            None => {
                declare::check(&declared, user, &user_name)
                    .map_err(|error| in_declaration("source", &it.name, error))?;
                if !dry_run {
                    declare::create(&declared)?;
                }
                note(&it.name, "created");
            }
            Some(before) if !rights::acts_for(user, &before.owner) => {
                return Err(Error::NotOwner {
                    kind: "source",
                    name: it.name.clone(),
                }
                .into());
            }
            Some(before) if before.declared == declared => note(&it.name, "unchanged"),
            Some(before) => {
                let owner = declare::owner_of(before)?;
                declare::check(&declared, owner, &before.owner)
                    .map_err(|error| in_declaration("source", &it.name, error))?;
                if !dry_run {
                    declare::alter(before, &declared)?;
                }
                note(&it.name, "altered");
            }
        }
    }
    let kept: BTreeSet<&str> = wanted.sources.iter().map(|it| it.name.as_str()).collect();
    for (name, it) in there {
        if !kept.contains(name.as_str()) && rights::acts_for(user, &it.owner) {
            if !dry_run {
                rights::as_extension_owner(|| source::delete(it.source_id))?;
                poke::workers();
            }
            note(&name, "dropped");
        }
    }
    Ok(done)
}

fn in_declaration(kind: &str, name: &str, error: ErrorReport) -> ErrorReport {
    let detail = error.detail().map_or_else(String::new, |it| format!(" {it}"));
    error.set_detail(format!("In {kind} {name:?}.{detail}"))
}

fn apply_monitors(wanted: Declaration, dry_run: bool) -> Result<Vec<Done>, ErrorReport> {
    let user = rights::current_user();
    let there: BTreeMap<String, Monitor> = rights::as_extension_owner(monitor::all)?
        .into_iter()
        .map(|it| (it.declared.name.clone(), it))
        .collect();
    let mut done = Vec::new();
    let mut kept = BTreeSet::new();
    for it in wanted.monitors {
        let it = monitors::normalize(it)?;
        let action = match there.get(&it.name) {
            None if dry_run => monitors::check(&it, user).map(|_| "created"),
            None => monitors::create(&it).map(|_| "created"),
            Some(before) => match monitors::check_owns(&before.owner, "monitor", &it.name) {
                Err(error) => return Err(error),
                Ok(()) if before.declared == it => Ok("unchanged"),
                Ok(()) if dry_run => monitors::owner_of(before)
                    .and_then(|owner| monitors::check(&it, owner))
                    .map(|_| "altered"),
                Ok(()) => monitors::alter(before, &it).map(|()| "altered"),
            },
        };
        let action = action.map_err(|error| in_declaration("monitor", &it.name, error))?;
        kept.insert(it.name.clone());
        done.push(Done {
            kind: "monitor",
            name: it.name,
            action,
        });
    }
    for (name, it) in there {
        if !kept.contains(&name) && rights::acts_for(user, &it.owner) {
            if !dry_run {
                monitors::drop_monitor(&it)?;
            }
            done.push(Done {
                kind: "monitor",
                name,
                action: "dropped",
            });
        }
    }
    Ok(done)
}

/// Everything that is declared in this database.
pub fn dump() -> Result<String, ErrorReport> {
    let (sources, monitors) = rights::as_extension_owner(|| Ok((source::all()?, monitor::all()?)))?;
    let sources = sources.into_iter().map(|it| cvx_config::Source {
        name: it.declared.name,
        source_type: it.declared.source_type,
        space: it.declared.space,
        config: match it.declared.config {
            Value::Object(config) => config,
            _ => Default::default(),
        },
        schedule: it.declared.schedule,
        time_zone: it.declared.time_zone,
        incremental: it.declared.incremental,
        priority: it.declared.priority,
        model: it.declared.model,
    });
    Ok(cvx_config::print(&Declaration {
        sources: sources.collect(),
        monitors: monitors.into_iter().map(|it| it.declared).collect(),
    }))
}
