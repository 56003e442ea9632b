//! Making and dropping views.

use std::ffi::CString;

use cvx_config::schedule::Schedule;
use pgrx::JsonB;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;
use serde_json::Value;

use super::config::{Config, invalid};
use super::definition::{self, Columns, Definition, Filter, Points};
use super::read::Reading;
use super::{history, source};
use crate::catalog::view::{self, Kind, New, Reads, View};
use crate::catalog::{internal, rights, space::Space};
use crate::error::Error;
use crate::ingest::declare;
use crate::workers::{poke, shared};

/// More than this and every reader of the list of views would wait for it.
const MOST_VIEWS: i64 = 1000;
/// What a name may have: it is that of five relations.
const MOST_NAME_BYTES: usize = 63;
const MOST_ENTITY_IDS: usize = 100_000;

/// What cvx.create_view was asked for.
pub struct Request {
    pub name: String,
    pub kind: String,
    pub space: Option<String>,
    pub model: Option<String>,
    pub policy: String,
    pub schedule: Option<String>,
    pub time_zone: String,
    pub entity_filter: Option<JsonB>,
    pub retention: Option<Interval>,
    pub config: JsonB,
    pub table: Option<source::Asked>,
}

/// What it comes to, checked.
struct Plan {
    kind: Kind,
    config: Config,
    filter: Filter,
    points: Points,
    entity_type: String,
    owner: pg_sys::Oid,
    owner_name: String,
    reads: Reads,
    retention: Option<String>,
}

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

fn check(request: &Request) -> Result<Plan, ErrorReport> {
    if !(1..=MOST_NAME_BYTES).contains(&request.name.len()) {
        return Err(Error::InvalidView {
            code: PgSqlErrorCode::ERRCODE_INVALID_NAME,
            message: format!(
                "the name of a view has 1 to {MOST_NAME_BYTES} bytes, not {}",
                request.name.len()
            ),
            hint: String::from("The view is read as cvx_view.<name>."),
        }
        .into());
    }
    let Some(kind) = Kind::parse(&request.kind) else {
        return Err(invalid(
            format!("unknown type of view: {:?}", request.kind),
            "Expected temporal_features, drift_summary, changepoint_cache or cohort_snapshot.",
        ));
    };
    check_policy(request)?;
    let config = Config::parse(kind, &request.config.0)?;
    let owner = rights::current_user();
    let owner_name = rights::name_of(owner)?;
    let (points, reads, entity_type) = resolve(request, &config, owner)?;
    if config.ingested_at_column.is_some() && !matches!(reads, Reads::Table(_)) {
        return Err(invalid(
            "ingested_at_column is an option of views on tables of users",
            "Spaces record ingested_at themselves.",
        ));
    }
    let mut filter = parse_filter(request.entity_filter.as_ref(), matches!(reads, Reads::Table(_)))?;
    if let Some(ids) = &filter.entity_ids {
        filter.entity_ids = Some(source::spelled(ids, &entity_type)?);
    }
    check_detection(kind, &config)?;
    if let Some(query) = &config.query {
        check_query(query)?;
    }
    if request.retention.is_some() && kind.time_column().is_none() {
        return Err(invalid(
            "a cohort_snapshot has no retention",
            "It holds what the cohort is now; a window in its config limits how far back that looks.",
        ));
    }
    Ok(Plan {
        kind,
        config,
        filter,
        points,
        entity_type,
        owner,
        owner_name,
        reads,
        retention: request.retention.map(interval_text).transpose()?,
    })
}

fn check_policy(request: &Request) -> Result<(), ErrorReport> {
    if !["on_ingest", "scheduled", "manual"].contains(&request.policy.as_str()) {
        return Err(invalid(
            format!("unknown refresh policy: {:?}", request.policy),
            "Expected on_ingest, scheduled or manual.",
        ));
    }
    match (&request.schedule, request.policy.as_str()) {
        (Some(schedule), "scheduled") => {
            Schedule::parse(schedule, &request.time_zone).map_err(Error::Declaration)?;
            Ok(())
        }
        (None, "scheduled") => Err(invalid(
            "a view that is refreshed by schedule needs one",
            "For example: schedule => '0 2 * * *'.",
        )),
        (Some(_), policy) => Err(invalid(
            format!("a schedule does not go with refresh policy {policy:?}"),
            "Set refresh_policy => 'scheduled'.",
        )),
        (None, _) => Ok(()),
    }
}

fn resolve(
    request: &Request,
    config: &Config,
    owner: pg_sys::Oid,
) -> Result<(Points, Reads, String), ErrorReport> {
    match (&request.space, &request.model, &request.table) {
        (Some(name), None, None) => {
            let space = Space::by_name(name)?;
            source::check_embedding(owner)?;
            let points = Points::Table(Columns::of_space(space.space_id));
            Ok((
                points,
                Reads::Space(space.space_id),
                String::from("pg_catalog.text"),
            ))
        }
        (None, Some(model), None) => {
            source::check_embedding(owner)?;
            if view::spaces_of(model)?.is_empty() {
                return Err(Error::UnknownModel { model: model.clone() }.into());
            }
            let points = Points::Model(model.clone());
            Ok((
                points,
                Reads::Model(model.clone()),
                String::from("pg_catalog.text"),
            ))
        }
        (None, None, Some(asked)) => {
            let found = source::resolve(asked, config.ingested_at_column.as_deref(), owner)?;
            // The id follows when all else has been checked.
            Ok((Points::Table(found.columns), Reads::Table(0), found.entity_type))
        }
        _ => Err(invalid(
            "a view reads one space, one model or one source_table",
            "For example: cvx.create_view('v', 'temporal_features', space => 'bert-v2').",
        )),
    }
}

/// The entities that a view is about.
fn parse_filter(given: Option<&JsonB>, of_table: bool) -> Result<Filter, ErrorReport> {
    const HINT: &str =
        "For example: '{\"entity_ids\": [\"a\", \"b\"]}' or '{\"attrs\": {\"plan\": \"pro\"}}'.";
    let mut filter = Filter::default();
    let Some(JsonB(given)) = given else {
        return Ok(filter);
    };
    let Value::Object(keys) = given else {
        return Err(invalid("an entity_filter is a JSON object", HINT));
    };
    for (key, value) in keys {
        match (key.as_str(), value) {
            ("entity_ids", Value::Array(ids)) if !ids.is_empty() && ids.len() <= MOST_ENTITY_IDS => {
                let text = |id: &Value| match id {
                    Value::String(it) => Ok(it.clone()),
                    Value::Number(it) if it.is_i64() => Ok(it.to_string()),
                    other => Err(invalid(format!("not an entity id: {other}"), HINT)),
                };
                filter.entity_ids = Some(ids.iter().map(text).collect::<Result<_, _>>()?);
            }
            ("entity_ids", _) => {
                return Err(invalid(
                    format!("entity_ids is a list of 1 to {MOST_ENTITY_IDS} ids"),
                    HINT,
                ));
            }
            ("attrs", Value::Object(_)) if !of_table => filter.attrs = Some(value.clone()),
            ("attrs", Value::Object(_)) => {
                return Err(invalid(
                    "a filter by attrs is for views on spaces and models",
                    "Make the view of a table whose rows are those that it is about, or filter by entity_ids.",
                ));
            }
            ("attrs", _) => return Err(invalid("attrs is a JSON object that attrs must contain", HINT)),
            (other, _) => {
                let other: String = other.chars().take(100).collect();
                return Err(invalid(
                    format!("unknown key of an entity_filter: {other:?}"),
                    HINT,
                ));
            }
        }
    }
    Ok(filter)
}

/// Options that the function refuses of any trajectory.
fn check_detection(kind: Kind, config: &Config) -> Result<(), ErrorReport> {
    if kind != Kind::ChangepointCache {
        return Ok(());
    }
    let arguments = definition::detection(config);
    let query = format!("SELECT FROM cvx.changepoints('{{}}'::cvx.trajectory{arguments})");
    Spi::connect(|client| client.select(query.as_str(), None, &[]).map(|_| ())).map_err(internal)
}

/// The text goes between parentheses of a statement of the extension's owner: it must be one SELECT by itself.
fn check_query(query: &str) -> Result<(), ErrorReport> {
    let refused = || {
        invalid(
            "the query of a cohort is one SELECT of one column of entity ids",
            "For example: '{\"query\": \"SELECT user_id FROM public.premium\"}'.",
        )
    };
    let text = CString::new(query).map_err(|_| refused())?;
    // SAFETY: parses a C string; a syntax error is raised. The list and its nodes are PostgreSQL's own.
    unsafe {
        let list = pg_sys::pg_parse_query(text.as_ptr());
        if list.is_null() || (*list).length != 1 {
            return Err(refused());
        }
        let raw = (*(*list).elements).ptr_value.cast::<pg_sys::RawStmt>();
        let select = (*raw).stmt.cast::<pg_sys::SelectStmt>();
        if (*select).type_ != pg_sys::NodeTag::T_SelectStmt || !(*select).intoClause.is_null() {
            return Err(refused());
        }
    }
    Ok(())
}

fn interval_text(it: Interval) -> Result<String, ErrorReport> {
    let zero = Interval::from_micros(0);
    if it <= zero {
        return Err(Error::UnitNotPositive { name: "retention" }.into());
    }
    let found = Spi::get_one_with_args::<String>("SELECT $1::pg_catalog.text", &[it.into()]);
    Ok(found.map_err(internal)?.unwrap_or_default())
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
        Error::InvalidView {
            code: PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            message: format!(
                "the owner of view {:?}, role {:?}, does not exist",
                it.name, it.owner
            ),
            hint: String::from("Drop the view and create it again as a role that exists."),
        }
        .into()
    })
}

/// When a schedule is due next, in microseconds since 2000.
pub fn next_run(it: &View) -> Result<Option<i64>, ErrorReport> {
    declare::next_time(it.schedule.as_deref(), &it.time_zone)
}

pub(super) fn run(statement: &str) -> Result<(), ErrorReport> {
    Spi::run(statement).map_err(internal)
}
