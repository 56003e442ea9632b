//! What every worker process does the same way: starting, waiting, and transactions whose errors it survives.
//!
//! The pattern: SIGTERM is PostgreSQL's own `die`, so that whatever the process does ends at the next check for
//! interrupts; the main thread waits on its latch and one eventfd and nowhere else; other threads have all signals
//! blocked and only send and write the eventfd.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use super::shared::{self, Exit, State};

unsafe extern "C" {
    /// PostgreSQL's handler itself, not pgrx's wrapper of it: a wrapper may not run in a signal handler.
    fn die(signal: c_int);
    #[cfg(not(feature = "pg18"))]
    fn pqsignal(signal: c_int, handler: unsafe extern "C" fn(c_int)) -> Option<unsafe extern "C" fn(c_int)>;
    #[cfg(feature = "pg18")]
    #[link_name = "pqsignal_be"]
    fn pqsignal(signal: c_int, handler: unsafe extern "C" fn(c_int));
    #[link_name = "SignalHandlerForConfigReload"]
    fn signal_handler_for_config_reload(signal: c_int);
}

/// Whether somebody has asked this process to end, so that its end is no failure.
static ASKED: AtomicBool = AtomicBool::new(false);

/// SIGTERM: PostgreSQL's own handler, and a note.
unsafe extern "C" fn end(signal: c_int) {
    ASKED.store(true, Ordering::Relaxed);
    // SAFETY: made to run in a signal handler.
    unsafe { die(signal) }
}

/// Begins a worker: signals, and a database (None: the shared catalogs only). The session is that of the bootstrap
/// superuser, with names resolved in pg_catalog.
pub fn begin(database: Option<pg_sys::Oid>) {
    begin_as(database, pg_sys::InvalidOid);
    set(c"search_path", c"pg_catalog, pg_temp");
}

/// As [`begin`], in a session of a role, with the role's own settings.
pub fn begin_as(database: Option<pg_sys::Oid>, role: pg_sys::Oid) {
    // SAFETY: the calls and their order are those of PostgreSQL's worker_spi; the exit callback is registered first,
    // so that it runs last.
    unsafe {
        pg_sys::on_proc_exit(Some(leave), pg_sys::Datum::from(0));
        pqsignal(libc::SIGTERM, end);
        pqsignal(libc::SIGHUP, signal_handler_for_config_reload);
        pg_sys::BackgroundWorkerUnblockSignals();
        match database {
            Some(oid) => pg_sys::BackgroundWorkerInitializeConnectionByOid(oid, role, 0),
            None => pg_sys::BackgroundWorkerInitializeConnection(ptr::null(), ptr::null(), 0),
        }
        pg_sys::pgstat_report_appname(c"".as_ptr());
    }
}

/// The last thing a worker does. Threads of a connector may be in the middle of something: the process ends without
/// running destructors of libraries under them.
#[pg_guard]
unsafe extern "C-unwind" fn leave(code: c_int, _argument: pg_sys::Datum) {
    // SAFETY: everything of PostgreSQL's has been done by then.
    unsafe { libc::_exit(code) }
}

/// Sets a setting for this session.
pub fn set(name: &CStr, value: &CStr) {
    // SAFETY: C strings that outlive the call.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// Takes the slot over from the launcher; it is left at exit, however that comes.
pub fn enter_slot(index: usize) -> Option<shared::Slot> {
    // SAFETY: a plain variable of this process.
    let pid = unsafe { pg_sys::MyProcPid };
    let slot = shared::slot(index)?;
    if slot.state != State::Starting {
        return None;
    }
    // SAFETY: called once, with a function that lives for ever.
    unsafe { pg_sys::before_shmem_exit(Some(leave_slot), pg_sys::Datum::from(index)) };
    shared::update_slot(index, |slot| {
        slot.state = State::Running;
        slot.pid = pid;
    });
    Some(slot)
}

#[pg_guard]
unsafe extern "C-unwind" fn leave_slot(_code: c_int, index: pg_sys::Datum) {
    shared::update_slot(index.value(), |slot| {
        slot.state = State::Ended;
        slot.pid = 0;
        if slot.exit == Exit::Failed && ASKED.load(Ordering::Relaxed) {
            slot.exit = Exit::Asked;
        }
    });
    shared::wake(shared::launcher().pid);
}

/// Ends this process because there is nothing for it to do, and says why.
pub fn finish(index: usize, why: Exit) -> ! {
    shared::update_slot(index, |slot| slot.exit = why);
    // SAFETY: on the main thread, outside of a transaction.
    unsafe { pg_sys::proc_exit(0) }
}

/// Written by threads, waited for by the main one.
#[derive(Clone)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new descriptor, owned from here on.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Bell(Arc::new(OwnedFd::from_raw_fd(fd))))
        }
    }

    /// From any thread.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes to a descriptor of ours. It fails only when it has rung already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: as above.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// Waits until somebody sets our latch or rings, or for so long. Takes interrupts and settings. Whether the latch was set.
pub fn wait(bell: Option<&Bell>, timeout: Duration) -> bool {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    if bell.is_some() {
        events |= pg_sys::WL_SOCKET_READABLE;
    }
    let milliseconds = timeout.as_millis().min(3_600_000) as i64;
    // SAFETY: our own latch, and a descriptor that lives as long as the bell.
    let came = unsafe {
        let socket = bell.map_or(-1, |bell| bell.0.as_raw_fd());
        let came = pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as c_int,
            socket,
            milliseconds,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
        came
    };
    if let Some(bell) = bell {
        bell.clear();
    }
    take_signals();
    came & pg_sys::WL_LATCH_SET as c_int != 0
}

/// What has come by signal: an end, new settings.
pub fn take_signals() {
    pgrx::check_for_interrupts!();
    // SAFETY: a flag of this process, on its main thread.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Why a transaction was rolled back.
#[derive(Debug, Clone)]
pub struct Failure {
    pub sqlstate: PgSqlErrorCode,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl From<CaughtError> for Failure {
    fn from(error: CaughtError) -> Self {
        match error {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => Failure {
                sqlstate: report.sql_error_code(),
                message: report.message().to_owned(),
                detail: report.detail().map(str::to_owned),
                hint: report.hint().map(str::to_owned),
            },
            CaughtError::RustPanic { ereport, .. } => Failure {
                sqlstate: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                message: ereport.message().to_owned(),
                detail: None,
                hint: None,
            },
        }
    }
}

/// Runs `body` in a transaction of its own: committed when it succeeds, rolled back when it fails in whatever way.
pub fn transaction<T>(body: impl FnOnce() -> Result<T, ErrorReport>) -> Result<T, Failure> {
    run(body, true)
}

/// Runs `body` in a transaction of its own that is rolled back in any case.
pub fn rolled_back<T>(body: impl FnOnce() -> Result<T, ErrorReport>) -> Result<T, Failure> {
    run(body, false)
}

fn run<T>(body: impl FnOnce() -> Result<T, ErrorReport>, commit: bool) -> Result<T, Failure> {
    let whole = AssertUnwindSafe(|| {
        // SAFETY: the order is that of every background worker; errors are caught below.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            // Raised, so that it comes out below with its SQLSTATE.
            let done = body().unwrap_or_else(|report| {
                report.report(PgLogLevel::ERROR);
                unreachable!()
            });
            if commit {
                pg_sys::PopActiveSnapshot();
                pg_sys::CommitTransactionCommand();
            }
            Ok::<T, Failure>(done)
        }
    });
    let done = PgTryBuilder::new(whole)
        .catch_others(|error| Err(Failure::from(error)))
        .catch_rust_panic(|error| Err(Failure::from(error)))
        .execute();
    // SAFETY: ends what is left of the transaction, in any state.
    unsafe {
        if done.is_err() || !commit {
            pg_sys::AbortCurrentTransaction();
        }
        pg_sys::pgstat_report_stat(done.is_err());
    }
    done
}

/// Shows what this process does, in pg_stat_activity and cvx.workers.
pub fn report(index: usize, work: &str, is_busy: bool) {
    shared::update_slot(index, |slot| slot.work.set(work));
    let text = std::ffi::CString::new(work.replace('\0', " ")).unwrap_or_default();
    let state = if is_busy {
        pg_sys::BackendState::STATE_RUNNING
    } else {
        pg_sys::BackendState::STATE_IDLE
    };
    // SAFETY: a C string that is copied.
    unsafe { pg_sys::pgstat_report_activity(state, text.as_ptr()) };
}

/// Whether cvx is in this database. Inside a transaction.
pub fn has_extension() -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::get_extension_oid(c"cvx".as_ptr(), true) != pg_sys::InvalidOid }
}

/// Microseconds since 2000, by the server's clock.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
