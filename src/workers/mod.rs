//! Background workers: a launcher for the server, a scheduler and an ingest worker for each database with sources.
//! States, locks and what ends what: README.md.

mod backoff;
mod evaluations;
mod hold;
mod ingest;
mod job;
mod launcher;
mod monitor;
pub mod poke;
pub mod process;
mod refresh;
mod run;
mod scheduler;
pub mod shared;
mod webhook;

use pgrx::prelude::*;

/// With shared_preload_libraries only, and not while pg_upgrade runs the server.
pub fn init() {
    // SAFETY: plain variables of the postmaster.
    unsafe {
        if !pg_sys::process_shared_preload_libraries_in_progress || pg_sys::IsBinaryUpgrade {
            return;
        }
    }
    shared::init();
    hold::init();
    launcher::register();
}

/// Sends SIGTERM to one of the server's processes, if it lives.
fn terminate(pid: i32) {
    if shared::is_alive(pid) {
        // SAFETY: a process of this server.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}
