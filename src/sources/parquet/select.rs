//! Which rows of a file are wanted: by number, by entity, by time.

use super::Units;
use super::columns::ScalarColumn;
use super::file::OpenFile;
use super::kind::Scalar;
use crate::time::{self, EpochUnit};
use ::parquet::file::statistics::Statistics;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// What a source's `filter` wants of the rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RowFilter {
    pub entity_ids: Option<HashSet<String>>,
    /// The first time that is wanted.
    pub from: Option<i64>,
    /// The first time that is not.
    pub to: Option<i64>,
}

/// Which rows of one file are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// Rows before this one were read earlier.
    pub first_row: u64,
    /// Only these rows.
    pub only: Option<BTreeSet<u64>>,
    pub filter: Option<Arc<RowFilter>>,
}

impl RowFilter {
    /// Whether a row is wanted, as far as its entity and its time are known: a row without either is left to
    /// be refused.
    pub(super) fn wants(&self, entity: Option<&[u8]>, ts: Option<i64>) -> bool {
        let known = |ids: &HashSet<String>| {
            entity.is_none_or(|entity| std::str::from_utf8(entity).map_or(true, |id| ids.contains(id)))
        };
        self.entity_ids.as_ref().is_none_or(known) && ts.is_none_or(|ts| self.spans(ts, ts))
    }

    /// Whether a wanted time lies between `low` and `high`, both included.
    pub(crate) fn spans(&self, low: i64, high: i64) -> bool {
        self.from.is_none_or(|from| high >= from) && self.to.is_none_or(|to| low < to)
    }

    /// Whether a wanted entity may stand between the least and the greatest id of a column's statistics.
    fn holds(&self, column: &ScalarColumn, statistics: &Statistics) -> bool {
        let Some(ids) = &self.entity_ids else { return true };
        // Old writers ordered bytes as signed numbers, and integers without a sign as those with one.
        if statistics.is_min_max_deprecated() && column.kind == Scalar::Text {
            return true;
        }
        match (column.kind, statistics) {
            (Scalar::Text, Statistics::ByteArray(s)) => match (s.min_opt(), s.max_opt()) {
                (Some(low), Some(high)) => {
                    let (low, high) = (low.data(), high.data());
                    ids.iter().any(|id| (low..=high).contains(&id.as_bytes()))
                }
                _ => true,
            },
            (Scalar::Signed, statistics) => integer_bounds(statistics).is_none_or(|(low, high)| {
                let mut numbers = ids.iter().filter_map(|id| id.parse::<i64>().ok());
                numbers.any(|id| (low..=high).contains(&id))
            }),
            _ => true,
        }
    }
}

impl Selection {
    /// Whether a row group may have a wanted row; `first` is the number of its first row.
    pub(super) fn wants_group(
        &self,
        file: &OpenFile,
        group: usize,
        first: u64,
        rows: u64,
        units: Units,
    ) -> bool {
        let end = first.saturating_add(rows);
        if end <= self.first_row {
            return false;
        }
        if let Some(only) = &self.only
            && only.range(first..end).next().is_none()
        {
            return false;
        }
        let Some(filter) = &self.filter else { return true };
        let statistics = |column: &ScalarColumn| file.statistics(group, column.leaf);
        let columns = &file.columns;
        statistics(&columns.entity_id).is_none_or(|it| filter.holds(&columns.entity_id, it))
            && statistics(&columns.ts)
                .and_then(|it| time_bounds(&columns.ts, it, units.ts))
                .is_none_or(|(low, high)| filter.spans(low, high))
    }

    /// Whether a row's number is among those asked for.
    pub(super) fn wants_row(&self, row: u64) -> bool {
        row >= self.first_row && self.only.as_ref().is_none_or(|only| only.contains(&row))
    }
}

fn integer_bounds(statistics: &Statistics) -> Option<(i64, i64)> {
    match statistics {
        Statistics::Int32(s) => Some(((*s.min_opt()?).into(), (*s.max_opt()?).into())),
        Statistics::Int64(s) => Some((*s.min_opt()?, *s.max_opt()?)),
        _ => None,
    }
}

/// The first and the last time of a column's statistics, where they are times that PostgreSQL holds.
fn time_bounds(column: &ScalarColumn, statistics: &Statistics, unit: EpochUnit) -> Option<(i64, i64)> {
    let (low, high) = integer_bounds(statistics)?;
    let as_time = |value| match column.kind {
        Scalar::Date => time::from_days(value).ok(),
        Scalar::Time(unit) => time::from_epoch(value, unit).ok(),
        Scalar::Signed => time::from_epoch(value, unit).ok(),
        _ => None,
    };
    Some((as_time(low)?, as_time(high)?))
}
