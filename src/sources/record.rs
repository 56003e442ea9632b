//! The record: one embedding of one entity at one time, with where it came from.

/// pgvector's bound on the dimensions of a `vector`.
pub const MAX_DIMS: usize = 16_000;

/// Longest entity id, in bytes of UTF-8. The primary key (space_id, entity_id, ts) is a B-tree, whose entries
/// end at 2 704 bytes: an id that is refused here with its length would fail there with a message about index
/// rows.
pub const MAX_ENTITY_ID_BYTES: usize = 1024;

/// Longest text of any other column (model_version, the hashes, attrs), in bytes: a bound that no honest
/// value nears, so that one row cannot fill the memory of a server.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// One row, borrowed from the batch that holds it or from a connector's buffers.
///
/// Times are PostgreSQL's: microseconds since 2000-01-01 00:00:00 UTC (see [`crate::time`]). The source's
/// name, the space and ingested_at are not here: the caller knows them, they are the same for the whole run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Record<'a> {
    /// Who: not empty, no NUL, at most [`MAX_ENTITY_ID_BYTES`].
    pub entity_id: &'a str,
    /// When, within PostgreSQL's range and finite.
    pub ts: i64,
    /// The embedding: as many finite elements as the space has dimensions, not all zero.
    pub vector: &'a [f32],
    /// The version of the model that made the embedding.
    pub model_version: Option<&'a str>,
    /// A hash of that model's weights.
    pub model_hash: Option<&'a str>,
    /// A hash of what was embedded.
    pub input_hash: Option<&'a str>,
    /// A hash of the code between input and model.
    pub pipeline_hash: Option<&'a str>,
    /// When the embedding was computed, as distinct from when it is true of its entity.
    pub produced_at: Option<i64>,
    /// Anything else, as JSON text.
    pub attrs: Option<&'a str>,
}
