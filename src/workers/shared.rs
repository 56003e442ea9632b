//! What the processes of a server know of each other: who works where, and who is asked to stay away.
//!
//! Copied in and out under one lock; nothing is called, and nothing is allocated, while it is held.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgLwLock, pg_shmem_init};

/// Workers of all databases together. Beyond, databases go without and the launcher says so.
pub const SLOTS: usize = 192;
const HOLDS: usize = 32;
const NEWS: usize = 64;

// SAFETY: nothing else has a lock of this name.
static SHARED: PgLwLock<Shared> = unsafe { PgLwLock::new(c"cvx") };
/// Whether this server has loaded cvx at its start: only then is there shared memory, and a launcher.
static PRELOADED: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Scheduler,
    Ingest,
    Refresh,
    /// Comes when a monitor is due, and goes.
    Monitor,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Scheduler => "scheduler",
            Role::Ingest => "ingest",
            Role::Refresh => "refresh",
            Role::Monitor => "monitor",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Free,
    /// Registered, and not forked yet.
    Starting,
    Running,
    /// Gone; the launcher has not taken note yet.
    Ended,
}

/// Why a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Failed,
    /// Somebody's SIGTERM.
    Asked,
    NoExtension,
    NotWanted,
}

/// What a monitor worker is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluation {
    /// All monitors that are due and whose conditions are cvx's own.
    BuiltIn,
    /// The query of one monitor, in a session of its owner.
    Query { monitor_id: i32, login: pg_sys::Oid },
}

/// A short text. What does not fit is cut at a character.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    len: u16,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    const EMPTY: Self = Text {
        len: 0,
        bytes: [0; N],
    };

    pub fn set(&mut self, text: &str) {
        let mut len = text.len().min(N);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        self.bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len = len as u16;
    }

    pub fn get(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.len.into()]).into_owned()
    }
}

/// A worker of one database.
#[derive(Clone, Copy)]
pub struct Slot {
    pub state: State,
    pub database: pg_sys::Oid,
    pub role: Role,
    pub pid: i32,
    /// Microseconds since 2000.
    pub started_at: i64,
    pub exit: Exit,
    /// Whether the worker before it ended since it was asked to.
    pub after_asked: bool,
    pub database_name: Text<64>,
    pub work: Text<160>,
    pub error: Text<320>,
    /// Of a scheduler: whether its database has sources to be read.
    pub wants_ingest: bool,
    /// And whether it has views that are to be refreshed.
    pub wants_refresh: bool,
    /// Of a scheduler: what is to be evaluated.
    pub wants_monitor: Option<Evaluation>,
    /// And how many monitor workers have ended, and why the last one did.
    pub monitors_ended: u32,
    pub monitor_exit: Exit,
    /// Of a monitor worker: what it is there for, and until when, in microseconds since 2000.
    pub evaluation: Option<Evaluation>,
    pub deadline: i64,
    /// Of a refresh worker: it was told that something changed, and has not looked since.
    pub has_work: bool,
}

impl Slot {
    const FREE: Slot = Slot {
        state: State::Free,
        database: pg_sys::InvalidOid,
        role: Role::Scheduler,
        pid: 0,
        started_at: 0,
        exit: Exit::Failed,
        after_asked: false,
        database_name: Text::EMPTY,
        work: Text::EMPTY,
        error: Text::EMPTY,
        wants_ingest: false,
        wants_refresh: false,
        wants_monitor: None,
        monitors_ended: 0,
        monitor_exit: Exit::Failed,
        evaluation: None,
        deadline: i64::MAX,
        has_work: false,
    };
}

/// A backend that wants a database for itself: no worker is started there as long as it lives and says so.
#[derive(Clone, Copy)]
struct Hold {
    database: pg_sys::Oid,
    holder: i32,
}

#[derive(Clone, Copy)]
pub struct Launcher {
    pub pid: i32,
    pub started_at: i64,
    pub work: Text<160>,
    pub error: Text<320>,
}

#[derive(Clone, Copy)]
struct Shared {
    launcher: Launcher,
    slots: [Slot; SLOTS],
    holds: [Hold; HOLDS],
    /// Databases whose extensions have changed since the launcher looked last.
    news: [pg_sys::Oid; NEWS],
    /// More databases had news than there was room for: all are to be looked at.
    news_overflow: bool,
}

// SAFETY: plain data without pointers.
unsafe impl PGRXSharedMemory for Shared {}

impl Default for Shared {
    fn default() -> Self {
        let hold = Hold {
            database: pg_sys::InvalidOid,
            holder: 0,
        };
        Shared {
            launcher: Launcher {
                pid: 0,
                started_at: 0,
                work: Text::EMPTY,
                error: Text::EMPTY,
            },
            slots: [Slot::FREE; SLOTS],
            holds: [hold; HOLDS],
            news: [pg_sys::InvalidOid; NEWS],
            news_overflow: false,
        }
    }
}

/// Asks for the shared memory; while the server loads its libraries.
#[allow(
    unexpected_cfgs,
    reason = "pgrx's macro asks for versions that cvx has no features for"
)]
pub fn init() {
    pg_shmem_init!(SHARED);
    PRELOADED.store(true, Ordering::Relaxed);
}

pub fn is_preloaded() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

/// Tells a process, if it lives, that there is something to look at.
pub fn wake(pid: i32) {
    // SAFETY: a look-up among the server's processes; a process that ends right now has a latch that may be set.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&raw mut (*process).procLatch);
        }
    }
}

pub fn is_alive(pid: i32) -> bool {
    // SAFETY: a look-up among the server's processes.
    pid != 0 && unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }
}

pub fn launcher() -> Launcher {
    SHARED.share().launcher
}

pub fn update_launcher(change: impl FnOnce(&mut Launcher)) {
    change(&mut SHARED.exclusive().launcher);
}

/// All slots that are in use, with their numbers.
pub fn slots() -> Vec<(usize, Slot)> {
    let mut found = Vec::with_capacity(SLOTS);
    let shared = SHARED.share();
    for (i, slot) in shared.slots.iter().enumerate() {
        if slot.state != State::Free {
            found.push((i, *slot));
        }
    }
    found
}

pub fn slot(index: usize) -> Option<Slot> {
    SHARED.share().slots.get(index).copied()
}

pub fn update_slot(index: usize, change: impl FnOnce(&mut Slot)) {
    if let Some(slot) = SHARED.exclusive().slots.get_mut(index) {
        change(slot);
    }
}

/// Tells a database's scheduler that its monitor worker has ended.
pub fn note_monitor_end(database: pg_sys::Oid, why: Exit) {
    let pid = {
        let mut shared = SHARED.exclusive();
        let is_it =
            |slot: &&mut Slot| slot.role == Role::Scheduler && slot.database == database && slot.pid != 0;
        shared.slots.iter_mut().find(is_it).map(|slot| {
            slot.monitors_ended = slot.monitors_ended.wrapping_add(1);
            slot.monitor_exit = why;
            slot.wants_monitor = None;
            slot.pid
        })
    };
    if let Some(pid) = pid {
        wake(pid);
    }
}

/// Tells a database's refresh worker that something changed. Called at commits: a worker that knows already costs a
/// look under a shared lock.
pub fn wake_refresh(database: pg_sys::Oid) {
    let is_it = |slot: &Slot| {
        slot.role == Role::Refresh
            && slot.database == database
            && slot.state != State::Free
            && slot.state != State::Ended
    };
    let found = {
        let shared = SHARED.share();
        shared.slots.iter().position(|slot| is_it(slot) && !slot.has_work)
    };
    let Some(index) = found else { return };
    let pid = {
        let mut shared = SHARED.exclusive();
        let slot = &mut shared.slots[index];
        if !is_it(slot) || slot.has_work {
            return;
        }
        slot.has_work = true;
        slot.pid
    };
    wake(pid);
}

pub fn free_slot(index: usize) {
    update_slot(index, |slot| *slot = Slot::FREE);
}

/// Why no slot is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// Somebody wants the database for himself.
    Held,
    Full,
}

/// Takes a slot for a worker that is about to be registered.
pub fn reserve(database: pg_sys::Oid, name: &str, role: Role, now: i64) -> Result<usize, NoSlot> {
    let mut shared = SHARED.exclusive();
    if shared.holds.iter().any(|hold| hold.database == database) {
        return Err(NoSlot::Held);
    }
    let free = shared.slots.iter().position(|slot| slot.state == State::Free);
    let index = free.ok_or(NoSlot::Full)?;
    let slot = &mut shared.slots[index];
    *slot = Slot {
        state: State::Starting,
        database,
        role,
        started_at: now,
        ..Slot::FREE
    };
    slot.database_name.set(name);
    Ok(index)
}

/// Keeps workers away from a database for the process `holder`. False when too many do so.
pub fn hold(database: pg_sys::Oid, holder: i32) -> bool {
    let mut shared = SHARED.exclusive();
    let free = shared.holds.iter_mut().find(|hold| hold.holder == 0);
    free.is_some_and(|free| {
        *free = Hold { database, holder };
        true
    })
}

pub fn release(holder: i32) {
    release_where(|hold| hold.holder == holder);
}

/// Holds of processes that ended without a word.
pub fn release_orphans() {
    let holders: [i32; HOLDS] = SHARED.share().holds.map(|hold| hold.holder);
    for holder in holders.into_iter().filter(|&pid| pid != 0 && !is_alive(pid)) {
        release(holder);
    }
}

pub fn has_holds() -> bool {
    SHARED.share().holds.iter().any(|hold| hold.holder != 0)
}

fn release_where(which: impl Fn(&Hold) -> bool) {
    let mut shared = SHARED.exclusive();
    for hold in shared.holds.iter_mut().filter(|hold| which(hold)) {
        *hold = Hold {
            database: pg_sys::InvalidOid,
            holder: 0,
        };
    }
}

/// Notes that a database's extensions changed.
pub fn note_news(database: pg_sys::Oid) {
    let mut shared = SHARED.exclusive();
    if shared.news.contains(&database) {
        return;
    }
    match shared.news.iter_mut().find(|it| **it == pg_sys::InvalidOid) {
        Some(free) => *free = database,
        None => shared.news_overflow = true,
    }
}

/// The databases with news since the last call; None: any may have some.
pub fn take_news() -> Option<Vec<pg_sys::Oid>> {
    let mut taken = Vec::with_capacity(NEWS);
    let mut shared = SHARED.exclusive();
    let overflow = std::mem::take(&mut shared.news_overflow);
    for news in &mut shared.news {
        if *news != pg_sys::InvalidOid {
            taken.push(std::mem::replace(news, pg_sys::InvalidOid));
        }
    }
    (!overflow).then_some(taken)
}
