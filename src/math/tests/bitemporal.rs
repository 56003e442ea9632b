//! Versions against a store that is kept by what `bitemporal` says, and a model that recomputes everything.

use cvx_math::bitemporal::{Change, FOREVER, Point, Stored, Timeline};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Span {
    Whole,
    Sliding(i64),
    Tumbling(i64),
}

impl Span {
    fn start(self, ts: i64) -> i64 {
        match self {
            Span::Whole => i64::MIN,
            Span::Sliding(width) => ts - width,
            Span::Tumbling(width) => ts.div_euclid(width) * width,
        }
    }
}

/// A point as the table of a user has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    ts: i64,
    known: i64,
    payload: u32,
}

/// What a version's values come from stands for the values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    valid_from: i64,
    known_from: i64,
    valid_to: i64,
    known_to: i64,
    value: Vec<(i64, u32)>,
}

#[derive(Clone, Debug, Default)]
struct Store {
    rows: Vec<Row>,
    evaluated: usize,
}

impl Store {
    fn current(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().filter(|it| it.known_to == FOREVER).collect();
        rows.sort();
        rows
    }

    fn place(&self, valid_from: i64) -> Option<usize> {
        self.rows
            .iter()
            .position(|it| it.valid_from == valid_from && it.known_to == FOREVER)
    }

    fn refresh(&mut self, span: Span, entries: &[Entry], touched: Option<i64>, noticed: i64, recorded: i64) {
        let finite = |it: i64| Some(it).filter(|&it| it != FOREVER);
        let times = self
            .rows
            .iter()
            .flat_map(|it| [Some(it.known_from), finite(it.known_to)]);
        let known = times.flatten().max();
        let stands = |it: &&Row| touched.is_none_or(|from| it.valid_to >= from);
        let stored: Vec<Stored> = self
            .current()
            .into_iter()
            .filter(stands)
            .map(|it| Stored {
                valid_from: it.valid_from,
                valid_to: it.valid_to,
                known_from: it.known_from,
            })
            .collect();
        let touched = touched.filter(|_| !stored.is_empty());
        let from = touched.map_or(i64::MIN, |ts| span.start(ts));
        let entries: Vec<Entry> = entries.iter().copied().filter(|it| it.ts >= from).collect();
        let point = |it: &Entry| Point {
            ts: it.ts,
            known: it.known,
            start: span.start(it.ts),
        };
        let points: Vec<Point> = entries.iter().map(point).collect();
        let timeline = Timeline::new(Change {
            points: &points,
            stored: &stored,
            known,
            touched,
            noticed,
            recorded,
        });
        for version in (0..points.len()).flat_map(|it| timeline.versions(it)) {
            self.evaluated += 1;
            let members =
                (version.first..=version.point).filter(|&it| timeline.is_known(it, version.known_from));
            let value: Vec<(i64, u32)> = members.map(|it| (entries[it].ts, entries[it].payload)).collect();
            let valid_from = points[version.point].ts;
            let mut standing = self.place(valid_from);
            assert!(!(version.fresh && standing.is_some()));
            if let Some(place) = standing.filter(|_| version.rewrites) {
                self.rows.remove(place);
                standing = None;
            }
            if let Some(place) = standing {
                let row = &mut self.rows[place];
                if row.value == value {
                    continue;
                }
                assert!(row.known_from < version.known_from);
                row.known_to = version.known_from;
                row.valid_to = version.valid_to_before;
            }
            self.rows.push(Row {
                valid_from,
                known_from: version.known_from,
                valid_to: version.valid_to,
                known_to: FOREVER,
                value,
            });
        }
        for it in timeline.closings() {
            let place = self.place(it.valid_from).unwrap();
            if self.rows[place].known_from >= it.known_to {
                self.rows.remove(place);
            } else {
                self.rows[place].known_to = it.known_to;
                self.rows[place].valid_to = it.valid_to;
            }
        }
        for (valid_from, valid_to) in timeline.moved() {
            let place = self.place(valid_from).unwrap();
            self.rows[place].valid_to = valid_to;
        }
        self.rows.sort();
    }
}

/// From, to, and what the value was made of.
type Version = (i64, i64, Vec<(i64, u32)>);

/// What is true of points.
fn slice(span: Span, entries: &[Entry]) -> Vec<Version> {
    let value = |of: &Entry| {
        let members = entries
            .iter()
            .filter(|it| it.ts <= of.ts && it.ts >= span.start(of.ts));
        members.map(|it| (it.ts, it.payload)).collect()
    };
    let next = |place: usize| entries.get(place + 1).map_or(FOREVER, |it| it.ts);
    entries
        .iter()
        .enumerate()
        .map(|(place, it)| (it.ts, next(place), value(it)))
        .collect()
}

fn spans() -> impl Strategy<Value = Span> {
    prop_oneof![
        Just(Span::Whole),
        (1i64..8).prop_map(Span::Sliding),
        (1i64..8).prop_map(Span::Tumbling)
    ]
}

fn put(entries: &mut Vec<Entry>, it: Entry) {
    match entries.binary_search_by_key(&it.ts, |it| it.ts) {
        Ok(place) => entries[place] = it,
        Err(place) => entries.insert(place, it),
    }
}

/// Entries in the order in which they came, each with its own time, some of them known together.
fn arrivals() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec((0i64..40, 0i64..3), 1..14).prop_map(|drawn| {
        let mut known = 0;
        let mut entries: Vec<Entry> = Vec::new();
        for (payload, (ts, later)) in drawn.into_iter().enumerate() {
            known += later;
            if entries.iter().all(|it| it.ts != ts) {
                let payload = payload as u32;
                entries.push(Entry { ts, known, payload });
            }
        }
        entries
    })
}

/// Refreshes whenever `pause` says so and nothing else of that moment is to come.
fn streamed(span: Span, arrivals: &[Entry], pause: impl Fn(usize) -> bool) -> Store {
    let (mut store, mut entries, mut touched) = (Store::default(), Vec::new(), i64::MAX);
    for (place, it) in arrivals.iter().enumerate() {
        put(&mut entries, *it);
        touched = touched.min(it.ts);
        let last = place + 1 == arrivals.len();
        if last || (pause(place) && arrivals[place + 1].known > it.known) {
            store.refresh(span, &entries, Some(touched), it.known, it.known + 5);
            touched = i64::MAX;
        }
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_was_known_is_what_had_come(span in spans(), arrivals in arrivals(), pauses in any::<u32>()) {
        let store = streamed(span, &arrivals, |it| pauses >> it & 1 == 1);
        for at in 0..30 {
            let mut had_come: Vec<Entry> = arrivals.iter().copied().filter(|it| it.known <= at).collect();
            had_come.sort_by_key(|it| it.ts);
            let was_known = |it: &&Row| it.known_from <= at && at < it.known_to;
            let mut rows: Vec<_> = store
                .rows
                .iter()
                .filter(was_known)
                .map(|it| (it.valid_from, it.value.clone()))
                .collect();
            rows.sort();
            let expected: Vec<_> = slice(span, &had_come).into_iter().map(|it| (it.0, it.2)).collect();
            prop_assert_eq!(rows, expected, "at {}", at);
        }
    }

    #[test]
    fn when_it_was_refreshed_does_not_matter(span in spans(), arrivals in arrivals(), pauses in any::<u32>()) {
        let store = streamed(span, &arrivals, |it| pauses >> it & 1 == 1);
        prop_assert_eq!(store.rows, streamed(span, &arrivals, |_| false).rows);
    }

    #[test]
    fn the_current_versions_are_those_of_the_points(
        span in spans(),
        steps in prop::collection::vec((0u8..6, 0i64..25, 0i64..6, any::<bool>()), 1..40)
    ) {
        let (mut store, mut entries) = (Store::default(), Vec::<Entry>::new());
        let (mut touched, mut noticed) = (None, 0);
        for (clock, (kind, ts, late, refresh)) in steps.into_iter().enumerate() {
            let clock = clock as i64;
            let there = entries.iter().position(|it| it.ts == ts);
            let payload = clock as u32;
            match (kind, there) {
                (0, Some(place)) => drop(entries.remove(place)),
                (1, Some(place)) => entries[place].payload = payload,
                (0 | 1, None) => continue,
                _ => put(&mut entries, Entry { ts, known: clock - late, payload }),
            }
            if touched.is_none() {
                noticed = clock;
            }
            touched = Some(touched.map_or(ts, |it: i64| it.min(ts)));
            if !refresh {
                continue;
            }
            let before = store.clone();
            // A refresh that knows less of what happened comes to the same versions.
            let mut whole = store.clone();
            whole.refresh(span, &entries, None, noticed, clock);
            store.refresh(span, &entries, touched.take(), noticed, clock);
            let current = |it: &Store| -> Vec<_> {
                it.current().into_iter().map(|it| (it.valid_from, it.valid_to, it.value.clone())).collect()
            };
            prop_assert_eq!(current(&store), slice(span, &entries));
            prop_assert_eq!(current(&whole), slice(span, &entries));
            for row in &before.rows {
                // What was closed stays as it was.
                prop_assert!(row.known_to == FOREVER || store.rows.contains(row));
            }
            for (place, row) in store.rows.iter().enumerate() {
                prop_assert!(row.known_from < row.known_to);
                for other in &store.rows[..place] {
                    let apart = other.known_to <= row.known_from || row.known_to <= other.known_from;
                    prop_assert!(other.valid_from != row.valid_from || apart);
                    let follows = other.valid_from == row.valid_from && other.known_to == row.known_from;
                    prop_assert!(!follows || other.value != row.value);
                }
            }
        }
    }
}

fn entry(ts: i64, known: i64, payload: u32) -> Entry {
    Entry { ts, known, payload }
}

#[test]
fn points_in_order_cost_one_version_each() {
    let arrivals: Vec<Entry> = (0..50).map(|it| entry(it, it, 0)).collect();
    for span in [Span::Whole, Span::Sliding(5), Span::Tumbling(5)] {
        for pause in [true, false] {
            let store = streamed(span, &arrivals, |_| pause);
            assert_eq!((store.rows.len(), store.evaluated), (50, 50), "{span:?} {pause}");
        }
    }
}

#[test]
fn a_late_point_makes_new_versions_of_what_it_reaches() {
    let mut entries = vec![entry(10, 10, 0), entry(20, 20, 0), entry(40, 40, 0)];
    let mut store = Store::default();
    store.refresh(Span::Sliding(10), &entries, Some(10), 40, 40);
    put(&mut entries, entry(15, 50, 0));
    store.refresh(Span::Sliding(10), &entries, Some(15), 50, 50);
    let rows: Vec<_> = store
        .rows
        .iter()
        .map(|it| (it.valid_from, it.valid_to, it.known_from, it.known_to))
        .collect();
    let expected = [
        (10, 15, 10, FOREVER),
        (15, 20, 50, FOREVER),
        (20, 40, 20, 50),
        (20, 40, 50, FOREVER),
        (40, FOREVER, 40, FOREVER),
    ];
    assert_eq!(rows, expected);
}

/// An upsert loses the old vector. Until it was made, the old values stand; a point that came before it is seen with it.
#[test]
fn an_upsert_does_not_show_before_it_was_made() {
    let mut entries = vec![entry(10, 10, 0), entry(20, 20, 0)];
    let mut store = Store::default();
    store.refresh(Span::Whole, &entries, Some(10), 20, 20);
    put(&mut entries, entry(30, 30, 0));
    put(&mut entries, entry(20, 40, 7));
    put(&mut entries, entry(5, 35, 0));
    store.refresh(Span::Whole, &entries, Some(5), 30, 30);
    let at = |valid_from: i64, known: i64| {
        let row = store
            .rows
            .iter()
            .find(|it| it.valid_from == valid_from && it.known_from <= known && known < it.known_to);
        row.map(|it| it.value.clone())
    };
    assert_eq!(at(20, 39), Some(vec![(10, 0), (20, 0)]));
    assert_eq!(at(10, 36), Some(vec![(5, 0), (10, 0)]));
    assert_eq!(at(20, 40), Some(vec![(5, 0), (10, 0), (20, 7)]));
    assert_eq!(at(30, 39), None);
    assert_eq!(at(30, 40), Some(vec![(5, 0), (10, 0), (20, 7), (30, 0)]));
}

#[test]
fn what_is_deleted_is_closed_when_that_was_noticed() {
    let mut entries = vec![entry(10, 10, 0), entry(20, 20, 0)];
    let mut store = Store::default();
    store.refresh(Span::Whole, &entries, Some(10), 20, 20);
    entries.clear();
    store.refresh(Span::Whole, &entries, Some(10), 70, 70);
    let rows: Vec<_> = store
        .rows
        .iter()
        .map(|it| (it.valid_from, it.valid_to, it.known_from, it.known_to))
        .collect();
    assert_eq!(rows, [(10, 20, 10, 70), (20, FOREVER, 20, 70)]);
    // It comes back, dated before: known from no earlier than the store knew that it was gone.
    store.refresh(Span::Whole, &[entry(10, 10, 0)], Some(10), 60, 60);
    assert_eq!(store.current().len(), 1);
    assert_eq!(store.current()[0].known_from, 70);
}

#[test]
fn times_at_the_ends_of_the_range_do_not_overflow() {
    let entries = [
        entry(i64::MIN + 1, i64::MIN, 0),
        entry(0, FOREVER - 1, 0),
        entry(FOREVER - 1, 0, 0),
    ];
    let mut store = Store::default();
    store.refresh(Span::Whole, &entries, None, i64::MIN, i64::MIN);
    store.refresh(Span::Whole, &entries, None, i64::MIN, i64::MIN);
    assert_eq!(store.current().len(), 3);
}
