//! From episodes to alerts, as an evaluation does it: the first finding of an entity counts, what had an alert within
//! the cooldown, or of the same point, has none, and so many alerts are raised at most.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use pgrx::pg_sys::panic::ErrorReport;

use super::{Checks, Found, MOST_ALERTS, too_many};
use crate::monitors::fire;

/// Checks whose largest cut is kept together.
const BLOCK: usize = 256;

/// Up to which p-value findings are discoveries, check by check.
pub struct Cuts {
    cuts: Vec<f64>,
    /// The largest of each block.
    blocks: Vec<f64>,
}

impl Cuts {
    /// From how many entities are tested at each check, and the p-values of at most `rate` with the checks at which
    /// they stand (from, to before): the step-up procedure of Benjamini and Hochberg, as `cvx_math::fdr` has it.
    pub fn new(tests: &[i64], mut small: Vec<(u32, u32, f64)>, rate: f64, interrupt: fn()) -> Self {
        small.sort_by_key(|it| it.0);
        let mut ends: Vec<(u32, f64)> = small.iter().map(|it| (it.1, it.2)).collect();
        ends.sort_by_key(|it| it.0);
        let (mut begun, mut ended) = (0, 0);
        let mut standing: Vec<f64> = Vec::new();
        let mut cuts: Vec<f64> = Vec::with_capacity(tests.len());
        for (check, &count) in tests.iter().enumerate() {
            let before = (begun, ended);
            while ended < ends.len() && ends[ended].0 as usize == check {
                let p = ends[ended].1;
                standing.remove(standing.partition_point(|&other| other < p));
                ended += 1;
            }
            while begun < small.len() && small[begun].0 as usize == check {
                let p = small[begun].2;
                standing.insert(standing.partition_point(|&other| other < p), p);
                begun += 1;
            }
            let same = check > 0 && (begun, ended) == before && tests[check - 1] == count;
            if same {
                cuts.push(cuts[check - 1]);
                continue;
            }
            interrupt();
            let within = |(rank, p): (usize, &f64)| *p <= rate * (rank + 1) as f64 / count as f64;
            let last = standing.iter().enumerate().rposition(within);
            cuts.push(last.map_or(f64::NEG_INFINITY, |rank| standing[rank]));
        }
        let largest = |block: &[f64]| block.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Cuts {
            blocks: cuts.chunks(BLOCK).map(largest).collect(),
            cuts,
        }
    }

    /// The first check from `from` to before `end` at which `p` is a discovery.
    fn next(&self, p: f64, from: usize, end: usize) -> Option<usize> {
        let mut check = from;
        while check < end {
            if self.blocks[check / BLOCK] < p {
                check = (check / BLOCK + 1) * BLOCK;
            } else if self.cuts[check] >= p {
                return Some(check);
            } else {
                check += 1;
            }
        }
        None
    }
}

/// What comes first in an evaluation: scope, then the largest value, then the oldest evidence, then the name.
type Turn = (usize, u32, Reverse<u64>, i64, u32);

/// The alerts that are raised, as (check, episode), in their order.
pub fn replay(
    checks: &Checks,
    found: &Found,
    cooldown: i64,
    once_a_point: bool,
) -> Result<Vec<(usize, usize)>, ErrorReport> {
    let ranks = ranks(found);
    let rivals = rivals(found);
    let turn = |check: usize, place: usize| -> (Turn, usize) {
        let it = &found.episodes[place];
        let value = sortable(it.value.unwrap_or(0.0));
        (
            (check, it.scope, Reverse(value), it.ts, ranks[it.subject as usize]),
            place,
        )
    };
    let mut queue: BinaryHeap<Reverse<(Turn, usize)>> = (0..found.episodes.len())
        .filter_map(|place| next(found, place, 0).map(|check| Reverse(turn(check, place))))
        .collect();
    let mut last: HashMap<u32, i64> = HashMap::new();
    // The check at which there was an alert of a point.
    let mut told: HashMap<(u32, i64), usize> = HashMap::new();
    let mut fired: Vec<(usize, usize)> = Vec::new();
    let (mut current, mut of_check, mut steps) = (usize::MAX, 0, 0usize);
    while let Some(Reverse((now, place))) = queue.pop() {
        steps += 1;
        if steps % 4096 == 0 {
            pgrx::check_for_interrupts!();
        }
        let (check, it) = (now.0, &found.episodes[place]);
        if check != current {
            (current, of_check) = (check, 0);
        }
        let is_told = told.get(&(it.subject, it.ts)).is_some_and(|&at| at < check);
        if once_a_point && is_told {
            continue;
        }
        let free = last
            .get(&it.subject)
            .map(|&fired_at| fired_at.saturating_add(cooldown));
        let later = match free {
            Some(free) if free > checks.time(check) => Some(checks.at_or_after(free)),
            _ if of_check == fire::MOST_ALERTS => Some(check + 1),
            // Without a cooldown an entity may have several alerts at once.
            _ if cooldown > 0 && is_beaten(found, &rivals, place, check) => Some(check + 1),
            _ => None,
        };
        let later = later.unwrap_or_else(|| {
            fired.push((check, place));
            of_check += 1;
            last.insert(it.subject, checks.time(check));
            told.insert((it.subject, it.ts), check);
            if once_a_point { usize::MAX } else { check + 1 }
        });
        if fired.len() > MOST_ALERTS {
            return Err(too_many(
                format!("the monitor would have raised more than {MOST_ALERTS} alerts"),
                "Give a shorter stretch of time, or the monitor a higher threshold or a longer cooldown.",
            ));
        }
        queue.extend(next(found, place, later).map(|check| Reverse(turn(check, place))));
    }
    Ok(fired)
}

/// The first check from `from` on at which an episode is found.
fn next(found: &Found, place: usize, from: usize) -> Option<usize> {
    let it = &found.episodes[place];
    let (from, end) = (from.max(it.first as usize), it.end as usize);
    if from >= end {
        return None;
    }
    match found.cuts.get(it.scope as usize).and_then(Option::as_ref) {
        Some(cuts) => cuts.next(it.p_value.unwrap_or(1.0), from, end),
        None => Some(from),
    }
}

/// Whether the same entity is found in an earlier scope.
fn is_beaten(found: &Found, rivals: &HashMap<u32, Vec<usize>>, place: usize, check: usize) -> bool {
    let it = &found.episodes[place];
    rivals.get(&it.subject).is_some_and(|all| {
        all.iter()
            .any(|&other| found.episodes[other].scope < it.scope && next(found, other, check) == Some(check))
    })
}

/// The episodes of subjects that have some in several scopes.
fn rivals(found: &Found) -> HashMap<u32, Vec<usize>> {
    let mut scopes: HashMap<u32, u32> = HashMap::new();
    let mut several: HashSet<u32> = HashSet::new();
    for it in &found.episodes {
        if *scopes.entry(it.subject).or_insert(it.scope) != it.scope {
            several.insert(it.subject);
        }
    }
    let mut rivals: HashMap<u32, Vec<usize>> = HashMap::new();
    for (place, it) in found.episodes.iter().enumerate() {
        if several.contains(&it.subject) {
            rivals.entry(it.subject).or_default().push(place);
        }
    }
    rivals
}

/// Of each subject, its place in the order of the names.
fn ranks(found: &Found) -> Vec<u32> {
    let name = |place: usize| match &found.subjects[place] {
        super::Subject::Entity(id) => id.as_str(),
        super::Subject::Of { space, source } => source.as_deref().or(space.as_deref()).unwrap_or_default(),
    };
    let mut order: Vec<usize> = (0..found.subjects.len()).collect();
    order.sort_by(|&a, &b| name(a).cmp(name(b)));
    let mut ranks = vec![0; order.len()];
    order
        .iter()
        .zip(0..)
        .for_each(|(&place, rank)| ranks[place] = rank);
    ranks
}

/// Numbers that are not negative, in their order.
fn sortable(value: f64) -> u64 {
    value.max(0.0).to_bits()
}
