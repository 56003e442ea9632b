//! Whether a date parts the rows of two spaces.

/// Largest share of strays among the rows before the date, and among those from it on.
const STRAYS_OF_TIME: f64 = 0.05;
/// Largest share of a space's rows that are on the wrong side of the date: keeps a date at the very edge,
/// with next to no rows beyond it, from passing for one that parts a small space from a large one.
const STRAYS_OF_SPACE: f64 = 0.1;

/// A date from which on (nearly) all rows are of one space, and before which (nearly) all are of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) time: i64,
    /// The label of the rows from `time` on.
    pub(super) label: bool,
}

/// The date that leaves the smallest summed shares of strays before and after it; `None` when more than 5 %
/// are strays on either side of it, or more than 10 % of either label's rows. `time` is a time of the rows,
/// and rows of one time are never parted.
pub(super) fn date(rows: impl Iterator<Item = (i64, bool)>) -> Option<Date> {
    let mut rows: Vec<(i64, bool)> = rows.collect();
    rows.sort_unstable();
    let count = rows.len();
    let marked = rows.iter().filter(|row| row.1).count();
    let (mut before, mut best) = (0, None);
    let mut least = f64::INFINITY;
    for k in 1..count {
        before += usize::from(rows[k - 1].1);
        if rows[k].0 == rows[k - 1].0 {
            continue;
        }
        let (after, plain) = (count - k, k - before);
        let late = marked - before;
        for (label, early_strays, late_strays) in [(true, before, after - late), (false, plain, late)] {
            let [early_share, late_share] = [share(early_strays, k), share(late_strays, after)];
            let of_later = share(early_strays, early_strays + after - late_strays);
            let of_earlier = share(late_strays, late_strays + k - early_strays);
            let strays = early_share + late_share;
            if early_share.max(late_share) <= STRAYS_OF_TIME
                && of_later.max(of_earlier) <= STRAYS_OF_SPACE
                && strays < least
            {
                least = strays;
                best = Some(Date {
                    time: rows[k].0,
                    label,
                });
            }
        }
    }
    best
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
