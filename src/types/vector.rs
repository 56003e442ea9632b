//! pgvector's `vector`, read in place and handed back.
//!
//! Layout (pgvector's vector.h): varlena header, int16 dim, int16 unused = 0, dim × float4.

use std::ptr::NonNull;

use pgrx::{FromDatum, IntoDatum, pg_sys};

use super::detoast::{Detoasted, view};
use super::{sql_argument, sql_name, sql_result};
use crate::error::{Error, MAX_DIMS};

const HEADER_BYTES: usize = 8;

/// A `vector` argument, borrowed for the call.
pub struct Vector(Detoasted);

impl Vector {
    /// The coordinates, in place.
    pub fn as_slice(&self) -> &[f32] {
        let bytes = self.0.bytes();
        let problem = match bytes {
            [_, _, _, _, a, b, c, d, ..] => {
                let (dims, unused) = (i16::from_ne_bytes([*a, *b]), i16::from_ne_bytes([*c, *d]));
                let count = usize::try_from(dims).unwrap_or(0);
                if unused == 0
                    && count >= 1
                    && bytes.len() == HEADER_BYTES + 4 * count
                    && let Some(values) = view(bytes, HEADER_BYTES, count)
                {
                    return values;
                }
                format!(
                    "{} bytes for {dims} dimensions, reserved field {unused}",
                    bytes.len()
                )
            }
            _ => format!("{} bytes", bytes.len()),
        };
        Error::Corrupt {
            kind: "vector",
            problem,
        }
        .raise()
    }
}

impl FromDatum for Vector {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller vouches for the datum.
        (!is_null).then(|| Vector(unsafe { Detoasted::new(datum) }))
    }
}

sql_name!(Vector, "vector");
sql_argument!(Vector, "vector");

/// A `vector` result.
pub struct VectorResult(Vec<f32>);

impl VectorResult {
    pub fn new(values: &[f32]) -> Self {
        VectorResult(values.to_vec())
    }

    pub fn from_vec(values: Vec<f32>) -> Self {
        VectorResult(values)
    }

    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// Narrows to float4; a value that does not fit is an error that names it.
    pub fn from_f64(function: &'static str, values: &[f64]) -> Result<Self, Error> {
        let narrow = |(element, &value): (usize, &f64)| {
            let narrowed = value as f32;
            if narrowed.is_finite() {
                Ok(narrowed)
            } else {
                Err(Error::Overflow {
                    function,
                    element: element + 1,
                    value,
                })
            }
        };
        values
            .iter()
            .enumerate()
            .map(narrow)
            .collect::<Result<_, _>>()
            .map(VectorResult)
    }
}

impl IntoDatum for VectorResult {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let dims = i16::try_from(self.0.len())
            .ok()
            .filter(|&d| d >= 1 && usize::from(d as u16) <= MAX_DIMS)?;
        let size = HEADER_BYTES + 4 * self.0.len();
        // SAFETY: palloc returns `size` bytes, aligned to 8, or raises; all of them are written here.
        unsafe {
            let data = NonNull::new_unchecked(pg_sys::palloc(size).cast::<u8>());
            pgrx::set_varsize_4b(data.as_ptr().cast(), size as i32);
            data.as_ptr().add(4).cast::<[i16; 2]>().write([dims, 0]);
            let values = data.as_ptr().add(HEADER_BYTES).cast::<f32>();
            std::ptr::copy_nonoverlapping(self.0.as_ptr(), values, self.0.len());
            Some(pg_sys::Datum::from(data.as_ptr()))
        }
    }

    /// pgvector's type has no fixed OID, and nothing here needs it: the DDL declares the results.
    fn type_oid() -> pg_sys::Oid {
        pg_sys::InvalidOid
    }

    /// Statements that read one declare it.
    fn is_compatible_with(_: pg_sys::Oid) -> bool {
        true
    }
}

/// What SPI brings: a copy, since the row goes away.
impl FromDatum for VectorResult {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller vouches for the datum.
        let vector = unsafe { Vector::from_polymorphic_datum(datum, is_null, oid) };
        vector.map(|it| VectorResult::new(it.as_slice()))
    }
}

sql_name!(VectorResult, "vector");
sql_result!(VectorResult);
