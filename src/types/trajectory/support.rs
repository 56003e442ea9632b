//! Planner support: what the planner may put in the place of a call.

use std::ffi::CStr;
use std::ptr;

use pgrx::datum::Internal;
use pgrx::prelude::*;

/// Planner support of the functions that look at the ends of a trajectory only: `f(trajectory_agg(ts, vec), ...)`
/// becomes `f(_trajectory_ends_agg(ts, vec), ...)`.
#[pg_extern(sql = false)]
fn trajectory_ends_support(request: Internal) -> Internal {
    // SAFETY: PostgreSQL passes a node; it is read as what its tag says, and NULL says that nothing is simpler.
    let simpler = unsafe { request.get::<pg_sys::SupportRequestSimplify>() }
        .filter(|it| it.type_ == pg_sys::NodeTag::T_SupportRequestSimplify)
        .and_then(|it| unsafe { with_ends(it.fcall) });
    // "Nothing" is a null pointer, not an SQL NULL: the planner's call refuses that.
    Internal::from(Some(simpler.unwrap_or(pg_sys::Datum::null())))
}

/// # Safety
/// `call` is a function call whose arguments have been simplified.
unsafe fn with_ends(call: *mut pg_sys::FuncExpr) -> Option<pg_sys::Datum> {
    // SAFETY: nodes are read as their tags say and the copy alone is changed; look-ups raise their own errors.
    unsafe {
        let aggregate = first_aggregate(call)?;
        let types = pgrx::PgList::<std::ffi::c_void>::from_pg((*aggregate).aggargtypes);
        let plain = (*aggregate).aggorder.is_null() && (*aggregate).aggdistinct.is_null();
        if !plain || types.len() != 2 {
            return None;
        }
        let of_types = |n| (*(*aggregate).aggargtypes).elements.add(n).read().oid_value;
        let types = [of_types(0), of_types(1)];
        if (*aggregate).aggfnoid != function(c"trajectory_agg", &types)? {
            return None;
        }
        let ends = function(c"_trajectory_ends_agg", &types)?;
        let copy = pg_sys::copyObjectImpl(call.cast()).cast::<pg_sys::FuncExpr>();
        (*first_aggregate(copy)?).aggfnoid = ends;
        Some(pg_sys::Datum::from(copy))
    }
}

/// # Safety
/// `call` is a valid node.
unsafe fn first_aggregate(call: *mut pg_sys::FuncExpr) -> Option<*mut pg_sys::Aggref> {
    // SAFETY: a list of a call's arguments holds nodes.
    unsafe {
        let first = pgrx::PgList::<pg_sys::Node>::from_pg((*call).args).get_ptr(0)?;
        ((*first).type_ == pg_sys::NodeTag::T_Aggref).then_some(first.cast())
    }
}

/// The function `cvx.<name>` of these argument types; None when there is none.
///
/// # Safety
/// Only within a transaction.
unsafe fn function(name: &CStr, types: &[pg_sys::Oid; 2]) -> Option<pg_sys::Oid> {
    // SAFETY: the names are copied, and a missing function gives InvalidOid.
    let found = unsafe {
        let string = |text: &CStr| pg_sys::makeString(pg_sys::pstrdup(text.as_ptr())).cast();
        let path = pg_sys::lappend(pg_sys::lappend(ptr::null_mut(), string(c"cvx")), string(name));
        pg_sys::LookupFuncName(path, types.len() as i32, types.as_ptr(), true)
    };
    (found != pg_sys::InvalidOid).then_some(found)
}
