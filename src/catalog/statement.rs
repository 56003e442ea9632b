use pgrx::pg_sys;

/// A statement of the client, with all that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    transaction_start: i64,
    statement_start: i64,
}

impl Statement {
    pub fn now() -> Self {
        // SAFETY: plain reads of the transaction's state.
        unsafe {
            Statement {
                transaction_start: pg_sys::GetCurrentTransactionStartTimestamp(),
                statement_start: pg_sys::GetCurrentStatementStartTimestamp(),
            }
        }
    }
}

/// A point in the life of a session between two of which what it sees of the catalog may have changed: the
/// client's statement, the subtransaction, the command. What was looked up holds until the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    statement: Statement,
    subtransaction: pg_sys::SubTransactionId,
    command: pg_sys::CommandId,
}

impl Moment {
    pub fn now() -> Self {
        // SAFETY: plain reads of the transaction's state; `false` does not mark the command id as used.
        unsafe {
            Moment {
                statement: Statement::now(),
                subtransaction: pg_sys::GetCurrentSubTransactionId(),
                command: pg_sys::GetCurrentCommandId(false),
            }
        }
    }
}
