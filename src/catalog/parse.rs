use std::ffi::CString;

use pgrx::pg_sys;

/// A text that is one SELECT by itself, which creates no table, without what ends it. Raises what PostgreSQL says of a
/// syntax error.
pub fn one_select(sql: &str) -> Option<&str> {
    let text = CString::new(sql).ok()?;
    // SAFETY: parses a C string. The list and its nodes are PostgreSQL's own.
    unsafe {
        let list = pg_sys::pg_parse_query(text.as_ptr());
        if list.is_null() || (*list).length != 1 {
            return None;
        }
        let raw = (*(*list).elements).ptr_value.cast::<pg_sys::RawStmt>();
        let select = (*raw).stmt.cast::<pg_sys::SelectStmt>();
        if (*select).type_ != pg_sys::NodeTag::T_SelectStmt || !(*select).intoClause.is_null() {
            return None;
        }
        // Without a semicolon no length is noted.
        let start = (*raw).stmt_location.max(0) as usize;
        let end = match (*raw).stmt_len {
            length @ 1.. => start + length as usize,
            _ => sql.len(),
        };
        sql.get(start..end)
    }
}
