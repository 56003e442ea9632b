//! Where embeddings come from.
