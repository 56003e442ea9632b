//! When to try again, and when to stop trying. Pure.

use std::time::Duration;

const MOST: Duration = Duration::from_secs(300);

/// How long to wait after so many failures in a row: 1, 2, 4 ... 300 s, of which a random part, up to a half, is left out,
/// so that those that failed together do not come back together. `random` is any number.
pub fn delay(failures: u32, random: u64) -> Duration {
    let whole = Duration::from_secs(1 << failures.saturating_sub(1).min(16)).min(MOST);
    let share = (random % 1024) as f64 / 2048.0;
    whole.mul_f64(1.0 - share)
}

/// Any number: jitter need not be hard to guess.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// A source whose records are refused one after the other is not read any further: it is most likely configured wrongly.
#[derive(Debug, Clone)]
pub struct Circuit {
    most: f64,
    read: i64,
    rejected: i64,
}

/// Records of which a share is judged: single ones of a slow stream say little.
const WINDOW: i64 = 20;

impl Circuit {
    /// Opens above this share of rejected records.
    pub fn new(most: f64) -> Self {
        Circuit {
            most,
            read: 0,
            rejected: 0,
        }
    }

    /// Counts a batch. Some((rejected, read)) when the circuit opens; `last` judges what there is, however few.
    pub fn count(&mut self, read: i64, rejected: i64, last: bool) -> Option<(i64, i64)> {
        self.read += read;
        self.rejected += rejected;
        if self.read == 0 || (self.read < WINDOW && !last) {
            return None;
        }
        let judged = (self.rejected, self.read);
        (self.read, self.rejected) = (0, 0);
        (judged.0 as f64 > self.most * judged.1 as f64).then_some(judged)
    }
}
