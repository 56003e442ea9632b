//! Making and dropping views.

use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;
use serde_json::Value;

use super::definition::{Definition, Filter};
use super::read::Reading;
use super::request::{Plan, Request, check};
use super::{history, refused, source};
use crate::catalog::view::{self, New, Reads, View};
use crate::catalog::{internal, rights};
use crate::error::Error;
use crate::ingest::declare;
use crate::workers::{poke, shared};

/// More than this and every reader of the list of views would wait for it.
const MOST_VIEWS: i64 = 1000;

pub fn create(request: Request) -> Result<(), ErrorReport> {
    let plan = check(&request)?;
    rights::as_extension_owner(|| make(&request, plan))?;
    poke::workers();
    if !shared::is_preloaded() && request.policy != "manual" {
        ereport!(
            PgLogLevel::WARNING,
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "view {:?} is declared, and this server runs no workers to compute it",
                request.name
            ),
            "Add cvx to shared_preload_libraries in postgresql.conf and restart the server, or call cvx.refresh_view."
        );
    }
    Ok(())
}

/// As the extension's owner.
fn make(request: &Request, mut plan: Plan) -> Result<(), ErrorReport> {
    let count = Spi::get_one::<i64>("SELECT pg_catalog.count(*) FROM cvx.view");
    if count.map_err(internal)?.unwrap_or_default() >= MOST_VIEWS {
        return Err(Error::TooMany {
            kind: "views",
            limit: MOST_VIEWS,
        }
        .into());
    }
    if let Reads::Model(_) = plan.reads {
        // An alignment that is being written now either waits for this view to be there, or is seen by it.
        run("LOCK TABLE cvx.model_version, cvx.alignment IN SHARE MODE")?;
    }
    if let (Reads::Table(_), Some(asked)) = (&plan.reads, &request.table) {
        plan.reads = Reads::Table(view::track(
            asked.relation,
            &asked.entity_column,
            &asked.ts_column,
        )?);
    }
    // A trigger on cvx.view has the source's changes logged from here on.
    let inserted = view::insert(New {
        name: &request.name,
        kind: plan.kind,
        reads: &plan.reads,
        policy: &request.policy,
        schedule: request.schedule.as_deref(),
        time_zone: &request.time_zone,
        entity_filter: normalized(&plan.filter),
        retention: request.retention,
        config: JsonB(request.config.0.clone()),
        owner: &plan.owner_name,
    })?;
    let Some(view_id) = inserted else {
        return Err(Error::ViewExists {
            name: request.name.clone(),
        }
        .into());
    };
    view::insert_state(view_id)?;
    relations(view_id, request, &plan)?;
    if plan.config.query.is_some() {
        source::watch_query(view_id, &request.name, &plan.points, plan.owner)?;
    }
    Ok(())
}

/// The filter as it is stored: ids as texts, as the log has them.
fn normalized(filter: &Filter) -> Option<JsonB> {
    let mut keys = serde_json::Map::new();
    if let Some(ids) = &filter.entity_ids {
        keys.insert(String::from("entity_ids"), Value::from(ids.clone()));
    }
    if let Some(attrs) = &filter.attrs {
        keys.insert(String::from("attrs"), attrs.clone());
    }
    (!keys.is_empty()).then(|| JsonB(Value::Object(keys)))
}

fn relations(view_id: i32, request: &Request, plan: &Plan) -> Result<(), ErrorReport> {
    let name = quote_identifier(&request.name);
    let owner = quote_identifier(&plan.owner_name);
    let vector_schema = source::vector_schema()?;
    let definition = Definition {
        kind: plan.kind,
        config: &plan.config,
        points: &plan.points,
        filter: &plan.filter,
        entity_type: &plan.entity_type,
        vector_schema: &vector_schema,
    };
    let reading = Reading {
        view_id,
        name: &request.name,
        kind: plan.kind,
        reads: &plan.reads,
        entity_type: &plan.entity_type,
        retention: plan.retention.as_deref(),
        ttl: plan.config.ttl,
        entity_ids: plan.filter.entity_ids.as_deref(),
    };
    run(&format!(
        "CREATE VIEW cvx_view_definition.{name} AS {}",
        definition.query()
    ))?;
    run(&format!(
        "CREATE TABLE cvx_view_data.{name} WITH (fillfactor = 80) AS
         SELECT d.*, NULL::pg_catalog.timestamptz AS computed_at FROM cvx_view_definition.{name} d WITH NO DATA"
    ))?;
    run(&format!(
        "ALTER TABLE cvx_view_data.{name} ADD PRIMARY KEY ({}), ALTER COLUMN computed_at SET NOT NULL",
        plan.kind.key()
    ))?;
    run(&format!("CREATE VIEW cvx_view.{name} AS {}", reading.query()))?;
    run(&format!("ALTER VIEW cvx_view_definition.{name} OWNER TO {owner}"))?;
    run(&format!("ALTER TABLE cvx_view_data.{name} OWNER TO {owner}"))?;
    run(&format!(
        "GRANT SELECT ON cvx_view.{name} TO {owner} WITH GRANT OPTION"
    ))?;
    let comment = pgrx::spi::quote_literal(format!("{} made by cvx.create_view", plan.kind.name()));
    run(&format!("COMMENT ON VIEW cvx_view.{name} IS {comment}"))?;
    if plan.config.history {
        run(&format!(
            "CREATE VIEW cvx_view_points.{name} AS {}",
            definition.points()
        ))?;
        run(&format!("ALTER VIEW cvx_view_points.{name} OWNER TO {owner}"))?;
        if let Some(made) = view::by_id(view_id)? {
            history::create_table(&made)?;
        }
        run(&format!("ALTER TABLE cvx_view_history.{name} OWNER TO {owner}"))?;
    }
    Ok(())
}

/// The view of this name, for somebody who may change it.
pub fn owned(name: &str) -> Result<View, ErrorReport> {
    let user = rights::current_user();
    let Some(found) = rights::as_extension_owner(|| view::by_name(name))? else {
        return Err(Error::UnknownView {
            name: name.to_owned(),
        }
        .into());
    };
    if !rights::acts_for(user, &found.owner) {
        return Err(Error::NotOwner {
            kind: "view",
            name: name.to_owned(),
        }
        .into());
    }
    Ok(found)
}

pub fn drop_view(it: &View) -> Result<(), ErrorReport> {
    rights::as_extension_owner(|| {
        view::lock(it.view_id, true)?;
        source::unwatch_query(it.view_id)?;
        let name = quote_identifier(&it.name);
        // Forgotten first: what notices relations that are dropped by hand then finds nothing of this view.
        view::delete(it.view_id)?;
        run(&format!("DROP VIEW cvx_view.{name}"))?;
        if it.config.history {
            run(&format!("DROP TABLE cvx_view_history.{name}"))?;
            run(&format!("DROP VIEW cvx_view_points.{name}"))?;
        }
        run(&format!("DROP TABLE cvx_view_data.{name}"))?;
        run(&format!("DROP VIEW cvx_view_definition.{name}"))?;
        view::forget_untracked().map(drop)
    })?;
    poke::workers();
    Ok(())
}

/// The role that a view is computed as.
pub fn owner_of(it: &View) -> Result<pg_sys::Oid, ErrorReport> {
    it.owner_oid.ok_or_else(|| {
        refused(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!(
                "the owner of view {:?}, role {:?}, does not exist",
                it.name, it.owner
            ),
            "Drop the view and create it again as a role that exists.",
        )
    })
}

/// When a schedule is due next, in microseconds since 2000.
pub fn next_run(it: &View) -> Result<Option<i64>, ErrorReport> {
    declare::next_time(it.schedule.as_deref(), &it.time_zone)
}

pub(super) fn run(statement: &str) -> Result<(), ErrorReport> {
    Spi::run(statement).map_err(internal)
}
