//! Which versions of an entity's values a change of its points makes, and from when on they were known.
//!
//! A version stands for a point. It is valid from the point's time until the next point's, and its values come from
//! the points up to it, within a span. It was known from the moment when the last of these was. All that this module
//! sees are times: what a version's values are, and whether two are equal, is for the caller to find out.

/// Larger than every time: infinity, as PostgreSQL has it.
pub const FOREVER: i64 = i64::MAX;

/// A point as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When it was so.
    pub ts: i64,
    /// When that came to be known.
    pub known: i64,
    /// Where the span of the version that it makes starts.
    pub start: i64,
}

/// A version that stands in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub valid_from: i64,
    pub valid_to: i64,
    pub known_from: i64,
}

/// What is known of a change.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The points that there are now, in the order of time; with `touched` at least those from the start of that
    /// time's span on.
    pub points: &'a [Point],
    /// The versions that stand, in the order of time; with `touched` from the one that is valid before it on.
    pub stored: &'a [Stored],
    /// The latest time at which the store learnt anything of this entity.
    pub known: Option<i64>,
    /// Before this time no point has changed. None: all may have.
    pub touched: Option<i64>,
    /// When something changed first: by then what came dated before `known` counts as known.
    pub noticed: i64,
    /// When this is found out: from then on it is known what was updated or deleted, which nothing dates.
    pub recorded: i64,
}

/// A version that may have to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its point.
    pub point: usize,
    /// The first point of its span. Of those between, the ones belong to it that were known by then.
    pub first: usize,
    pub known_from: i64,
    /// The time of the next point.
    pub valid_to: i64,
    /// What this time was for the version that it replaces.
    pub valid_to_before: i64,
    /// Nothing stands there that it could equal or replace.
    pub fresh: bool,
    /// It is of the moment that the store holds already: what stands there is replaced without a trace.
    pub rewrites: bool,
}

/// A version whose point is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    pub valid_from: i64,
    pub valid_to: i64,
    pub known_to: i64,
}

/// A change, examined.
#[derive(Debug)]
pub struct Timeline<'a> {
    change: Change<'a>,
    /// When updates and deletions are known.
    finally: i64,
    /// The stored version of each point, by its place.
    versions: Vec<Option<usize>>,
    /// When each point counts as known. None: it stood in the store before.
    effective: Vec<Option<i64>>,
    /// No version of the point is made for an earlier time than this.
    floor: Vec<Option<i64>>,
    /// The first point of each span.
    first: Vec<usize>,
    /// The greatest of `effective` in each span.
    latest: Vec<Option<i64>>,
    /// Stored versions whose points are gone, by their places.
    vanished: Vec<usize>,
}

impl<'a> Timeline<'a> {
    pub fn new(change: Change<'a>) -> Self {
        let touches = |ts: i64| change.touched.is_none_or(|from| ts >= from);
        let is_new = |it: &Point| touches(it.ts) && change.known.is_none_or(|known| it.known > known);
        let newest = change
            .points
            .iter()
            .filter(|it| is_new(it))
            .map(|it| it.known)
            .max();
        let late = change
            .noticed
            .max(change.known.unwrap_or(i64::MIN))
            .max(newest.unwrap_or(i64::MIN));
        let mut timeline = Timeline {
            change,
            finally: late.max(change.recorded),
            versions: merged(change.points, change.stored),
            effective: Vec::with_capacity(change.points.len()),
            floor: Vec::with_capacity(change.points.len()),
            first: firsts(change.points),
            latest: Vec::new(),
            vanished: Vec::new(),
        };
        // A point that replaces another of its time: what stood there before is lost, and what was known in between
        // of the versions that come from it with it. They stay as they are until the new point was known.
        let mut replaced: Option<i64> = None;
        for (point, version) in change.points.iter().zip(&timeline.versions) {
            let own = match version {
                _ if !touches(point.ts) => None,
                _ if is_new(point) => Some(point.known),
                Some(_) => None,
                None => Some(late),
            };
            if version.is_some() {
                replaced = replaced.max(own);
            }
            timeline
                .effective
                .push(own.max(replaced).filter(|_| own.is_some()));
            timeline.floor.push(own.max(replaced));
        }
        timeline.latest = span_maxima(&timeline.effective, &timeline.first);
        let mut here = change.points.iter().map(|it| it.ts).peekable();
        for (place, it) in change.stored.iter().enumerate() {
            while here.next_if(|ts| *ts < it.valid_from).is_some() {}
            if touches(it.valid_from) && here.peek() != Some(&it.valid_from) {
                timeline.vanished.push(place);
            }
        }
        timeline
    }

    /// Whether a point belongs to the versions of its spans that were known from `known_from` on.
    pub fn is_known(&self, point: usize, known_from: i64) -> bool {
        self.effective[point].is_none_or(|it| it <= known_from)
    }

    /// The versions of a point that may have to be written, in the order of known_from.
    pub fn versions(&self, point: usize) -> impl Iterator<Item = Version> + '_ {
        let times = self.times(point);
        let stored = self.versions[point].map(|place| self.change.stored[place]);
        let fresh = stored.is_none() && times.len() == 1;
        times.into_iter().map(move |known_from| Version {
            point,
            first: self.first[point],
            known_from,
            valid_to: self.change.points.get(point + 1).map_or(FOREVER, |it| it.ts),
            valid_to_before: if fresh {
                FOREVER
            } else {
                self.next_before(point, known_from)
            },
            fresh,
            rewrites: stored.is_some_and(|it| known_from <= it.known_from),
        })
    }

    /// Versions whose points are gone.
    pub fn closings(&self) -> impl Iterator<Item = Closing> + '_ {
        self.vanished.iter().map(|&place| {
            let it = self.change.stored[place];
            let after = self
                .change
                .points
                .partition_point(|point| point.ts <= it.valid_from);
            Closing {
                valid_from: it.valid_from,
                valid_to: self.next(after, it.valid_from, self.finally),
                known_to: self.finally,
            }
        })
    }

    /// Versions that stay and whose next point is another one now: valid_from and the new valid_to.
    pub fn moved(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        let mut vanished = self.vanished.iter().peekable();
        self.change
            .stored
            .iter()
            .enumerate()
            .filter_map(move |(place, it)| {
                if vanished.next_if_eq(&&place).is_some() {
                    return None;
                }
                let after = self
                    .change
                    .points
                    .partition_point(|point| point.ts <= it.valid_from);
                let valid_to = self.change.points.get(after).map_or(FOREVER, |point| point.ts);
                (valid_to != it.valid_to).then_some((it.valid_from, valid_to))
            })
    }

    /// When the values of a point's version may have become other ones.
    fn times(&self, point: usize) -> Vec<i64> {
        if self
            .change
            .touched
            .is_some_and(|from| self.change.points[point].ts < from)
        {
            return Vec::new();
        }
        let Some(latest) = self.latest[point] else {
            // Nothing came; a point may have been updated, or one may be gone.
            return vec![self.finally];
        };
        if self.effective[point] == Some(latest) {
            return vec![latest];
        }
        let floor = self.floor[point];
        let span = self.effective[self.first[point]..=point].iter().flatten();
        let mut times: Vec<i64> = span
            .copied()
            .filter(|&it| floor.is_none_or(|floor| it >= floor))
            .collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    /// The time of the next point after a point, as it was just before `known_from`.
    fn next_before(&self, point: usize, known_from: i64) -> i64 {
        self.next(point + 1, self.change.points[point].ts, known_from)
    }

    fn next(&self, place: usize, ts: i64, known_from: i64) -> i64 {
        let stood = |&place: &usize| {
            self.versions[place].is_some() || self.effective[place].is_none_or(|it| it < known_from)
        };
        let point = (place..self.change.points.len())
            .find(stood)
            .map(|it| self.change.points[it].ts);
        let gone = self
            .vanished
            .partition_point(|&it| self.change.stored[it].valid_from <= ts);
        let gone = self
            .vanished
            .get(gone)
            .map(|&it| self.change.stored[it].valid_from);
        point.unwrap_or(FOREVER).min(gone.unwrap_or(FOREVER))
    }
}

/// For each point the stored version of its time.
fn merged(points: &[Point], stored: &[Stored]) -> Vec<Option<usize>> {
    let mut place = 0;
    let find = |it: &Point| {
        while stored
            .get(place)
            .is_some_and(|version| version.valid_from < it.ts)
        {
            place += 1;
        }
        stored
            .get(place)
            .filter(|version| version.valid_from == it.ts)
            .map(|_| place)
    };
    points.iter().map(find).collect()
}

/// For each point the first one of its span.
fn firsts(points: &[Point]) -> Vec<usize> {
    let first = |it: &Point| points.partition_point(|other| other.ts < it.start);
    points
        .iter()
        .enumerate()
        .map(|(place, it)| first(it).min(place))
        .collect()
}

/// The greatest value of each span, in one pass while the spans move forward.
fn span_maxima(values: &[Option<i64>], first: &[usize]) -> Vec<Option<i64>> {
    let mut candidates: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    let mut maxima = Vec::with_capacity(values.len());
    for (place, value) in values.iter().enumerate() {
        while candidates.back().is_some_and(|&it| values[it] <= *value) {
            candidates.pop_back();
        }
        candidates.push_back(place);
        while candidates.front().is_some_and(|&it| it < first[place]) {
            candidates.pop_front();
        }
        maxima.push(candidates.front().and_then(|&it| values[it]));
    }
    maxima
}
