use std::fmt;

/// A trajectory, borrowed: `n` points of `dims` numbers each, row-major, times strictly increasing.
///
/// Whoever builds one guarantees the invariants: `values.len() == times.len() * dims`, strictly increasing
/// times, finite values. `Path::new` checks the lengths only, in debug builds.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    /// Microseconds since some epoch, strictly increasing.
    pub times: &'a [i64],
    /// `times.len() * dims` numbers, a row a point.
    pub values: &'a [f32],
    pub dims: usize,
}

impl<'a> Path<'a> {
    pub fn new(times: &'a [i64], values: &'a [f32], dims: usize) -> Self {
        debug_assert_eq!(values.len(), times.len() * dims);
        Path { times, values, dims }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The coordinates of point `i` (0-based).
    pub fn point(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.dims..(i + 1) * self.dims]
    }

    pub fn points(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + use<'a> {
        let dims = self.dims.max(1);
        self.values.chunks_exact(dims)
    }

    /// The points `range`, as a path of their own.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Path<'a> {
        Path {
            times: &self.times[range.clone()],
            values: &self.values[range.start * self.dims..range.end * self.dims],
            dims: self.dims,
        }
    }
}

/// What the caller asked for that has no answer. The SQL layer gives each its SQLSTATE and hint.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// A parameter is outside its domain: name, value as given, domain in words.
    InvalidParameter {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
    /// The result would hold more points than fit: how many were asked for, how many fit.
    TooManyPoints { wanted: u128, limit: usize },
    /// The result, of this many bytes, found no memory.
    OutOfMemory { bytes: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidParameter {
                name,
                value,
                expected,
            } => {
                write!(f, "invalid {name} {value}: expected {expected}")
            }
            Error::TooManyPoints { wanted, limit } => {
                write!(
                    f,
                    "result would have {wanted} points, more than the {limit} that fit"
                )
            }
            Error::OutOfMemory { bytes } => write!(f, "no memory for a result of {bytes} bytes"),
        }
    }
}

impl std::error::Error for Error {}
