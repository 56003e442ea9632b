//! Cron expressions in a time zone.

use crate::Error;

/// A schedule: when it is due next.
#[derive(Debug, Clone)]
pub struct Schedule {}

impl Schedule {
    /// Five fields as in crontab(5), or a nickname such as `@hourly`; `time_zone` is a name of the IANA database.
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self, Error> {
        let _ = (cron, time_zone);
        Ok(Self {})
    }

    /// The first time it is due after `unix_micros`, in microseconds since 1970 UTC; None when there is none.
    pub fn next_after(&self, unix_micros: i64) -> Option<i64> {
        let _ = unix_micros;
        None
    }
}
