//! The SQL type `bocpd_state`: a varlena header, then a detector as `cvx_math::bocpd` writes it.

mod binary;
mod text;

use std::ptr::NonNull;

use cvx_math::bocpd::{self, Detector};
use pgrx::{FromDatum, IntoDatum, pg_sys};

use super::detoast::Detoasted;
use super::{sql_argument, sql_name, sql_result};
use crate::error::Error;

const HEADER_BYTES: usize = 4;

/// A state, as an argument and as a result.
pub struct BocpdState(pub Detector);

impl BocpdState {
    /// The detector in these bytes, with times that PostgreSQL has.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let detector = Detector::from_bytes(bytes).map_err(|error| error.to_string())?;
        let range = cvx_sources::time::MIN_TS..cvx_sources::time::END_TS;
        match (detector.oldest_ts(), detector.last_ts()) {
            (Some(oldest), Some(last)) if !range.contains(&oldest) || !range.contains(&last) => {
                Err(String::from("a timestamp is out of range"))
            }
            _ => Ok(BocpdState(detector)),
        }
    }
}

impl FromDatum for BocpdState {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller vouches for the datum.
        let varlena = unsafe { Detoasted::new(datum) };
        match BocpdState::read(&varlena.bytes()[HEADER_BYTES..]) {
            Ok(state) => Some(state),
            Err(problem) => {
                drop(varlena);
                Error::Corrupt {
                    kind: "bocpd_state",
                    problem,
                }
                .raise()
            }
        }
    }
}

impl IntoDatum for BocpdState {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let payload = self.0.to_bytes();
        let size = HEADER_BYTES + payload.len();
        // SAFETY: palloc returns `size` bytes or raises (a detector is far below its limit); all are written here.
        unsafe {
            let data = NonNull::new_unchecked(pg_sys::palloc(size).cast::<u8>());
            pgrx::set_varsize_4b(data.as_ptr().cast(), size as i32);
            let to = data.as_ptr().add(HEADER_BYTES);
            std::ptr::copy_nonoverlapping(payload.as_ptr(), to, payload.len());
            Some(pg_sys::Datum::from(data.as_ptr()))
        }
    }

    /// The type has no fixed OID, and nothing here needs it: the DDL declares the results.
    fn type_oid() -> pg_sys::Oid {
        pg_sys::InvalidOid
    }

    /// Statements that read one declare it.
    fn is_compatible_with(_: pg_sys::Oid) -> bool {
        true
    }
}

sql_name!(BocpdState, "bocpd_state");
sql_argument!(BocpdState, "bocpd_state");
sql_result!(BocpdState);

impl From<bocpd::Error> for Error {
    fn from(error: bocpd::Error) -> Self {
        match error {
            bocpd::Error::Parameter(error) => Error::Math(error),
            error => Error::Bocpd(error),
        }
    }
}
