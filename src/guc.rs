//! Every setting: private, with its default, bounds and the reason for them; read through the functions below.

use std::ffi::{CStr, CString};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;

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
    // SAFETY: a C string that lives for ever.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"cvx".as_ptr()) };
}
