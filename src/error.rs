//! Every error cvx raises: one table from variant to SQLSTATE, message, detail and hint.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::types::timestamp;

/// What a caller did that cvx refuses. Values are shown as the caller gave them.
#[derive(Debug)]
pub enum Error {
    MixedDimensions {
        expected: usize,
        found: usize,
        ts: i64,
    },
    DifferentDimensions {
        left: usize,
        right: usize,
    },
    TooManyDimensions {
        dims: usize,
    },
    NoDimensions,
    NotFinite {
        element: usize,
        value: f32,
        ts: i64,
    },
    InfiniteTimestamp,
    DuplicateTimestamp {
        ts: i64,
    },
    TimesNotIncreasing {
        before: i64,
        after: i64,
    },
    OverlappingRanges {
        left_end: i64,
        right_start: i64,
    },
    TooLarge {
        points: usize,
        dims: usize,
    },
    OutOfMemory {
        bytes: usize,
    },
    TrajectoryText {
        input: String,
        position: usize,
        problem: String,
    },
    TrajectoryBinary {
        problem: String,
    },
    Corrupt {
        kind: &'static str,
        problem: String,
    },
    Overflow {
        function: &'static str,
        element: usize,
        value: f64,
    },
    StepWithMonths,
    UnitNotPositive {
        name: &'static str,
    },
    NotAnAggregate,
    Math(cvx_math::Error),
    Bocpd(cvx_math::bocpd::Error),
    StateText {
        problem: String,
    },
    StateBinary {
        problem: String,
    },
    UnknownSpace {
        name: String,
    },
    EmbeddingRefused(cvx_sources::RejectReason),
    UnknownModel {
        model: String,
    },
    UnknownVersion {
        model: String,
        version: String,
    },
    /// The first version of a model is aligned to nothing.
    NoPredecessor {
        model: String,
        version: String,
    },
    PredecessorCycle {
        model: String,
        version: String,
    },
    SpaceDropped {
        model: String,
        version: String,
    },
    NotAligned {
        model: String,
        version: String,
        predecessor: String,
        status: String,
    },
    /// Two versions, each with its dimensions.
    DimensionsDiffer {
        version: (String, usize),
        predecessor: (String, usize),
    },
    TooManyToAlign {
        dims: usize,
    },
    AlignmentImpossible {
        model: String,
        version: String,
        problem: String,
    },
    NotRegistered {
        space: String,
    },
    /// Two spaces, each with its model.
    DifferentModels {
        from: (String, String),
        to: (String, String),
    },
    WrongDimensions {
        found: usize,
        expected: usize,
        space: String,
    },
    /// A query that is to bring vectors brings something else.
    SampleTypes,
    NotServerFileReader {
        path: String,
    },
    NullArgument {
        function: &'static str,
        argument: &'static str,
    },
    RowSecurity {
        table: String,
    },
    Source(cvx_sources::SourceError),
    Declaration(cvx_config::Error),
    UnknownSource {
        name: String,
    },
    SourceExists {
        name: String,
    },
    /// A source, secret or monitor of somebody else.
    NotOwner {
        kind: &'static str,
        name: String,
    },
    /// What a source reaches with the server's own rights, and its owner may not.
    SourceNeeds {
        role: String,
        what: &'static str,
    },
    UnknownSecret {
        name: String,
    },
    SecretExists {
        name: String,
    },
    InvalidName {
        kind: &'static str,
        bytes: usize,
    },
    TooMany {
        kind: &'static str,
        limit: i64,
    },
    /// A source in a server without background workers.
    NoWorkers {
        source: String,
    },
    UnknownView {
        name: String,
    },
    ViewExists {
        name: String,
    },
    /// What somebody wants of a view and cannot have.
    InvalidView {
        code: PgSqlErrorCode,
        message: String,
        hint: String,
    },
    /// A source declared for one model, its space registered for another.
    OtherModel {
        source: String,
        space: String,
        model: String,
    },
}

/// The largest datum PostgreSQL passes around (MaxAllocSize), in bytes.
pub const MAX_DATUM_BYTES: usize = 0x3fff_ffff;
/// pgvector's limit, and so ours.
pub const MAX_DIMS: usize = 16_000;

struct Text {
    code: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

fn text(code: PgSqlErrorCode, message: impl Into<String>) -> Text {
    Text {
        code,
        message: message.into(),
        detail: None,
        hint: None,
    }
}

impl Text {
    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Error {
    fn text(self) -> Text {
        use PgSqlErrorCode::*;
        let at = timestamp::to_text;
        match self {
            Error::MixedDimensions { expected, found, ts } => text(
                ERRCODE_DATA_EXCEPTION,
                format!("vector at {} has {found} dimensions, the trajectory has {expected}", at(ts)),
            )
            .hint("All points of a trajectory have the same dimensions: group by the model or space that made them."),
            Error::DifferentDimensions { left, right } => {
                text(ERRCODE_DATA_EXCEPTION, format!("different dimensions {left} and {right}"))
                    .hint("Both operands must have the same dimensions.")
            }
            Error::TooManyDimensions { dims } => text(
                ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("trajectory cannot have more than {MAX_DIMS} dimensions, not {dims}"),
            ),
            Error::NoDimensions => {
                text(ERRCODE_DATA_EXCEPTION, "a point of a trajectory must have at least 1 dimension")
            }
            Error::NotFinite { element, value, ts } => text(
                ERRCODE_DATA_EXCEPTION,
                format!("element {element} of the vector at {} is {}", at(ts), not_finite(value)),
            )
            .hint("NaN and infinity are not allowed in a trajectory: filter such rows out or repair them."),
            Error::InfiniteTimestamp => {
                text(ERRCODE_DATETIME_FIELD_OVERFLOW, "infinite timestamps are not allowed in a trajectory")
                    .hint("Filter the rows with isfinite(ts).")
            }
            Error::DuplicateTimestamp { ts } => text(
                ERRCODE_DATA_EXCEPTION,
                format!("two points of a trajectory have the timestamp {}", at(ts)),
            )
            .hint("Keep one row a timestamp, for example with DISTINCT ON (entity, ts) or avg(vec)."),
            Error::TimesNotIncreasing { before, after } => text(
                ERRCODE_DATA_EXCEPTION,
                format!("timestamps of a trajectory must increase: {} is followed by {}", at(before), at(after)),
            )
            .hint("cvx.trajectory_agg(ts, vec) takes points in any order."),
            Error::OverlappingRanges { left_end, right_start } => text(
                ERRCODE_DATA_EXCEPTION,
                format!(
                    "trajectories overlap: the first ends at {}, the second starts at {}",
                    at(left_end),
                    at(right_start)
                ),
            )
            .hint("Join trajectories of disjoint time ranges only, the earlier one first or last."),
            Error::TooLarge { points, dims } => text(
                ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("a trajectory of {points} points with {dims} dimensions exceeds 1 GB"),
            )
            .hint("Take a shorter time range, or thin the points out before they are aggregated."),
            Error::OutOfMemory { bytes } => {
                text(ERRCODE_OUT_OF_MEMORY, format!("out of memory: could not allocate {bytes} bytes"))
            }
            Error::TrajectoryText { input, position, problem } => text(
                ERRCODE_INVALID_TEXT_REPRESENTATION,
                format!("invalid input syntax for type trajectory: {input:?}"),
            )
            .detail(format!("At byte {position}: {problem}."))
            .hint("Write a trajectory as {[0.1,0.2]@2026-01-01 00:00:00+00, [0.3,0.1]@2026-01-02 00:00:00+00}."),
            Error::TrajectoryBinary { problem } => text(
                ERRCODE_INVALID_BINARY_REPRESENTATION,
                format!("invalid binary representation of a trajectory: {problem}"),
            ),
            Error::Corrupt { kind, problem } => {
                text(ERRCODE_DATA_CORRUPTED, format!("corrupt {kind} value: {problem}"))
            }
            Error::Overflow { function, element, value } => text(
                ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
                format!("{function}: element {element} of the result, {value:e}, is out of range for type vector"),
            )
            .hint(match function {
                "velocity" | "acceleration" => "Use a smaller unit of time.",
                _ => "Scale the vectors down.",
            }),
            Error::StepWithMonths => {
                text(ERRCODE_FEATURE_NOT_SUPPORTED, "a trajectory cannot be resampled by months or years")
                    .hint("Months differ in length: give the step in days or smaller units.")
            }
            Error::UnitNotPositive { name } => {
                text(ERRCODE_INVALID_PARAMETER_VALUE, format!("{name} must be a finite interval greater than zero"))
                    .hint(format!("For example: {name} => interval '1 day'."))
            }
            Error::NotAnAggregate => {
                text(ERRCODE_INVALID_PARAMETER_VALUE, "aggregate function called in non-aggregate context")
            }
            Error::Math(error) => match error {
                cvx_math::Error::InvalidParameter { name, value, expected } => {
                    text(ERRCODE_INVALID_PARAMETER_VALUE, format!("invalid {name}: {value}"))
                        .hint(format!("Expected {expected}."))
                }
                cvx_math::Error::TooManyPoints { wanted, limit } => text(
                    ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                    format!("the result would have {wanted} points, a trajectory of these dimensions holds {limit}"),
                )
                .hint("Take a larger step or a shorter time range."),
                cvx_math::Error::OutOfMemory { bytes } => Error::OutOfMemory { bytes }.text(),
            },
            Error::Bocpd(error) => bocpd(error),
            Error::StateText { problem } => text(
                ERRCODE_INVALID_TEXT_REPRESENTATION,
                format!("invalid input syntax for type bocpd_state: {problem}"),
            )
            .hint("A state is what cvx.bocpd_update returns; its text is not meant to be written by hand."),
            Error::StateBinary { problem } => text(
                ERRCODE_INVALID_BINARY_REPRESENTATION,
                format!("invalid binary representation of a bocpd_state: {problem}"),
            ),
            Error::UnknownSpace { name } => {
                text(ERRCODE_UNDEFINED_OBJECT, format!("space {name:?} does not exist"))
                    .hint("SELECT name FROM cvx.space lists the spaces; cvx.create_space(name, dims) makes one.")
            }
            Error::EmbeddingRefused(reason) => {
                text(reject_code(&reason), reason.to_string()).hint(reason.hint())
            }
            Error::UnknownModel { model } => {
                text(ERRCODE_UNDEFINED_OBJECT, format!("model {model:?} does not exist"))
                    .hint("SELECT model, version FROM cvx.model_version lists them; cvx.create_model registers one.")
            }
            Error::UnknownVersion { model, version } => text(
                ERRCODE_UNDEFINED_OBJECT,
                format!("model {model:?} has no version {version:?}"),
            )
            .hint("SELECT model, version FROM cvx.model_version lists them; cvx.create_model registers one."),
            Error::NoPredecessor { model, version } => text(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("version {version:?} is the first of model {model:?} and has no alignment"),
            )
            .hint("Its space is the canonical frame; later versions are aligned to it."),
            Error::PredecessorCycle { model, version } => text(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("the predecessors of model {model:?} form a cycle through version {version:?}"),
            )
            .hint("Repair column predecessor of cvx.model_version: one version has none, all others lead back to it."),
            Error::SpaceDropped { model, version } => text(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("the space of model {model:?}, version {version:?}, was dropped"),
            )
            .hint("Without its embeddings there is nothing to align with; an alignment computed before still holds."),
            Error::NotAligned { model, version, predecessor, status } => text(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("version {version:?} of model {model:?} is not aligned to {predecessor:?}: {status}"),
            )
            .hint(format!(
                "Embed some entities with both versions, then SELECT * FROM cvx.align({}, {}).",
                literal(&model),
                literal(&version)
            )),
            Error::DimensionsDiffer { version, predecessor } => text(
                ERRCODE_INVALID_PARAMETER_VALUE,
                format!(
                    "method procrustes needs equal dimensions: version {:?} has {}, its predecessor {:?} has {}",
                    version.0, version.1, predecessor.0, predecessor.1
                ),
            )
            .hint("Use method 'affine', 'cca' or 'auto'."),
            Error::TooManyToAlign { dims } => text(
                ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("spaces of up to {} dimensions can be aligned, not {dims}", crate::align::fit::MAX_DIMS),
            )
            .hint("Shorten the vectors, for example with subvector(vec, 1, 1024)."),
            Error::AlignmentImpossible { model, version, problem } => text(
                ERRCODE_DATA_EXCEPTION,
                format!("version {version:?} of model {model:?} cannot be aligned: {problem}"),
            )
            .hint("Embed more, and different, inputs with both versions."),
            Error::NotRegistered { space } => text(
                ERRCODE_UNDEFINED_OBJECT,
                format!("space {space:?} belongs to no model"),
            )
            .hint("Register it with cvx.create_model(model, version, space, predecessor)."),
            Error::DifferentModels { from, to } => text(
                ERRCODE_INVALID_PARAMETER_VALUE,
                format!(
                    "space {:?} is of model {:?}, space {:?} of model {:?}",
                    from.0, from.1, to.0, to.1
                ),
            )
            .hint("Projection leads along the versions of one model."),
            Error::WrongDimensions { found, expected, space } => text(
                ERRCODE_DATA_EXCEPTION,
                format!("vector has {found} dimensions, space {space:?} has {expected}"),
            ),
            Error::SampleTypes => text(
                ERRCODE_DATATYPE_MISMATCH,
                "the query must have the columns (vector, timestamp with time zone, text)",
            )
            .hint("cvx.space_report(table, vector_column) writes it."),
            Error::NotServerFileReader { path } => text(
                ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("permission denied to read the server's file {path:?}"),
            )
            .detail("Only superusers and members of pg_read_server_files may read files of the server.")
            .hint("A superuser can GRANT pg_read_server_files TO the role."),
            Error::NullArgument { function, argument } => text(
                ERRCODE_NULL_VALUE_NOT_ALLOWED,
                format!("argument {argument} of {function} must not be NULL"),
            ),
            Error::RowSecurity { table } => text(
                ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("bulk ingestion is not supported into {table}, which has row-level security for this role"),
            )
            .hint("Use INSERT statements instead, or ingest as a role with BYPASSRLS."),
            Error::Declaration(error) => Text {
                code: ERRCODE_INVALID_PARAMETER_VALUE,
                message: error.message,
                detail: error.detail,
                hint: error.hint,
            },
            Error::UnknownSource { name } => text(
                ERRCODE_UNDEFINED_OBJECT,
                format!("source {name:?} does not exist"),
            )
            .hint("SELECT name FROM cvx.sources lists the sources; cvx.create_source makes one."),
            Error::SourceExists { name } => text(
                ERRCODE_DUPLICATE_OBJECT,
                format!("source {name:?} already exists"),
            )
            .hint("Choose another name, or cvx.alter_source(name, ...) to change it."),
            Error::NotOwner { kind, name } => text(
                ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("must be owner of {kind} {name:?}"),
            ),
            Error::SourceNeeds { role, what } => text(
                ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("role {role:?} may not declare a source that uses {what}"),
            )
            .detail("Only superusers and members of pg_read_server_files may.")
            .hint("Give the source credentials of its own with cvx.create_secret(name, value) and {\"secret\": name}."),
            Error::UnknownSecret { name } => text(
                ERRCODE_UNDEFINED_OBJECT,
                format!("secret {name:?} does not exist"),
            )
            .hint("Make it with cvx.create_secret(name, value); secrets are not part of a dump."),
            Error::SecretExists { name } => text(
                ERRCODE_DUPLICATE_OBJECT,
                format!("secret {name:?} already exists"),
            )
            .hint("cvx.create_secret(name, value, replace => true) puts another value in its place."),
            Error::InvalidName { kind, bytes } => text(
                ERRCODE_INVALID_NAME,
                format!("the name of a {kind} has 1 to 255 bytes, not {bytes}"),
            ),
            Error::TooMany { kind, limit } => text(
                ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("a database has at most {limit} {kind}"),
            ),
            Error::NoWorkers { source } => text(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("source {source:?} is declared, and this server runs no workers to read it"),
            )
            .hint("Add cvx to shared_preload_libraries in postgresql.conf and restart the server."),
            Error::OtherModel { source, space, model } => text(
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("source {source:?} is of model {model:?}, to which its space {space:?} does not belong"),
            )
            .hint("Register the space with cvx.create_model, or declare the source without a model."),
            Error::UnknownView { name } => text(ERRCODE_UNDEFINED_OBJECT, format!("view {name:?} does not exist"))
                .hint("SELECT name FROM cvx.views lists the views; cvx.create_view makes one."),
            Error::ViewExists { name } => text(ERRCODE_DUPLICATE_OBJECT, format!("view {name:?} already exists"))
                .hint("Choose another name, or cvx.drop_view(name) first."),
            Error::InvalidView { code, message, hint } => text(code, message).hint(hint),
            Error::Source(error) => {
                Text { code: source_code(error.kind), message: error.message, detail: error.detail, hint: error.hint }
            }
        }
    }
}

/// What a series of points fed one by one cannot take.
fn bocpd(error: cvx_math::bocpd::Error) -> Text {
    use PgSqlErrorCode::*;
    use cvx_math::bocpd::Error as E;
    match error {
        E::Parameter(error) => Error::Math(error).text(),
        E::Dimensions { expected, found } => text(
            ERRCODE_DATA_EXCEPTION,
            format!("vector has {found} dimensions, the points of this state have {expected}"),
        )
        .hint("Keep a state for each series, and begin a new one, with NULL, when the model changes."),
        E::Order { last, ts } => text(
            ERRCODE_INVALID_PARAMETER_VALUE,
            format!(
                "point at {} is not later than the last one, at {}",
                timestamp::to_text(ts),
                timestamp::to_text(last)
            ),
        )
        .hint(
            "Feed points in the order of time; after a late one begin anew, with NULL, and feed all of them.",
        ),
        E::NotFinite { element, value } => text(
            ERRCODE_DATA_EXCEPTION,
            format!("element {} of the vector is {}", element + 1, not_finite(value)),
        )
        .hint("NaN and infinity are not allowed: filter such rows out or repair them."),
        E::Corrupt { problem } => Error::Corrupt {
            kind: "bocpd_state",
            problem,
        }
        .text(),
    }
}

/// A string as SQL has it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// As PostgreSQL writes them.
fn not_finite(value: f32) -> &'static str {
    match value {
        f32::INFINITY => "Infinity",
        f32::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

fn source_code(kind: cvx_sources::ErrorKind) -> PgSqlErrorCode {
    use cvx_sources::ErrorKind::*;
    match kind {
        Config => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        NotFound => PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
        PermissionDenied => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        WrongSchema => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        Corrupt => PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT,
        Unsupported => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        Io => PgSqlErrorCode::ERRCODE_IO_ERROR,
        Gap => PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
        Internal => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
    }
}

/// A refused embedding answers with the class of what is wrong with it, as a plain INSERT and a connector alike.
fn reject_code(reason: &cvx_sources::RejectReason) -> PgSqlErrorCode {
    use cvx_sources::RejectReason as R;
    match reason {
        R::BadTimestamp { .. } => PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
        _ => PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
    }
}

impl Error {
    /// Says the same as a warning.
    pub fn warn(self) {
        ErrorReport::from(self).report(PgLogLevel::WARNING);
    }

    /// Raises the error where no Result can carry it.
    pub fn raise(self) -> ! {
        ErrorReport::from(self).report(PgLogLevel::ERROR);
        unreachable!("ERROR does not return")
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        let it = error.text();
        let mut report = ErrorReport::new(it.code, it.message, "cvx");
        if let Some(detail) = it.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = it.hint {
            report = report.set_hint(hint);
        }
        report
    }
}

impl From<cvx_math::Error> for Error {
    fn from(error: cvx_math::Error) -> Self {
        Error::Math(error)
    }
}

/// Keeps Rust backtraces, with their source paths, out of the DETAIL of errors even where the server's
/// environment asks for them: the answer to that question is cached by asking it once, here.
pub fn init() {
    const VARIABLE: &str = "RUST_LIB_BACKTRACE";
    let before = std::env::var_os(VARIABLE);
    // SAFETY: a backend runs one thread when it loads a library.
    unsafe {
        std::env::set_var(VARIABLE, "0");
        let _ = std::backtrace::Backtrace::capture();
        match before {
            Some(value) => std::env::set_var(VARIABLE, value),
            None => std::env::remove_var(VARIABLE),
        }
    }
}
