//! Wakes workers when a transaction has changed what they do: at its commit, not before.
//!
//! A prepared transaction wakes nobody when it commits; workers look for themselves every few seconds.

use std::cell::Cell;

use pgrx::prelude::*;

use super::shared;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Poke {
    None,
    /// This database's workers.
    Workers,
    /// The launcher too: the extension has come or gone.
    Launcher,
}

thread_local! {
    static PENDING: Cell<Poke> = const { Cell::new(Poke::None) };
    /// Something that views read has changed.
    static REFRESH: Cell<bool> = const { Cell::new(false) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// This database's workers have something to look at once this transaction commits.
pub fn workers() {
    at_commit(Poke::Workers);
}

/// The launcher has: cvx is being installed here, or dropped.
pub fn launcher() {
    at_commit(Poke::Launcher);
}

/// The refresh worker has: the marks of this transaction.
pub fn refresh() {
    if shared::is_preloaded() {
        REFRESH.set(true);
        register();
    }
}

fn at_commit(poke: Poke) {
    if !shared::is_preloaded() {
        return;
    }
    PENDING.set(PENDING.get().max(poke));
    register();
}

fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: registered once a process, a function that lives for ever.
        unsafe { pg_sys::RegisterXactCallback(Some(at_end), std::ptr::null_mut()) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_COMMIT => {
            let poke = PENDING.replace(Poke::None);
            if poke != Poke::None {
                tell(poke);
            }
            if REFRESH.replace(false) {
                // SAFETY: a plain variable of this process.
                shared::wake_refresh(unsafe { pg_sys::MyDatabaseId });
            }
        }
        XACT_EVENT_ABORT | XACT_EVENT_PREPARE => {
            PENDING.set(Poke::None);
            REFRESH.set(false);
        }
        _ => {}
    }
}

fn tell(poke: Poke) {
    // SAFETY: a plain variable of this process.
    let database = unsafe { pg_sys::MyDatabaseId };
    let mut has_workers = false;
    for (_, slot) in shared::slots() {
        if slot.database == database {
            has_workers = true;
            shared::wake(slot.pid);
        }
    }
    // A database that was copied from another one is news to the launcher.
    if poke == Poke::Launcher || !has_workers {
        shared::note_news(database);
        shared::wake(shared::launcher().pid);
    }
}
