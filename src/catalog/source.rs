use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
use serde_json::Value;

use super::internal;

/// A row of cvx.source, with what workers know of it.
#[derive(Clone, Debug)]
pub struct Source {
    pub source_id: i32,
    pub declared: Declared,
    pub owner: String,
    /// The role of that name, if there is one.
    pub owner_oid: Option<pg_sys::Oid>,
    pub paused: bool,
    pub revision: i64,
    pub state: State,
}

/// What a user says of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    pub name: String,
    pub source_type: String,
    pub space: String,
    pub config: Value,
    pub schedule: Option<String>,
    pub time_zone: String,
    pub incremental: bool,
    pub priority: i32,
    pub model: Option<String>,
}

/// A row of cvx.source_state. Times are microseconds since 2000.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The owner when it was declared.
    pub owner_oid: Option<pg_sys::Oid>,
    pub requested: Option<String>,
    pub replay: bool,
    pub failures: i32,
    pub crashes: i32,
    pub next_attempt_at: Option<i64>,
    pub next_run_at: Option<i64>,
}

const COLUMNS: &str =
    "SELECT s.source_id, s.name, s.type, s.space, s.config, s.schedule, s.time_zone, s.incremental,
        s.priority, s.model, s.owner::text, r.oid, s.paused, s.revision,
        t.owner_oid, t.requested, COALESCE(t.replay, false), COALESCE(t.failures, 0), COALESCE(t.crashes, 0),
        t.next_attempt_at, t.next_run_at
    FROM cvx.source s
    LEFT JOIN pg_catalog.pg_roles r ON r.rolname OPERATOR(pg_catalog.=) s.owner
    LEFT JOIN cvx.source_state t ON t.source_id OPERATOR(pg_catalog.=) s.source_id";

fn read(row: &SpiHeapTupleData<'_>) -> pgrx::spi::Result<Source> {
    let text = |i| row.get::<String>(i).map(Option::unwrap_or_default);
    let time = |i| {
        row.get::<TimestampWithTimeZone>(i)
            .map(|it| it.map(TimestampWithTimeZone::into_inner))
    };
    Ok(Source {
        source_id: row.get(1)?.unwrap_or_default(),
        declared: Declared {
            name: text(2)?,
            source_type: text(3)?,
            space: text(4)?,
            config: row.get::<JsonB>(5)?.map_or(Value::Null, |it| it.0),
            schedule: row.get(6)?,
            time_zone: text(7)?,
            incremental: row.get(8)?.unwrap_or(true),
            priority: row.get(9)?.unwrap_or_default(),
            model: row.get(10)?,
        },
        owner: text(11)?,
        owner_oid: row.get(12)?,
        paused: row.get(13)?.unwrap_or_default(),
        revision: row.get(14)?.unwrap_or_default(),
        state: State {
            owner_oid: row.get(15)?,
            requested: row.get(16)?,
            replay: row.get(17)?.unwrap_or_default(),
            failures: row.get(18)?.unwrap_or_default(),
            crashes: row.get(19)?.unwrap_or_default(),
            next_attempt_at: time(20)?,
            next_run_at: time(21)?,
        },
    })
}

/// All sources, in the order of their names.
pub fn all() -> Result<Vec<Source>, ErrorReport> {
    Spi::connect(|client| {
        let rows = client.select(format!("{COLUMNS} ORDER BY s.name").as_str(), None, &[])?;
        rows.map(|row| read(&row)).collect::<pgrx::spi::Result<Vec<_>>>()
    })
    .map_err(internal)
}

/// The source with this name, its row locked against changes.
pub fn by_name(name: &str) -> Result<Option<Source>, ErrorReport> {
    let query = format!("{COLUMNS} WHERE s.name OPERATOR(pg_catalog.=) $1 FOR UPDATE OF s");
    Spi::connect_mut(|client| {
        let rows = client.update(query.as_str(), Some(1), &[name.into()])?;
        rows.map(|row| read(&row)).next().transpose()
    })
    .map_err(internal)
}

/// Whether the source is still what it was when it had this revision, and not paused; it stays so until the
/// transaction ends.
pub fn hold(source_id: i32, revision: i64) -> Result<bool, ErrorReport> {
    let query = "SELECT s.revision OPERATOR(pg_catalog.=) $2 AND NOT s.paused FROM cvx.source s
        WHERE s.source_id OPERATOR(pg_catalog.=) $1 FOR SHARE";
    Spi::connect_mut(|client| {
        let rows = client.update(query, Some(1), &[source_id.into(), revision.into()])?;
        rows.into_iter().next().map_or(Ok(None), |row| row.get::<bool>(1))
    })
    .map(|held| held.unwrap_or(false))
    .map_err(internal)
}

/// Makes a source; returns its id, None when the name is taken.
pub fn insert(it: &Declared, owner: &str) -> Result<Option<i32>, ErrorReport> {
    let insert = "INSERT INTO cvx.source
            (name, type, space, config, schedule, time_zone, incremental, priority, model, owner)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::pg_catalog.name)
        ON CONFLICT ON CONSTRAINT source_name_key DO NOTHING RETURNING source_id";
    Spi::connect_mut(|client| {
        let rows = client.update(
            insert,
            Some(1),
            &[
                it.name.as_str().into(),
                it.source_type.as_str().into(),
                it.space.as_str().into(),
                JsonB(it.config.clone()).into(),
                it.schedule.as_deref().into(),
                it.time_zone.as_str().into(),
                it.incremental.into(),
                it.priority.into(),
                it.model.as_deref().into(),
                owner.into(),
            ],
        )?;
        rows.into_iter().next().map_or(Ok(None), |row| row.get::<i32>(1))
    })
    .map_err(internal)
}

/// Changes a source into what is declared now. A run in progress will notice.
pub fn update(source_id: i32, it: &Declared) -> Result<(), ErrorReport> {
    let update = "UPDATE cvx.source SET type = $2, space = $3, config = $4, schedule = $5, time_zone = $6,
            incremental = $7, priority = $8, model = $9, revision = revision OPERATOR(pg_catalog.+) 1
        WHERE source_id OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(
        update,
        &[
            source_id.into(),
            it.source_type.as_str().into(),
            it.space.as_str().into(),
            JsonB(it.config.clone()).into(),
            it.schedule.as_deref().into(),
            it.time_zone.as_str().into(),
            it.incremental.into(),
            it.priority.into(),
            it.model.as_deref().into(),
        ],
    )
    .map_err(internal)
}

/// Forgets a source: its row, its watermark, its state.
pub fn delete(source_id: i32) -> Result<(), ErrorReport> {
    for table in ["cvx.source_position", "cvx.source_state", "cvx.source"] {
        let delete = format!("DELETE FROM {table} WHERE source_id OPERATOR(pg_catalog.=) $1");
        Spi::run_with_args(&delete, &[source_id.into()]).map_err(internal)?;
    }
    Ok(())
}

/// Pauses with a reason, or lets go on.
pub fn set_paused(source_id: i32, paused: bool, reason: Option<&str>) -> Result<(), ErrorReport> {
    let update =
        "UPDATE cvx.source SET paused = $2, pause_reason = $3 WHERE source_id OPERATOR(pg_catalog.=) $1";
    Spi::run_with_args(update, &[source_id.into(), paused.into(), reason.into()]).map_err(internal)
}

/// Changes the state of a source, which gets one if it has none. `set` is a SET clause of ours with $2 and on.
pub fn set_state(
    source_id: i32,
    set: &str,
    arguments: Vec<pgrx::datum::DatumWithOid<'_>>,
) -> Result<(), ErrorReport> {
    let insert = "INSERT INTO cvx.source_state (source_id)
        SELECT s.source_id FROM cvx.source s WHERE s.source_id OPERATOR(pg_catalog.=) $1 ON CONFLICT DO NOTHING";
    Spi::run_with_args(insert, &[source_id.into()]).map_err(internal)?;
    let update = format!("UPDATE cvx.source_state SET {set} WHERE source_id OPERATOR(pg_catalog.=) $1");
    let all: Vec<_> = std::iter::once(source_id.into()).chain(arguments).collect();
    Spi::run_with_args(&update, &all).map_err(internal)
}

/// The priorities of all sources, by name.
pub fn priorities() -> Result<std::collections::HashMap<String, i32>, ErrorReport> {
    Spi::connect(|client| {
        let rows = client.select("SELECT s.name, s.priority FROM cvx.source s", None, &[])?;
        rows.map(|row| {
            Ok((
                row.get::<String>(1)?.unwrap_or_default(),
                row.get::<i32>(2)?.unwrap_or_default(),
            ))
        })
        .collect::<pgrx::spi::Result<_>>()
    })
    .map_err(internal)
}

/// Of a source that says nothing else, and of rows that came without a source.
pub const DEFAULT_PRIORITY: i32 = 100;
