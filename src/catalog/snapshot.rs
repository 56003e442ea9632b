use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

/// Runs `body` in a snapshot that is taken now, under READ COMMITTED: what it reads holds all that statements before it have
/// seen. Reads take the snapshot of their caller where the subtransaction that they are in has not written yet, and the
/// caller's may be that of the transaction's first statement.
pub fn renewed<T>(body: impl FnOnce() -> Result<T, ErrorReport>) -> Result<T, ErrorReport> {
    // SAFETY: popped below, or by the end of the transaction when an error is raised in between.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    let done = body();
    // SAFETY: the one pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    done
}
