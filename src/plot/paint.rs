//! What the colours of the points say: their time, or the version of the model that made them.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::svg::{escape, shorten};
use crate::{AXIS, elapsed_share, palette};

/// Longest name of a version that is kept where it need not fit beside anything.
const NAME_KEPT: usize = 40;

/// The model version of each point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Versions<'a> {
    of: &'a [u16],
    names: &'a [&'a str],
}

/// A version that has points: the first and the last of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Present {
    pub(crate) number: u16,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl<'a> Versions<'a> {
    /// None unless there is one number for each of `n` points.
    pub(crate) fn new(of: &'a [u16], names: &'a [&'a str], n: usize) -> Option<Self> {
        (of.len() == n).then_some(Versions { of, names })
    }

    /// The name as it was given, cut but not escaped; of one without a name, its number.
    pub(crate) fn name(&self, number: u16) -> String {
        let given = self.names.get(usize::from(number)).copied().unwrap_or_default();
        let name = shorten(given, NAME_KEPT);
        if escape(&name).trim().is_empty() {
            format!("unnamed, number {number}")
        } else {
            name.trim().to_owned()
        }
    }

    pub(crate) fn name_at(&self, i: usize) -> String {
        self.name(self.of[i])
    }

    /// Whether the model changed after point `from` and up to point `to`.
    pub(crate) fn changes_within(&self, from: usize, to: usize) -> bool {
        self.of[from..=to].windows(2).any(|w| w[0] != w[1])
    }

    /// The versions that have points, by the time of the first one.
    pub(crate) fn present(&self) -> Vec<Present> {
        let mut spans: BTreeMap<u16, Present> = BTreeMap::new();
        for (i, &number) in self.of.iter().enumerate() {
            spans
                .entry(number)
                .and_modify(|it| it.last = i)
                .or_insert(Present {
                    number,
                    first: i,
                    last: i,
                });
        }
        let mut present: Vec<Present> = spans.into_values().collect();
        present.sort_by_key(|it| it.first);
        present
    }
}

/// How points are coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paint<'a> {
    Time(&'a [i64]),
    Version(Versions<'a>),
}

impl<'a> Paint<'a> {
    /// Colour of point `i`.
    pub(crate) fn point(&self, i: usize) -> String {
        match self {
            Paint::Time(times) => palette::time(elapsed_share(times, times[i])),
            Paint::Version(versions) => palette::category(versions.of[i].into()).to_owned(),
        }
    }

    /// Colour of the mean of some points, at least one: that of their middle time, or of their version; grey
    /// where it mixes several.
    pub(crate) fn mean(&self, part: Range<usize>) -> String {
        let (first, last) = (part.start, part.end - 1);
        match self {
            Paint::Time(times) => palette::time(elapsed_share(times, times[first].midpoint(times[last]))),
            Paint::Version(versions) if versions.changes_within(first, last) => AXIS.to_owned(),
            Paint::Version(_) => self.point(first),
        }
    }

    pub(crate) fn versions(&self) -> Option<&Versions<'a>> {
        match self {
            Paint::Time(_) => None,
            Paint::Version(versions) => Some(versions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_listed_by_their_first_point() {
        let versions = Versions::new(&[3, 3, 0, 3, 9], &["a", "b"], 5).unwrap();
        let spans: Vec<_> = versions
            .present()
            .iter()
            .map(|it| (it.number, it.first, it.last))
            .collect();
        assert_eq!(spans, [(3, 0, 3), (0, 2, 2), (9, 4, 4)]);
        assert!(Versions::new(&[0, 1], &[], 3).is_none());
        assert!(!versions.changes_within(0, 1) && versions.changes_within(0, 3));
    }

    #[test]
    fn a_version_without_a_name_has_its_number() {
        let long = "x".repeat(1_000_000);
        let names = [" a ", "", "\u{202e}\0 ", &long];
        let versions = Versions::new(&[], &names, 0).unwrap();
        assert_eq!(versions.name(0), "a");
        for number in [1, 2, 4, u16::MAX] {
            assert_eq!(versions.name(number), format!("unnamed, number {number}"));
        }
        assert_eq!(versions.name(3).chars().count(), NAME_KEPT);
    }

    #[test]
    fn a_mean_has_the_colour_of_its_points_or_none() {
        let paint = Paint::Version(Versions::new(&[1, 1, 2], &[], 3).unwrap());
        assert_eq!(paint.mean(0..2), palette::category(1));
        assert_eq!(paint.mean(0..3), AXIS);
        assert_eq!(Paint::Time(&[0, 1, 2]).mean(0..3), palette::time(0.5));
    }
}
