//! The names of the columns that every record needs, where a source does not give its own: those of cvx.embedding.

pub(crate) fn entity_id() -> String {
    String::from("entity_id")
}

pub(crate) fn timestamp() -> String {
    String::from("ts")
}

pub(crate) fn vector() -> String {
    String::from("vec")
}
