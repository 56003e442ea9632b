//! Workers step aside for commands that want a database for themselves: DROP DATABASE, CREATE DATABASE ... TEMPLATE,
//! ALTER DATABASE ... RENAME TO and SET TABLESPACE. They come back when the command has ended, however it has. After
//! DROP EXTENSION they look at once whether they are still wanted.

use std::ffi::{CStr, c_char, c_int};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::shared;

/// PostgreSQL itself waits 5 s for the sessions of such a database to leave.
const PATIENCE: Duration = Duration::from_secs(5);

static mut NEXT: pg_sys::ProcessUtility_hook_type = None;

/// Installs the hook; while the server loads its libraries.
pub fn init() {
    // SAFETY: the server is one process with one thread then.
    unsafe {
        NEXT = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

unsafe extern "C-unwind" {
    /// PostgreSQL's function itself, not pgrx's wrapper: see [`process_utility`].
    #[link_name = "standard_ProcessUtility"]
    fn standard_process_utility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        receiver: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// Every utility statement of the server comes through here. No Rust frame may catch an error of those that are none of
/// our business: it would come out again without its context. So this function has no guard, nothing in it needs to
/// be dropped, and what may raise an error of ours is behind a guard of its own.
#[allow(clippy::too_many_arguments, reason = "PostgreSQL's hook")]
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: a statement of PostgreSQL's parser; the arguments are handed on as they came.
    unsafe {
        let node = (*statement).utilityStmt;
        let call = Call {
            statement,
            query,
            read_only_tree,
            context,
            params,
            environment,
            receiver,
            completion,
        };
        match (*node).type_ {
            pg_sys::NodeTag::T_DropStmt | pg_sys::NodeTag::T_DropOwnedStmt => note_drop(node),
            pg_sys::NodeTag::T_DropdbStmt
            | pg_sys::NodeTag::T_CreatedbStmt
            | pg_sys::NodeTag::T_AlterDatabaseStmt => return run_alone(&call),
            pg_sys::NodeTag::T_RenameStmt if renames_database(node) => return run_alone(&call),
            _ => {}
        }
        call.go_on();
    }
}

unsafe fn renames_database(statement: *mut pg_sys::Node) -> bool {
    // SAFETY: the node's tag was looked at.
    unsafe { (*statement.cast::<pg_sys::RenameStmt>()).renameType == pg_sys::ObjectType::OBJECT_DATABASE }
}

/// The arguments of the hook.
#[derive(Clone, Copy)]
struct Call {
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
}

impl Call {
    /// Runs the statement.
    #[inline(always)]
    unsafe fn go_on(&self) {
        // SAFETY: the next hook, or PostgreSQL itself, with the arguments as they came.
        unsafe {
            NEXT.unwrap_or(standard_process_utility)(
                self.statement,
                self.query,
                self.read_only_tree,
                self.context,
                self.params,
                self.environment,
                self.receiver,
                self.completion,
            );
        }
    }
}

/// Runs a statement that may want a database for itself.
#[pg_guard]
unsafe extern "C-unwind" fn run_alone(call: &Call) {
    // SAFETY: as the hook was called.
    let run = || unsafe { pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| call.go_on()) };
    // SAFETY: a statement of PostgreSQL's parser.
    let Some(database) = (unsafe { wanted_database((*call.statement).utilityStmt) }) else {
        return run();
    };
    // SAFETY: a plain variable of this process.
    let pid = unsafe { pg_sys::MyProcPid };
    PgTryBuilder::new(AssertUnwindSafe(|| {
        clear(database, pid);
        run();
    }))
    .finally(|| {
        shared::release(pid);
        shared::wake(shared::launcher().pid);
    })
    .execute();
}

/// Has workers look, once this transaction commits, whether cvx is still there.
#[pg_guard]
unsafe extern "C-unwind" fn note_drop(statement: *mut pg_sys::Node) {
    // SAFETY: the node's tag says which struct it is.
    unsafe {
        if (*statement).type_ == pg_sys::NodeTag::T_DropStmt {
            let kind = (*statement.cast::<pg_sys::DropStmt>()).removeType;
            if kind != pg_sys::ObjectType::OBJECT_EXTENSION && kind != pg_sys::ObjectType::OBJECT_SCHEMA {
                return;
            }
        }
    }
    super::poke::workers();
}

/// Keeps workers away from the database and waits until those that are there have left.
fn clear(database: pg_sys::Oid, pid: i32) {
    if !shared::hold(database, pid) {
        return;
    }
    let started = Instant::now();
    loop {
        let mut left = true;
        for (_, slot) in shared::slots() {
            if slot.database == database && slot.state != shared::State::Ended {
                left = false;
                super::terminate(slot.pid);
            }
        }
        if left || started.elapsed() > PATIENCE {
            return;
        }
        pgrx::check_for_interrupts!();
        // SAFETY: sleeps for a moment.
        unsafe { pg_sys::pg_usleep(5_000) };
    }
}

/// The database that the statement wants for itself, where the user may run it.
unsafe fn wanted_database(statement: *mut pg_sys::Node) -> Option<pg_sys::Oid> {
    // SAFETY: the node's tag says which struct it is; names are C strings or NULL.
    unsafe {
        let (name, template) = match (*statement).type_ {
            pg_sys::NodeTag::T_DropdbStmt => ((*statement.cast::<pg_sys::DropdbStmt>()).dbname, false),
            pg_sys::NodeTag::T_CreatedbStmt => {
                let options = (*statement.cast::<pg_sys::CreatedbStmt>()).options;
                (text_option(options, c"template")?, true)
            }
            pg_sys::NodeTag::T_RenameStmt => ((*statement.cast::<pg_sys::RenameStmt>()).subname, false),
            pg_sys::NodeTag::T_AlterDatabaseStmt => {
                let alter = &*statement.cast::<pg_sys::AlterDatabaseStmt>();
                text_option(alter.options, c"tablespace")?;
                (alter.dbname, false)
            }
            _ => return None,
        };
        if name.is_null() {
            return None;
        }
        let database = pg_sys::get_database_oid(name, true);
        (database != pg_sys::InvalidOid && may_ask(database, template)).then_some(database)
    }
}

/// The text of an option of a list of DefElem.
unsafe fn text_option(options: *mut pg_sys::List, name: &CStr) -> Option<*mut c_char> {
    if options.is_null() {
        return None;
    }
    // SAFETY: a list of DefElem, as the parser makes it.
    unsafe {
        (0..(*options).length).find_map(|i| {
            let option = (*(*options).elements.offset(i as isize))
                .ptr_value
                .cast::<pg_sys::DefElem>();
            let given = CStr::from_ptr((*option).defname) == name && !(*option).arg.is_null();
            given.then(|| pg_sys::defGetString(option))
        })
    }
}

/// Whether the user may run such a command, as far as it is known before: nobody else stops workers.
unsafe fn may_ask(database: pg_sys::Oid, template: bool) -> bool {
    // SAFETY: catalog look-ups of the running user's rights.
    unsafe {
        let user = pg_sys::GetUserId();
        #[cfg(feature = "pg15")]
        let owns = pg_sys::pg_database_ownercheck(database, user);
        #[cfg(not(feature = "pg15"))]
        let owns = pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, user);
        owns && (!template || pg_sys::superuser() || has_createdb(user))
    }
}

unsafe fn has_createdb(user: pg_sys::Oid) -> bool {
    // SAFETY: a row of pg_authid, released after its fixed part was read.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::AUTHOID as c_int;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(user));
        if tuple.is_null() {
            return false;
        }
        let may = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_authid>()).rolcreatedb;
        pg_sys::ReleaseSysCache(tuple);
        may
    }
}
