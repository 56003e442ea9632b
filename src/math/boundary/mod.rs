//! Change points of a trajectory whose points come from several model versions: a retrain told from a change.
