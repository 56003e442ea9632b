//! What a view held of an entity at a time, as a service asks for it: one index probe.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::refused;
use crate::catalog::point_in_time::{self, Json};
use crate::catalog::{rights, view};
use crate::error::Error;
use crate::types::TimestampTz;

/// What is asked of a view, made once a session.
struct Asked {
    version: String,
    view_id: i32,
    ttl: Option<i64>,
    /// By what is known now, and by what was known at a time.
    queries: [String; 2],
}

/// More views than this and it starts anew.
const MOST_VIEWS: usize = 256;

thread_local! {
    static KEPT: RefCell<HashMap<String, Rc<Asked>>> = RefCell::default();
}

pub fn features(
    view: &str,
    entity_id: &str,
    as_of: TimestampTz,
    known_at: Option<TimestampTz>,
) -> Result<Option<Json>, ErrorReport> {
    // Since when it is stale is read first: what is read after it holds at least what is not missing then.
    let (asked, stale_since) = rights::as_extension_owner(|| {
        let asked = asked(view)?;
        let stale_since = point_in_time::stale_since(asked.view_id, entity_id)?;
        Ok((asked, stale_since))
    })?;
    // What will ever be known is what is known.
    let known_at = known_at.filter(|it| *it != TimestampTz::MAX);
    let query = &asked.queries[usize::from(known_at.is_some())];
    let found = point_in_time::features(query, entity_id, as_of, stale_since, known_at)?;
    let is_alive = |valid_from: TimestampTz| {
        asked
            .ttl
            .is_none_or(|ttl| as_of.saturating_sub(ttl) <= valid_from)
    };
    Ok(found.filter(|it| is_alive(it.1)).map(|it| it.0))
}

fn asked(name: &str) -> Result<Rc<Asked>, ErrorReport> {
    let unknown = || Error::UnknownView {
        name: name.to_owned(),
    };
    let Some((view_id, version)) = point_in_time::declared(name)? else {
        return Err(unknown().into());
    };
    let is_current = |it: &Rc<Asked>| it.view_id == view_id && it.version == version;
    if let Some(asked) = KEPT.with_borrow(|kept| kept.get(name).filter(|it| is_current(it)).cloned()) {
        return Ok(asked);
    }
    let view = with_history(view::by_id(view_id)?.ok_or_else(unknown)?)?;
    let asked = Rc::new(Asked {
        version,
        view_id,
        ttl: view.config.ttl,
        queries: [false, true].map(|known_at| point_in_time::query(&view, known_at)),
    });
    KEPT.with_borrow_mut(|kept| {
        if kept.len() >= MOST_VIEWS {
            kept.clear();
        }
        kept.insert(name.to_owned(), Rc::clone(&asked));
    });
    Ok(asked)
}

/// The view, or the error that it keeps no history.
pub fn with_history(it: view::View) -> Result<view::View, ErrorReport> {
    if it.config.history {
        return Ok(it);
    }
    Err(refused(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("view {:?} keeps no history", it.name),
        "Make one of type temporal_features or drift_summary with config => '{\"history\": true}'.",
    ))
}
