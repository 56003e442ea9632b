//! Every setting: private, with its default, bounds and the reason for them; read through the functions below.

use std::ffi::{CStr, CString, c_char, c_void};
use std::time::Duration;

use cvx_webhooks::Policy;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::{pg_guard, pg_sys};

/// What happens to a row that names another model than the one registered for its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum ModelMismatch {
    #[name = c"error"]
    Error,
    #[name = c"warning"]
    Warning,
    #[name = c"ignore"]
    Ignore,
}

pub const MODEL_MISMATCH_NAME: &CStr = c"cvx.model_mismatch";

/// Refused, since two spaces mixed in one column cannot be told apart by a query. For superusers, and those
/// granted SET on it, to change: a guard that each writer can lift guards nothing.
static MODEL_MISMATCH: GucSetting<ModelMismatch> = GucSetting::<ModelMismatch>::new(ModelMismatch::Error);

/// 20 000 pairs are 26 for each dimension of a model with 768, beyond which a rotation hardly improves, and
/// hold 123 MB while they are fitted.
const DEFAULT_MAX_PAIRS: i32 = 20_000;
const LEAST_MAX_PAIRS: i32 = 100;
const MOST_MAX_PAIRS: i32 = 10_000_000;
static ALIGNMENT_MAX_PAIRS: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_MAX_PAIRS);

/// Some 25 maps of 768 dimensions, or one of 4096.
const DEFAULT_CACHE_KB: i32 = 64 * 1024;
static PROJECTION_CACHE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_CACHE_KB);

static WORKERS: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Four batches of 8 MB for each of four busy sources.
const DEFAULT_INGEST_KB: i32 = 128 * 1024;
const LEAST_INGEST_KB: i32 = 8 * 1024;
static INGEST_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_INGEST_KB);

/// Nothing else of the server's environment: it holds what is none of a source's business.
static SOURCE_ENVIRONMENT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"CVX_*"));

/// None: public addresses over https, and no others.
static WEBHOOK_ALLOWED_HOSTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// Receivers are expected to take note and answer, not to work.
const DEFAULT_WEBHOOK_MS: i32 = 10_000;
const LEAST_WEBHOOK_MS: i32 = 100;
const MOST_WEBHOOK_MS: i32 = 300_000;
static WEBHOOK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_WEBHOOK_MS);

/// Long enough for a pass over a few million rows, short enough that the next monitor does not wait for ever.
const DEFAULT_MONITOR_MS: i32 = 30_000;
static MONITOR_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_MONITOR_MS);

/// A query that runs unattended with all rights is what an attacker looks for.
static SUPERUSER_MONITORS: GucSetting<bool> = GucSetting::<bool>::new(false);

/// How long one evaluation of a monitor may take.
pub fn monitor_timeout() -> Duration {
    Duration::from_millis(MONITOR_TIMEOUT.get().unsigned_abs().into())
}

/// Whether queries of monitors that superusers own are run.
pub fn superuser_monitors() -> bool {
    SUPERUSER_MONITORS.get()
}

/// Whether background workers run.
pub fn workers() -> bool {
    WORKERS.get()
}

/// Bytes of records that an ingest worker holds at most, read and not written.
pub fn ingest_memory() -> usize {
    INGEST_MEMORY.get().unsigned_abs() as usize * 1024
}

/// Whether sources may read this variable of the server's environment.
pub fn may_read_environment(name: &str) -> bool {
    let allowed = SOURCE_ENVIRONMENT.get().unwrap_or_default();
    let allowed = allowed.to_string_lossy();
    allowed
        .split(',')
        .map(str::trim)
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => !pattern.is_empty() && pattern == name,
        })
}

/// Where webhooks may go, as cvx_webhooks::Policy reads it.
pub fn webhook_allowed_hosts() -> String {
    let hosts = WEBHOOK_ALLOWED_HOSTS.get().unwrap_or_default();
    hosts.to_string_lossy().into_owned()
}

/// How long one attempt to send a webhook may take.
pub fn webhook_timeout() -> Duration {
    Duration::from_millis(WEBHOOK_TIMEOUT.get().unsigned_abs().into())
}

/// Refuses a list that is malformed. At the start of the server it is taken, and nothing is sent: without it, more
/// would be allowed than was meant.
#[pg_guard]
unsafe extern "C-unwind" fn check_allowed_hosts(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: a C string, or none; and a text that PostgreSQL copies before it frees its own.
    unsafe {
        if pg_sys::process_shared_preload_libraries_in_progress || (*value).is_null() {
            return true;
        }
        let problem = match Policy::parse(&CStr::from_ptr(*value).to_string_lossy()) {
            Ok(_) => return true,
            Err(problem) => problem.to_string(),
        };
        if let Ok(text) = CString::new(problem) {
            pg_sys::GUC_check_errdetail_string = pg_sys::pstrdup(text.as_ptr());
        }
        false
    }
}

pub fn model_mismatch() -> ModelMismatch {
    MODEL_MISMATCH.get()
}

/// Most pairs that one fit reads.
pub fn alignment_max_pairs() -> i32 {
    ALIGNMENT_MAX_PAIRS.get()
}

/// Bytes of composed maps that a session keeps.
pub fn projection_cache_bytes() -> usize {
    PROJECTION_CACHE_SIZE.get().unsigned_abs() as usize * 1024
}

pub fn init() {
    GucRegistry::define_enum_guc(
        MODEL_MISMATCH_NAME,
        c"What happens to a row that names another model than the one registered for its space.",
        c"error refuses it, warning takes it and warns once a statement, ignore takes it. Rows that a replica applies, or that a dump brings back for a role that may set this, are always taken.",
        &MODEL_MISMATCH,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"cvx.alignment_max_pairs",
        c"Most pairs of vectors that an alignment is fitted to.",
        c"Each entity gives one pair before any gives a second. More pairs take more time and memory: 8 bytes for each dimension of each.",
        &ALIGNMENT_MAX_PAIRS,
        LEAST_MAX_PAIRS,
        MOST_MAX_PAIRS,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"cvx.projection_cache_size",
        c"Memory in which a session keeps maps between spaces.",
        c"A map that does not fit is loaded again by every statement that projects through it.",
        &PROJECTION_CACHE_SIZE,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_bool_guc(
        c"cvx.workers",
        c"Lets background workers run.",
        c"When off, those of all databases end and none is started.",
        &WORKERS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"cvx.ingest_memory",
        c"Memory for records that an ingest worker has read and not yet written.",
        c"Shared by the sources of a database that run at the same time.",
        &INGEST_MEMORY,
        LEAST_INGEST_KB,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_string_guc(
        c"cvx.source_environment",
        c"Variables of the server's environment that sources may refer to, separated by commas.",
        c"A * at the end stands for any rest of the name. Who may declare sources can send these values anywhere.",
        &SOURCE_ENVIRONMENT,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_int_guc(
        c"cvx.monitor_timeout",
        c"How long one evaluation of a monitor may take.",
        c"It is cancelled then, and its process ended a second later if that does not help.",
        &MONITOR_TIMEOUT,
        100,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        c"cvx.superuser_monitors",
        c"Lets monitors run queries of superusers.",
        c"Queries of other roles are run with the rights of those.",
        &SUPERUSER_MONITORS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    // SAFETY: the hook is guarded.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"cvx.webhook_allowed_hosts",
            c"Hosts that webhooks may be sent to, separated by commas.",
            c"Names, *.example.com, IP addresses and networks such as 10.0.0.0/8, each with or without :port. Empty: all with public addresses, over https. Internal addresses are allowed only to names that stand here in full and to addresses that do.",
            &WEBHOOK_ALLOWED_HOSTS,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
            Some(check_allowed_hosts),
            None,
            None,
        );
    }
    GucRegistry::define_int_guc(
        c"cvx.webhook_timeout",
        c"How long one attempt to send a webhook may take.",
        c"From looking up the host's name to reading the answer's status.",
        &WEBHOOK_TIMEOUT,
        LEAST_WEBHOOK_MS,
        MOST_WEBHOOK_MS,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    // SAFETY: a C string that lives for ever.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"cvx".as_ptr()) };
}
