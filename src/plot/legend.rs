//! What colours, rings, discs and dashes mean.

use crate::date::{self, Precision};
use crate::labels::{fit, text_width};
use crate::paint::{Present, Versions};
use crate::scale::Frame;
use crate::svg::{Px, Svg, escape, put};
use crate::{ALERT, AXIS, INK, Mark, SOFT_INK, WIDTH, means, palette};

const SIZE: f64 = 11.5;
const DATE_SIZE: f64 = 10.0;
/// Most versions that are named.
const MAX_NAMES: usize = 12;
/// Up to here the dates of a version may take two lines.
const MAX_TWO_LINES: usize = 8;
/// From the frame to the key of versions, from there to its text, and from that to the edge of the picture.
const GAP: f64 = 22.0;
const INDENT: f64 = 16.0;
const MARGIN: f64 = 6.0;
/// From a symbol below the axis to its text.
const ROW_INDENT: f64 = 10.0;

/// Things that are explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Change,
    Artifact,
    Mean,
    Boundary,
}

/// What of the change points needs a word.
fn items(marks: &[Mark]) -> Vec<Item> {
    let mut items = Vec::new();
    if marks.iter().any(|m| !m.artifact) {
        items.push(Item::Change);
    }
    if marks.iter().any(|m| m.artifact) {
        items.push(Item::Artifact);
    }
    if means::drawn(marks) {
        items.push(Item::Mean);
    }
    items
}

impl Item {
    fn text(self) -> &'static str {
        match self {
            Item::Change => "first point after a change",
            Item::Artifact => "explained by the retrain",
            Item::Mean => "mean of each segment",
            Item::Boundary => "model version changes",
        }
    }

    /// The symbol around `x`, on the line of text at `y`, with its text `indent` to the right.
    fn draw(self, svg: &mut Svg, (x, y): (f64, f64), indent: f64) {
        let (cx, cy) = (Px(x), Px(y - 4.0));
        match self {
            Item::Change => put!(
                svg,
                r#"<circle cx="{cx}" cy="{cy}" r="5" fill="none" stroke="{ALERT}" stroke-width="1.8"/>"#
            ),
            Item::Artifact => put!(
                svg,
                r#"<circle cx="{cx}" cy="{cy}" r="5" fill="none" stroke="{SOFT_INK}" stroke-width="1.8" stroke-dasharray="3 2.2"/>"#
            ),
            Item::Mean => put!(
                svg,
                r#"<circle cx="{cx}" cy="{cy}" r="5" fill="{AXIS}" stroke="{INK}" stroke-width="1.4"/>"#
            ),
            Item::Boundary => put!(
                svg,
                r#"<path d="M{} {cy}h15" stroke="{INK}" stroke-width="1.4" stroke-dasharray="4 3"/>"#,
                Px(x - 7.5)
            ),
        }
        put!(
            svg,
            r#"<text x="{}" y="{}">{}</text>"#,
            Px(x + indent),
            Px(y),
            self.text()
        );
    }
}

/// The symbols of change points below axis and bar, at the right: rings in one column, the disc in the next.
pub(crate) fn row(svg: &mut Svg, marks: &[Mark], frame: Frame) {
    let items = items(marks);
    if items.is_empty() {
        return;
    }
    let rings = items.iter().filter(|&&it| it != Item::Mean).count();
    let top = frame.bottom + if rings > 1 { 36.0 } else { 44.0 };
    put!(svg, r#"<g font-size="{SIZE}" fill="{SOFT_INK}">"#);
    for (k, item) in items.iter().enumerate() {
        match item {
            Item::Mean => item.draw(svg, (frame.right - 16.0, top), ROW_INDENT),
            _ => item.draw(svg, (frame.right - 180.0, top + 18.0 * k as f64), ROW_INDENT),
        }
    }
    put!(svg, "</g>");
}

/// The key of model versions to the right of `frame`, and the symbols of change points below it.
pub(crate) fn versions(
    svg: &mut Svg,
    versions: &Versions,
    times: &[i64],
    marks: &[Mark],
    precision: Precision,
    frame: Frame,
) {
    let present = versions.present();
    let left = frame.right + GAP;
    let text = left + INDENT;
    let room = WIDTH - MARGIN - text;
    put!(svg, r#"<g font-size="{SIZE}" fill="{SOFT_INK}">"#);
    let mut y = frame.top + 8.0;
    put!(
        svg,
        r#"<text x="{}" y="{}" font-weight="600">model version</text>"#,
        Px(left - 4.0),
        Px(y)
    );
    y += 20.0;
    for it in present.iter().take(MAX_NAMES) {
        let name = fit(&versions.name(it.number), SIZE, room);
        let dates = dates(it, times, precision, room, present.len());
        y = entry(svg, (left, y), palette::category(it.number.into()), &name, &dates);
    }
    if present.len() > MAX_NAMES {
        let more = present.len() - MAX_NAMES;
        put!(
            svg,
            r#"<text x="{}" y="{}">and {more} more</text>"#,
            Px(text),
            Px(y)
        );
        y += 20.0;
    }
    y += 10.0;
    let boundary = (present.len() > 1).then_some(Item::Boundary);
    for item in boundary.into_iter().chain(items(marks)) {
        item.draw(svg, (left, y), INDENT);
        y += 18.0;
    }
    put!(svg, "</g>");
}

/// One version, its name on the line at `y`; the line of the next one.
fn entry(svg: &mut Svg, (left, mut y): (f64, f64), colour: &str, name: &str, dates: &[String]) -> f64 {
    let text = Px(left + INDENT);
    put!(
        svg,
        r#"<circle cx="{}" cy="{}" r="4.6" fill="{colour}"/><text x="{text}" y="{}" fill="{INK}">{}</text>"#,
        Px(left),
        Px(y - 4.0),
        Px(y),
        escape(name)
    );
    for line in dates {
        y += 13.0;
        put!(
            svg,
            r#"<text x="{text}" y="{}" font-size="{DATE_SIZE}">{line}</text>"#,
            Px(y)
        );
    }
    y + 20.0
}

/// First and last date of a version on one line or two, as there is room; else none.
fn dates(it: &Present, times: &[i64], precision: Precision, room: f64, versions: usize) -> Vec<String> {
    let [first, last] = [it.first, it.last].map(|i| date::format(times[i], precision));
    let fits = |line: &String| text_width(line, DATE_SIZE) <= room;
    if it.first == it.last {
        return Some(first).filter(fits).into_iter().collect();
    }
    let line = format!("{first} \u{2013} {last}");
    if fits(&line) {
        return vec![line];
    }
    let lines = vec![format!("{first} \u{2013}"), last];
    if versions <= MAX_TWO_LINES && lines.iter().all(fits) {
        lines
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_drawn_is_explained() {
        let mark = |index, artifact| Mark {
            index,
            severity: 0.5,
            artifact,
        };
        assert_eq!(items(&[]), []);
        assert_eq!(items(&[mark(1, false)]), [Item::Change, Item::Mean]);
        assert_eq!(items(&[mark(1, true)]), [Item::Artifact, Item::Mean]);
        let many: Vec<Mark> = (0..30).map(|i| mark(i, i == 7)).collect();
        assert_eq!(items(&many), [Item::Change, Item::Artifact]);
    }

    #[test]
    fn dates_of_a_version_take_the_room_there_is() {
        let times = [0, 3_600_000_000];
        let both = Present {
            number: 0,
            first: 0,
            last: 1,
        };
        let one = Present { last: 0, ..both };
        assert_eq!(
            dates(&both, &times, Precision::Day, 160.0, 2),
            ["2000-01-01 – 2000-01-01"]
        );
        assert_eq!(
            dates(&both, &times, Precision::Minute, 160.0, 2),
            ["2000-01-01 00:00 –", "2000-01-01 01:00"]
        );
        assert_eq!(dates(&one, &times, Precision::Day, 160.0, 2), ["2000-01-01"]);
        assert!(dates(&both, &times, Precision::Minute, 160.0, 9).is_empty());
        assert!(dates(&both, &times, Precision::Microsecond, 100.0, 2).is_empty());
    }
}
