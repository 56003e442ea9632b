//! Pictures of trajectories as SVG text.
//!
//! [`Plot::render`] draws a path in its two leading principal components. No fonts are needed to make one: the
//! widths of labels are estimated, and whatever shows the picture brings its own sans-serif.

mod axes;
mod bar;
mod date;
mod labels;
mod legend;
mod means;
mod paint;
mod palette;
mod panel;
mod scale;
mod svg;

use cvx_math::Path;
use cvx_math::pca::pca;
pub use date::POSTGRES_EPOCH_UNIX_US;

use date::Precision;
use paint::{Paint, Versions};
use panel::Panel;
use scale::Frame;
use svg::{Px, Svg, escape, put, shorten};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 640.0;
/// Where the path is drawn; titles and axes stand around it, the bar of time or the key of versions to its right.
const FRAME: Frame = Frame {
    left: 76.0,
    top: 74.0,
    right: 818.0,
    bottom: 574.0,
};
/// The key of versions needs more room than the bar of time.
const FRAME_BESIDE_KEY: Frame = Frame {
    right: 744.0,
    ..FRAME
};
/// Longest title drawn, and longest kept as the document's title.
const TITLE_SHOWN: usize = 88;
const TITLE_KEPT: usize = 1000;

/// Most change points that are marked; of more, the [`foremost`].
pub(crate) const MAX_RINGS: usize = 400;

pub(crate) const INK: &str = "#1f2933";
pub(crate) const SOFT_INK: &str = "#5f6b76";
pub(crate) const GRID: &str = "#e8ebee";
pub(crate) const AXIS: &str = "#9aa5b1";
/// Change points: a red that viridis does not hold.
pub(crate) const ALERT: &str = "#c92a2a";

/// A change point: where, and how strong in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Number of points before the change: it is drawn at point `index`, 0-based, the first one after it.
    pub index: usize,
    /// δ²/(1+δ²); a number that is not finite is not shown.
    pub severity: f64,
    /// Whether a retrain of the model explains the change: drawn as a dashed grey ring instead of a red one.
    pub artifact: bool,
}

impl Mark {
    pub(crate) fn colour(&self) -> &'static str {
        if self.artifact { SOFT_INK } else { ALERT }
    }
}

/// What the colours of the points say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Colouring<'a> {
    /// The time of the point, from violet to green, with a bar of dates.
    #[default]
    Time,
    /// The model version that made the point, in one colour each (after eight they come again), with a key of names
    /// and dates; the line is dashed where the model changes.
    Version {
        /// The version number of each point: an index into `names`, which also chooses the colour, so that a version
        /// looks alike in all pictures of its model. Unless there is one for each point, time colours them instead.
        of: &'a [u16],
        /// Any text, cut and cleared as a title is. A version without a name, or with a blank one, goes by number.
        names: &'a [&'a str],
    },
}

/// What to draw. Times are microseconds since [PostgreSQL's epoch](POSTGRES_EPOCH_UNIX_US), any `i64`.
#[derive(Clone, Copy, Debug)]
pub struct Plot<'a> {
    pub path: Path<'a>,
    /// Any text; what XML cannot hold is left out, and what does not fit on the line is cut.
    pub title: Option<&'a str>,
    /// In any order. An index of 0 or beyond the last point is left out.
    pub change_points: &'a [Mark],
    pub colouring: Colouring<'a>,
}

impl<'a> Plot<'a> {
    /// The picture as an SVG document of 960 × 640 units, at most about a megabyte for any number of points.
    ///
    /// Points are coloured by time or model version and joined by a thin line; change points are ringed and dated, and where
    /// there are any, the means of the stretches between them are joined by arrows. Both axes have one scale, so
    /// that distances can be compared. An empty path gives a picture that says so.
    pub fn render(&self) -> String {
        let mut svg = Svg::default();
        put!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif" font-size="12" fill="{INK}">"#
        );
        let title = self.title.map(str::trim).filter(|t| !t.is_empty());
        put!(
            svg,
            "<title>{}</title>",
            escape(&shorten(title.unwrap_or("Trajectory"), TITLE_KEPT))
        );
        put!(svg, r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#);
        self.heading(&mut svg, title);
        let precision = self.precision();
        if self.path.is_empty() {
            let (x, y) = (0.5 * (FRAME.left + FRAME.right), 0.5 * (FRAME.top + FRAME.bottom));
            put!(
                svg,
                r#"<text x="{x}" y="{y}" font-size="16" fill="{SOFT_INK}" text-anchor="middle">empty trajectory</text>"#
            );
        } else {
            self.body(&mut svg, precision);
        }
        put!(svg, "</svg>");
        svg.into_string()
    }

    /// The path, and what explains it.
    fn body(&self, svg: &mut Svg, precision: Precision) {
        let found = pca(&self.path, 2);
        let marks = self.marks();
        let paint = self.paint();
        let times = self.path.times;
        let frame = match paint {
            Paint::Time(_) => FRAME,
            Paint::Version(_) => FRAME_BESIDE_KEY,
        };
        Panel::new(&self.path, &found, paint, &marks, precision, frame).draw(svg);
        match paint {
            Paint::Time(_) => {
                legend::row(svg, &marks, frame);
                bar::draw(svg, times, &marks, frame);
            }
            Paint::Version(versions) => legend::versions(svg, &versions, times, &marks, precision, frame),
        }
    }

    fn paint(&self) -> Paint<'a> {
        let time = Paint::Time(self.path.times);
        match self.colouring {
            Colouring::Time => time,
            Colouring::Version { of, names } => {
                Versions::new(of, names, self.path.len()).map_or(time, Paint::Version)
            }
        }
    }

    fn heading(&self, svg: &mut Svg, title: Option<&str>) {
        let x = Px(FRAME.left);
        if let Some(title) = title {
            let shown = escape(&shorten(title, TITLE_SHOWN));
            put!(
                svg,
                r#"<text x="{x}" y="32" font-size="18" font-weight="600">{shown}</text>"#
            );
        }
        let summary = escape(&self.summary());
        put!(
            svg,
            r#"<text x="{x}" y="54" font-size="12.5" fill="{SOFT_INK}">{summary}</text>"#
        );
    }

    /// One line that says what is drawn.
    fn summary(&self) -> String {
        let plural = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
        let (Some(&first), Some(&last)) = (self.path.times.first(), self.path.times.last()) else {
            return "no points".to_owned();
        };
        let date = |us| date::format(us, self.precision());
        let span = if first == last {
            date(first)
        } else {
            format!("{} to {}", date(first), date(last))
        };
        let mut text = format!(
            "{} in {}, {span}",
            plural(self.path.len(), "point"),
            plural(self.path.dims, "dimension")
        );
        if let Paint::Version(versions) = self.paint() {
            text += &format!(", {}", plural(versions.present().len(), "model version"));
        }
        let marks = self.marks();
        if !marks.is_empty() {
            text += &format!(", {}", plural(marks.len(), "change point"));
        }
        match marks.iter().filter(|m| m.artifact).count() {
            0 => {}
            1 if marks.len() == 1 => text += " (explained by the retrain)",
            artifacts => text += &format!(" ({artifacts} explained by the retrain)"),
        }
        text
    }

    fn precision(&self) -> Precision {
        match (self.path.times.first(), self.path.times.last()) {
            (Some(&first), Some(&last)) if first < last => Precision::for_span(last.abs_diff(first)),
            _ => Precision::Second,
        }
    }

    /// The change points that can be drawn, by index, one a point.
    fn marks(&self) -> Vec<Mark> {
        let mut marks: Vec<Mark> = self
            .change_points
            .iter()
            .copied()
            .filter(|m| (1..self.path.len()).contains(&m.index))
            .collect();
        marks.sort_by_key(|m| m.index);
        marks.dedup_by_key(|m| m.index);
        marks
    }
}

/// At most `limit` change points: those that a retrain does not explain first, then by severity, then the earlier.
pub(crate) fn foremost(marks: &[Mark], limit: usize) -> Vec<Mark> {
    let severity = |m: &Mark| if m.severity.is_finite() { m.severity } else { 0.0 };
    let mut marks = marks.to_vec();
    marks.sort_by(|a, b| {
        let order = a.artifact.cmp(&b.artifact);
        order.then_with(|| severity(b).total_cmp(&severity(a)))
    });
    marks.truncate(limit);
    marks
}

/// How much of the time between the first and the last point has gone by at `at`, in [0, 1].
pub(crate) fn elapsed_share(times: &[i64], at: i64) -> f64 {
    match (times.first(), times.last()) {
        (Some(&first), Some(&last)) if first < last => {
            at.abs_diff(first) as f64 / last.abs_diff(first) as f64
        }
        _ => 0.0,
    }
}
