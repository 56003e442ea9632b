use pgrx::JsonB;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
use serde_json::Value;

use super::internal;
use crate::types::TimestampTz;
use crate::views::config::Config;

/// What kind of thing a view holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    TemporalFeatures,
    DriftSummary,
    ChangepointCache,
    CohortSnapshot,
}

impl Kind {
    const NAMES: [(Kind, &'static str); 4] = [
        (Kind::TemporalFeatures, "temporal_features"),
        (Kind::DriftSummary, "drift_summary"),
        (Kind::ChangepointCache, "changepoint_cache"),
        (Kind::CohortSnapshot, "cohort_snapshot"),
    ];

    pub fn parse(name: &str) -> Option<Kind> {
        Self::NAMES
            .iter()
            .find(|(_, it)| *it == name)
            .map(|(kind, _)| *kind)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Whether an entity's rows depend on that entity alone.
    pub fn is_per_entity(self) -> bool {
        self != Kind::CohortSnapshot
    }

    /// The columns that tell its rows apart.
    pub fn key(self) -> &'static str {
        match self {
            Kind::TemporalFeatures | Kind::CohortSnapshot => "entity_id",
            Kind::DriftSummary => "entity_id, window_start",
            Kind::ChangepointCache => "entity_id, ts",
        }
    }

    /// The event time of a row, by which it gets old.
    pub fn time_column(self) -> Option<&'static str> {
        match self {
            Kind::TemporalFeatures => Some("end_ts"),
            Kind::DriftSummary => Some("window_end"),
            Kind::ChangepointCache => Some("ts"),
            Kind::CohortSnapshot => None,
        }
    }
}

/// What a view is computed from.
#[derive(Clone, Debug, PartialEq)]
pub enum Reads {
    Space(i32),
    Model(String),
    /// A table of a user, by its tracked_id.
    Table(i32),
}

/// A pass over all entities, in their order.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub since: TimestampTz,
    /// The last entity that has been.
    pub position: Option<String>,
    pub done: i64,
}

/// A row of cvx.view with its state.
#[derive(Clone, Debug)]
pub struct View {
    pub view_id: i32,
    pub name: String,
    pub kind: Kind,
    pub reads: Reads,
    pub policy: String,
    pub schedule: Option<String>,
    pub time_zone: String,
    pub config: Config,
    pub owner: String,
    /// The role of that name, if there is one.
    pub owner_oid: Option<pg_sys::Oid>,
    /// The SQL type of its entity_id.
    pub entity_type: String,
    pub requested: bool,
    pub next_run_at: Option<TimestampTz>,
    pub failures: i32,
    pub next_attempt_at: Option<TimestampTz>,
    pub sweep: Option<Sweep>,
    /// Whether entities of it are marked; where that was looked at.
    pub is_marked: bool,
}

const COLUMNS: &str =
    "SELECT v.view_id, v.name, v.type, v.space_id, v.model, v.tracked_id, v.refresh_policy, v.schedule,
        v.time_zone, v.config, v.owner::pg_catalog.text, r.oid,
        pg_catalog.format_type(a.atttypid, NULL), COALESCE(t.requested, false), t.next_run_at,
        COALESCE(t.failures, 0), t.next_attempt_at, t.sweep_since, t.sweep_position, COALESCE(t.sweep_done, 0)
    FROM cvx.view v
    LEFT JOIN cvx.view_state t ON t.view_id OPERATOR(pg_catalog.=) v.view_id
    LEFT JOIN pg_catalog.pg_roles r ON r.rolname OPERATOR(pg_catalog.=) v.owner
    LEFT JOIN pg_catalog.pg_class c ON c.relname OPERATOR(pg_catalog.=) v.name
     AND c.relnamespace OPERATOR(pg_catalog.=) (SELECT n.oid FROM pg_catalog.pg_namespace n
            WHERE n.nspname OPERATOR(pg_catalog.=) 'cvx_view_data')
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
     AND a.attname OPERATOR(pg_catalog.=) 'entity_id'";

fn read(row: &SpiHeapTupleData<'_>) -> pgrx::spi::Result<Option<View>> {
    let text = |i| row.get::<String>(i).map(Option::unwrap_or_default);
    let time = |i| {
        row.get::<TimestampWithTimeZone>(i)
            .map(|it| it.map(TimestampTz::from))
    };
    // A row that cvx did not write is nobody's view.
    let Some(kind) = Kind::parse(&text(3)?) else {
        return Ok(None);
    };
    let reads = match (row.get::<i32>(4)?, row.get::<String>(5)?, row.get::<i32>(6)?) {
        (Some(space_id), ..) => Reads::Space(space_id),
        (_, Some(model), _) => Reads::Model(model),
        (.., tracked_id) => Reads::Table(tracked_id.unwrap_or_default()),
    };
    let config = row.get::<JsonB>(10)?.map_or(Value::Null, |it| it.0);
    let Ok(config) = Config::parse(kind, &config) else {
        return Ok(None);
    };
    let sweep = match time(18)? {
        Some(since) => Some(Sweep {
            since,
            position: row.get(19)?,
            done: row.get(20)?.unwrap_or_default(),
        }),
        None => None,
    };
    Ok(Some(View {
        view_id: row.get(1)?.unwrap_or_default(),
        name: text(2)?,
        kind,
        reads,
        policy: text(7)?,
        schedule: row.get(8)?,
        time_zone: text(9)?,
        config,
        owner: text(11)?,
        owner_oid: row.get(12)?,
        entity_type: row.get(13)?.unwrap_or_else(|| String::from("text")),
        requested: row.get(14)?.unwrap_or_default(),
        next_run_at: time(15)?,
        failures: row.get(16)?.unwrap_or_default(),
        next_attempt_at: time(17)?,
        sweep,
        is_marked: false,
    }))
}

/// All views, in the order of their names.
pub fn all() -> Result<Vec<View>, ErrorReport> {
    Spi::connect(|client| {
        let rows = client.select(format!("{COLUMNS} ORDER BY v.name").as_str(), None, &[])?;
        rows.filter_map(|row| read(&row).transpose())
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)
}

pub fn by_name(name: &str) -> Result<Option<View>, ErrorReport> {
    one(
        &format!("{COLUMNS} WHERE v.name OPERATOR(pg_catalog.=) $1"),
        name.into(),
    )
}

/// The view as it is now, after its lock was taken.
pub fn by_id(view_id: i32) -> Result<Option<View>, ErrorReport> {
    one(
        &format!("{COLUMNS} WHERE v.view_id OPERATOR(pg_catalog.=) $1"),
        view_id.into(),
    )
}

fn one(query: &str, key: DatumWithOid<'_>) -> Result<Option<View>, ErrorReport> {
    Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[key])?;
        rows.map(|row| read(&row)).next().transpose()
    })
    .map(Option::flatten)
    .map_err(internal)
}

/// What is needed for a row of cvx.view.
pub struct New<'a> {
    pub name: &'a str,
    pub kind: Kind,
    pub reads: &'a Reads,
    pub policy: &'a str,
    pub schedule: Option<&'a str>,
    pub time_zone: &'a str,
    pub entity_filter: Option<JsonB>,
    pub retention: Option<pgrx::datum::Interval>,
    pub config: JsonB,
    pub owner: &'a str,
}

/// The id of the new view; None when there is one with this name.
pub fn insert(it: New<'_>) -> Result<Option<i32>, ErrorReport> {
    let query =
        "INSERT INTO cvx.view AS v (name, type, space_id, model, tracked_id, refresh_policy, schedule, time_zone,
            entity_filter, retention, config, owner)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT ON CONSTRAINT view_name_key DO NOTHING RETURNING v.view_id";
    let (space_id, model, tracked_id) = match it.reads {
        Reads::Space(id) => (Some(*id), None, None),
        Reads::Model(model) => (None, Some(model.as_str()), None),
        Reads::Table(id) => (None, None, Some(*id)),
    };
    let arguments = [
        it.name.into(),
        it.kind.name().into(),
        space_id.into(),
        model.into(),
        tracked_id.into(),
        it.policy.into(),
        it.schedule.into(),
        it.time_zone.into(),
        it.entity_filter.into(),
        it.retention.into(),
        it.config.into(),
        it.owner.into(),
    ];
    Spi::connect_mut(|client| {
        // Without a limit: statement triggers fire when the statement has run to its end.
        let rows = client.update(query, None, &arguments)?;
        rows.into_iter().next().map_or(Ok(None), |row| row.get::<i32>(1))
    })
    .map_err(internal)
}

/// Forgets a view and all that is noted of it.
pub fn delete(view_id: i32) -> Result<(), ErrorReport> {
    for table in ["cvx.stale", "cvx.view_state", "cvx.view"] {
        let query = format!("DELETE FROM {table} WHERE view_id OPERATOR(pg_catalog.=) $1");
        Spi::run_with_args(&query, &[view_id.into()]).map_err(internal)?;
    }
    Ok(())
}

/// The id under which a table's changes are logged, made when it has none.
pub fn track(relation: pg_sys::Oid, entity_column: &str, ts_column: &str) -> Result<i32, ErrorReport> {
    let insert = "INSERT INTO cvx.tracked_table AS t (relation, entity_column, ts_column) VALUES ($1, $2, $3)
        ON CONFLICT (relation, entity_column, ts_column) DO UPDATE SET entity_column = EXCLUDED.entity_column
        RETURNING t.tracked_id";
    let arguments = [relation.into(), entity_column.into(), ts_column.into()];
    Spi::connect_mut(|client| client.update(insert, None, &arguments)?.first().get_one::<i32>())
        .map(Option::unwrap_or_default)
        .map_err(internal)
}

/// Forgets tables that no view reads any more; their sources.
pub fn forget_untracked() -> Result<Vec<i32>, ErrorReport> {
    let query = "DELETE FROM cvx.tracked_table t WHERE NOT EXISTS (SELECT FROM cvx.view v
            WHERE v.tracked_id OPERATOR(pg_catalog.=) t.tracked_id) RETURNING t.tracked_id";
    Spi::connect_mut(|client| {
        let rows = client.update(query, None, &[])?;
        rows.into_iter()
            .map(|row| Ok(-row.get::<i32>(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)
}

/// The spaces of a model's versions.
pub fn spaces_of(model: &str) -> Result<Vec<i32>, ErrorReport> {
    let query = "SELECT m.space_id FROM cvx.model_version m
        WHERE m.model OPERATOR(pg_catalog.=) $1 AND m.space_id IS NOT NULL ORDER BY 1";
    Spi::connect(|client| {
        let rows = client.select(query, None, &[model.into()])?;
        rows.map(|row| Ok(row.get::<i32>(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)
}

/// Takes the lock under which a view is computed, until the transaction ends. With `wait` false: whether it was free.
pub fn lock(view_id: i32, wait: bool) -> Result<bool, ErrorReport> {
    let suffix = if wait { "" } else { " SKIP LOCKED" };
    let query = format!(
        "SELECT t.view_id FROM cvx.view_state t WHERE t.view_id OPERATOR(pg_catalog.=) $1 FOR UPDATE{suffix}"
    );
    Spi::connect_mut(|client| {
        let rows = client.update(query.as_str(), Some(1), &[view_id.into()])?;
        Ok::<_, pgrx::spi::Error>(!rows.is_empty())
    })
    .map_err(internal)
}

/// Changes the state of a view: `set` is a list of assignments in which $1 is the view's id, the rest as given.
pub fn set_state(view_id: i32, set: &str, values: Vec<DatumWithOid<'_>>) -> Result<(), ErrorReport> {
    let query = format!("UPDATE cvx.view_state SET {set} WHERE view_id OPERATOR(pg_catalog.=) $1");
    let mut arguments = vec![view_id.into()];
    arguments.extend(values);
    Spi::run_with_args(&query, &arguments).map_err(internal)
}

pub fn insert_state(view_id: i32) -> Result<(), ErrorReport> {
    let query = "INSERT INTO cvx.view_state (view_id, sweep_since, sweep_started_at)
        VALUES ($1, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp())";
    Spi::run_with_args(query, &[view_id.into()]).map_err(internal)
}

/// Whether a view shows all that it holds, and nothing could have changed unseen.
pub fn is_whole(view_id: i32) -> Result<bool, ErrorReport> {
    let query = "SELECT t.untracked_since IS NULL AND v.retention IS NULL AND v.entity_filter IS NULL
        FROM cvx.view v JOIN cvx.view_state t ON t.view_id OPERATOR(pg_catalog.=) v.view_id
        WHERE v.view_id OPERATOR(pg_catalog.=) $1";
    let found = Spi::get_one_with_args::<bool>(query, &[view_id.into()]);
    match found {
        Err(pgrx::spi::Error::InvalidPosition) => Ok(false),
        other => Ok(other.map_err(internal)?.unwrap_or(false)),
    }
}

/// The entities of a view that are out of date; None when they are more than `most`, or all.
pub fn marked_entities(view_id: i32, most: i64) -> Result<Option<Vec<String>>, ErrorReport> {
    let query = "SELECT DISTINCT m.entity_id FROM cvx._view_marks m
        WHERE m.view_id OPERATOR(pg_catalog.=) $1 LIMIT $2";
    let found = Spi::connect(|client| {
        let rows = client.select(query, None, &[view_id.into(), (most + 1).into()])?;
        rows.map(|row| row.get::<String>(1))
            .collect::<pgrx::spi::Result<Option<Vec<String>>>>()
    });
    Ok(found.map_err(internal)?.filter(|ids| ids.len() as i64 <= most))
}
