//! What cvx.create_view is asked for, looked at before anything is made of it.

use cvx_config::schedule::Schedule;
use pgrx::JsonB;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

use super::config::Config;
use super::definition::{self, Columns, Filter, Points};
use super::{invalid, refused, source};
use crate::catalog::view::{self, Kind, Reads};
use crate::catalog::{internal, parse, rights, space::Space};
use crate::error::Error;

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
pub(super) struct Plan {
    pub kind: Kind,
    pub config: Config,
    pub filter: Filter,
    pub points: Points,
    pub entity_type: String,
    pub owner: pg_sys::Oid,
    pub owner_name: String,
    pub reads: Reads,
    pub retention: Option<String>,
}

/// Everything that can be said against it, with the rights of the calling role.
pub(super) fn check(request: &Request) -> Result<Plan, ErrorReport> {
    if !(1..=MOST_NAME_BYTES).contains(&request.name.len()) {
        return Err(refused(
            PgSqlErrorCode::ERRCODE_INVALID_NAME,
            format!(
                "the name of a view has 1 to {MOST_NAME_BYTES} bytes, not {}",
                request.name.len()
            ),
            "The view is read as cvx_view.<name>.",
        ));
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
    if parse::one_select(query).is_some() {
        return Ok(());
    }
    Err(invalid(
        "the query of a cohort is one SELECT of one column of entity ids",
        "For example: '{\"query\": \"SELECT user_id FROM public.premium\"}'.",
    ))
}

fn interval_text(it: Interval) -> Result<String, ErrorReport> {
    let zero = Interval::from_micros(0);
    if it <= zero {
        return Err(Error::UnitNotPositive { name: "retention" }.into());
    }
    let found = Spi::get_one_with_args::<String>("SELECT $1::pg_catalog.text", &[it.into()]);
    Ok(found.map_err(internal)?.unwrap_or_default())
}
