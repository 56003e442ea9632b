//! Maps between two embedding spaces, fitted to pairs of vectors of the same things.
