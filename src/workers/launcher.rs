//! The launcher: one process a server, which finds the databases that have cvx and keeps their workers running.

use std::collections::HashMap;
use std::ffi::c_int;
use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime, DynamicBackgroundWorker};
use pgrx::prelude::*;

use super::process::{self, now};
use super::shared::{self, Evaluation, Exit, NoSlot, Role, State};
use crate::guc;

/// New databases are looked for this often; what cvx itself does wakes the launcher at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// While something is held or starting.
const IMPATIENCE: Duration = Duration::from_millis(100);
/// A database without cvx is looked at again after this time, in case nobody told us.
const FORGET: Duration = Duration::from_secs(3600);
/// A worker that ran for as long is no longer in a loop of failures.
const HEALTHY: Duration = Duration::from_secs(60);
/// Of a worker that somebody has ended.
const RESTART_DELAY: Duration = Duration::from_secs(1);
const MAX_RESTART_DELAY: u64 = 60;
/// A registered worker that has not appeared after this time will not.
const STARTUP_MICROS: i64 = 30_000_000;

/// Registers the launcher; while the server loads its libraries.
pub fn register() {
    BackgroundWorkerBuilder::new("cvx launcher")
        .set_type("cvx launcher")
        .set_library("cvx")
        .set_function("cvx_launcher_main")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cvx_launcher_main(_argument: pg_sys::Datum) {
    process::begin(None);
    // SAFETY: a plain variable; the callback lives for ever.
    let pid = unsafe {
        pg_sys::before_shmem_exit(Some(leave), pg_sys::Datum::from(0));
        pg_sys::MyProcPid
    };
    shared::update_launcher(|launcher| {
        launcher.pid = pid;
        launcher.started_at = now();
    });
    let mut launcher = Launcher::default();
    loop {
        let patience = launcher.step();
        process::wait(None, patience);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn leave(_code: c_int, _argument: pg_sys::Datum) {
    shared::update_launcher(|launcher| launcher.pid = 0);
}

type Key = (pg_sys::Oid, Role);

#[derive(Default)]
struct Launcher {
    handles: HashMap<usize, DynamicBackgroundWorker>,
    failures: HashMap<Key, Failures>,
    /// Databases in which a scheduler found no cvx, and when.
    without: HashMap<pg_sys::Oid, Instant>,
    /// Whether it was said that there is no room for more workers.
    complained: bool,
}

struct Failures {
    /// In a row; 0 after an end that was asked for.
    count: u32,
    not_before: Instant,
}

impl Launcher {
    /// One look at everything. Returns how long nothing needs another.
    fn step(&mut self) -> Duration {
        shared::release_orphans();
        self.reap();
        match shared::take_news() {
            Some(news) => self.without.retain(|database, _| !news.contains(database)),
            None => self.without.clear(),
        }
        if !guc::workers() {
            terminate_all();
            shared::update_launcher(|it| it.work.set("cvx.workers is off"));
            return PATIENCE;
        }
        let databases = match process::transaction(|| Ok(databases())) {
            Ok(databases) => databases,
            Err(failure) => {
                shared::update_launcher(|it| it.error.set(&failure.message));
                return PATIENCE;
            }
        };
        self.without
            .retain(|database, since| databases.contains_key(database) && since.elapsed() < FORGET);
        self.failures
            .retain(|(database, _), _| databases.contains_key(database));
        let mut patience = self.start_wanted(&databases);
        if shared::has_holds()
            || shared::slots()
                .iter()
                .any(|(_, slot)| slot.state == State::Starting)
        {
            patience = patience.min(IMPATIENCE);
        }
        let workers = shared::slots().len();
        shared::update_launcher(|it| it.work.set(&format!("{workers} workers")));
        patience
    }

    /// Takes note of workers that ended.
    fn reap(&mut self) {
        for (index, slot) in shared::slots() {
            let handle = self.handles.get(&index);
            let lost = match slot.state {
                State::Ended => true,
                State::Running => !shared::is_alive(slot.pid),
                // No handle: a launcher before this one has registered it.
                State::Starting => match handle {
                    Some(handle) => never_started(handle),
                    None => now() - slot.started_at > STARTUP_MICROS,
                },
                State::Free => continue,
            };
            if !lost {
                continue;
            }
            self.handles.remove(&index);
            let key = (slot.database, slot.role);
            match slot.exit {
                Exit::NoExtension => {
                    self.without.insert(slot.database, Instant::now());
                    self.failures.remove(&key);
                }
                Exit::NotWanted => drop(self.failures.remove(&key)),
                // The scheduler judges how evaluations end.
                Exit::Failed | Exit::Asked if matches!(slot.evaluation, Some(Evaluation::Query { .. })) => {}
                Exit::Failed => self.note_failure(key, now() - slot.started_at),
                Exit::Asked => self.note_asked(key),
            }
            shared::free_slot(index);
            if slot.role == Role::Monitor {
                shared::note_monitor_end(slot.database, slot.exit);
            }
        }
    }

    fn note_asked(&mut self, key: Key) {
        let not_before = Instant::now() + RESTART_DELAY;
        self.failures.insert(key, Failures { count: 0, not_before });
    }

    fn note_failure(&mut self, key: Key, lived_micros: i64) {
        let failures = self.failures.entry(key).or_insert(Failures {
            count: 0,
            not_before: Instant::now(),
        });
        let healthy = lived_micros > HEALTHY.as_micros() as i64;
        failures.count = if healthy { 1 } else { failures.count + 1 };
        let delay = (1u64 << (failures.count - 1).min(6)).min(MAX_RESTART_DELAY);
        failures.not_before = Instant::now() + Duration::from_secs(delay);
    }

    fn start_wanted(&mut self, databases: &HashMap<pg_sys::Oid, String>) -> Duration {
        let mut patience = PATIENCE;
        let slots = shared::slots();
        let of = |key: Key| slots.iter().find(|(_, it)| (it.database, it.role) == key);
        for (&database, name) in databases {
            if self.without.contains_key(&database) {
                continue;
            }
            let scheduler = of((database, Role::Scheduler));
            let wants_ingest = scheduler.is_some_and(|(_, it)| it.wants_ingest);
            let wants_refresh = scheduler.is_some_and(|(_, it)| it.wants_refresh);
            let wants_monitor = scheduler.and_then(|(_, it)| it.wants_monitor);
            let missing = [
                (Role::Scheduler, scheduler.is_none()),
                (
                    Role::Monitor,
                    wants_monitor.is_some() && of((database, Role::Monitor)).is_none(),
                ),
                (
                    Role::Ingest,
                    wants_ingest && of((database, Role::Ingest)).is_none(),
                ),
                (
                    Role::Refresh,
                    wants_refresh && of((database, Role::Refresh)).is_none(),
                ),
            ];
            for (role, _) in missing.into_iter().filter(|(_, is_missing)| *is_missing) {
                let evaluation = wants_monitor.filter(|_| role == Role::Monitor);
                let wait = self.start(database, name, role, evaluation);
                patience = patience.min(wait);
            }
        }
        patience
    }

    /// Starts a worker unless its last failure is too recent. Returns after how long to look again.
    fn start(
        &mut self,
        database: pg_sys::Oid,
        name: &str,
        role: Role,
        evaluation: Option<Evaluation>,
    ) -> Duration {
        let is_query = matches!(evaluation, Some(Evaluation::Query { .. }));
        if let Some(failures) = self.failures.get(&(database, role)).filter(|_| !is_query) {
            let left = failures.not_before.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return left;
            }
        }
        let after_asked = self
            .failures
            .get(&(database, role))
            .is_some_and(|it| it.count == 0);
        let index = match shared::reserve(database, name, role, now()) {
            Ok(index) => {
                shared::update_slot(index, |slot| {
                    slot.after_asked = after_asked;
                    slot.evaluation = evaluation;
                });
                index
            }
            Err(NoSlot::Held) => return PATIENCE,
            Err(NoSlot::Full) => {
                let most = shared::SLOTS;
                self.complain(
                    &format!("cvx: {most} workers run, which is the most"),
                    "Databases wait for their workers.",
                );
                return PATIENCE;
            }
        };
        // SAFETY: a plain variable of this process.
        let pid = unsafe { pg_sys::MyProcPid };
        let registered = BackgroundWorkerBuilder::new(&format!("cvx {}", role.name()))
            .set_type(&format!("cvx {}", role.name()))
            .set_library("cvx")
            .set_function(match role {
                Role::Scheduler => "cvx_scheduler_main",
                Role::Ingest => "cvx_ingest_main",
                Role::Refresh => "cvx_refresh_main",
                Role::Monitor => "cvx_monitor_main",
            })
            .enable_spi_access()
            .set_argument(Some(pg_sys::Datum::from(index)))
            .set_notify_pid(pid)
            .load_dynamic();
        match registered {
            Ok(handle) => {
                self.handles.insert(index, handle);
                self.complained = false;
            }
            Err(_) => {
                shared::free_slot(index);
                self.complain(
                    "cvx: no background worker slot is free",
                    "Databases wait for their workers. Consider increasing \"max_worker_processes\".",
                );
            }
        }
        PATIENCE
    }

    /// Says once that there is no room, until there is.
    fn complain(&mut self, message: &str, detail: &str) {
        shared::update_launcher(|it| it.error.set(message));
        if !self.complained {
            self.complained = true;
            ereport!(
                PgLogLevel::WARNING,
                PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                message.to_owned(),
                detail.to_owned()
            );
        }
    }
}

/// Whether the worker ended before it took its slot.
fn never_started(handle: &DynamicBackgroundWorker) -> bool {
    use pgrx::bgworkers::BackgroundWorkerStatus::*;
    matches!(handle.pid(), Err(Stopped | PostmasterDied | Untracked { .. }))
}

fn terminate_all() {
    for (_, slot) in shared::slots() {
        super::terminate(slot.pid);
    }
}

/// The databases in which workers may run, by name: no templates, and none that nobody may connect to.
fn databases() -> HashMap<pg_sys::Oid, String> {
    let mut found = HashMap::new();
    // SAFETY: a scan of a shared catalog, as autovacuum's launcher does it; the rows' fixed part is copied.
    unsafe {
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as c_int);
        let scan = pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let row = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
            // A limit of -2 marks a database whose DROP was interrupted.
            if row.datallowconn && !row.datistemplate && row.datconnlimit != -2 {
                found.insert(row.oid, pgrx::name_data_to_str(&row.datname).to_owned());
            }
        }
        pg_sys::table_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as c_int);
    }
    found
}
