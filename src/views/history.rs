use crate::catalog::view::View;
use crate::types::TimestampTz;
use pgrx::pg_sys::panic::ErrorReport;
#[derive(Clone, Debug)]
pub struct Dirty {
    pub entity_id: String,
    pub from_ts: Option<TimestampTz>,
    pub stale_since: TimestampTz,
}
pub fn create_table(_view: &View) -> Result<(), ErrorReport> {
    Ok(())
}
pub fn update(_view: &View, _dirty: &[Dirty]) -> Result<(), ErrorReport> {
    Ok(())
}
