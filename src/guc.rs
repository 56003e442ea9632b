//! Every setting: private, with its default, bounds and the reason for them; read through the functions below.

use std::ffi::CStr;

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
    // SAFETY: a C string that lives for ever.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"cvx".as_ptr()) };
}
