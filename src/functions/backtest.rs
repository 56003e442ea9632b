//! What a monitor would have sent. DDL: sql/install/84_backtest.sql.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::source::required;
use crate::monitors::backtest::backtest;
use crate::monitors::{declare, invalid};
use crate::types::{TimestampTz, timestamp};

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn backtest_monitor(
    name: Option<&str>,
    from_ts: Option<TimestampTz>,
    to_ts: Option<TimestampTz>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(fired_at, TimestampTz),
            name!(entity_id, Option<String>),
            name!(ts, Option<TimestampTz>),
            name!(value, f64),
            name!(threshold, f64),
            name!(p_value, Option<f64>),
            name!(severity, String),
            name!(message, String),
        ),
    >,
    ErrorReport,
> {
    const NAME: &str = "cvx.backtest_monitor";
    let it = declare::owned(required(NAME, "name", name)?)?;
    let range = (
        required(NAME, "from_ts", from_ts)?,
        required(NAME, "to_ts", to_ts)?,
    );
    if !timestamp::is_finite(range.0) || !timestamp::is_finite(range.1) {
        return Err(invalid(
            "cvx.backtest_monitor goes from a time to a time, not from or to infinity",
            "now() is the last time of which anything is known.",
        ));
    }
    // SAFETY: a plain read of the transaction's state.
    let now = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
    let alerts = backtest(&it, range, now)?;
    let rows = alerts.into_iter().map(move |alert| {
        (
            alert.fired_at,
            alert.entity_id,
            alert.ts,
            alert.value,
            alert.threshold,
            alert.p_value,
            it.declared.severity.clone(),
            alert.message,
        )
    });
    Ok(TableIterator::new(rows))
}
