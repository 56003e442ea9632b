//! SQL types as Rust values: each borrows its datum in place.

pub mod bocpd_state;
mod detoast;
pub mod interval;
pub mod timestamp;
pub mod trajectory;
pub mod vector;

/// A `timestamptz` datum: microseconds since 2000-01-01 00:00:00 UTC, as PostgreSQL passes it by value.
pub type TimestampTz = i64;

/// Declares how a borrowed type arrives as an argument.
///
/// The DDL is written by hand (sql/install), so the SQL name given here only documents.
macro_rules! sql_argument {
    ($ty:ty, $sql:literal) => {
        // SAFETY: the datum of an argument declared with this SQL type is one that FromDatum accepts.
        unsafe impl<'fcx> pgrx::callconv::ArgAbi<'fcx> for $ty {
            unsafe fn unbox_arg_unchecked(arg: pgrx::callconv::Arg<'_, 'fcx>) -> Self {
                // SAFETY: as above; pgrx calls this for arguments that are not NULL.
                match unsafe { arg.unbox_arg_using_from_datum() } {
                    Some(value) => value,
                    None => crate::error::Error::NullArgument {
                        function: "cvx",
                        argument: $sql,
                    }
                    .raise(),
                }
            }

            unsafe fn unbox_nullable_arg(
                arg: pgrx::callconv::Arg<'_, 'fcx>,
            ) -> pgrx::nullable::Nullable<Self> {
                // SAFETY: as above; a null pointer that is not marked NULL comes from nodeAgg's dummy argument.
                unsafe { arg.unbox_arg_using_from_datum().into() }
            }
        }
    };
}

/// Declares how an owned type leaves as a result.
macro_rules! sql_result {
    ($ty:ty) => {
        // SAFETY: into_datum hands over a palloc'd datum of the declared SQL type.
        unsafe impl pgrx::callconv::BoxRet for $ty {
            unsafe fn box_into<'fcx>(
                self,
                fcinfo: &mut pgrx::callconv::FcInfo<'fcx>,
            ) -> pgrx::datum::Datum<'fcx> {
                match pgrx::IntoDatum::into_datum(self) {
                    // SAFETY: see above.
                    Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
                    None => fcinfo.return_null(),
                }
            }
        }
    };
}

/// The SQL type that pgrx documents for a Rust type.
macro_rules! sql_name {
    ($ty:ty, $sql:literal) => {
        pgrx::pgrx_sql_entity_graph::impl_sql_translatable!($ty, $sql);
    };
}

pub(crate) use {sql_argument, sql_name, sql_result};
