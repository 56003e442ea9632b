//! Whether vectors of one dimension come from one embedding space or from two.
