//! The path itself: line, points, change points, labels.

use cvx_math::Path;
use cvx_math::pca::Pca;

use crate::date::{self, Precision};
use crate::labels::{Placer, text_width};
use crate::scale::{Frame, Scale};
use crate::svg::{Px, Svg, polyline, put};
use crate::{ALERT, INK, MAX_RINGS, Mark, SOFT_INK, axes, elapsed_share, most_severe, palette};

/// Most points drawn; of more, evenly spaced ones by number are.
const MAX_POINTS: usize = 6000;
/// Up to here a point tells its date when pointed at.
const MAX_HINTS: usize = 1000;
/// Most change points that get a label.
const MAX_LABELS: usize = 8;
/// Up to here the means between them are drawn; of more the arrows would hide the points.
const MAX_ARROWS: usize = 24;
/// Area, in square pixels, of black that the line may amount to.
const LINE_INK: f64 = 3200.0;
const LABEL_SIZE: f64 = 11.5;

pub(crate) struct Panel<'a> {
    times: &'a [i64],
    marks: &'a [Mark],
    ratios: [f64; 2],
    /// All points in the two components.
    points: Vec<(f64, f64)>,
    /// The mean of each segment between change points, as a pixel and a colour; none without change points.
    means: Vec<((f64, f64), String)>,
    /// Which of the points are drawn.
    drawn: Vec<usize>,
    scale: Scale,
    frame: Frame,
    precision: Precision,
}

impl<'a> Panel<'a> {
    pub(crate) fn new(
        path: &Path<'a>,
        found: &Pca,
        marks: &'a [Mark],
        precision: Precision,
        frame: Frame,
    ) -> Self {
        let points: Vec<(f64, f64)> = found.scores.chunks_exact(2).map(|s| (s[0], s[1])).collect();
        let drawn = thin(points.len());
        let scale = Scale::fit(&points, frame);
        Panel {
            times: path.times,
            marks,
            ratios: [found.ratios[0], found.ratios[1]],
            means: segment_means(path.times, &points, marks, &scale),
            scale,
            points,
            drawn,
            frame,
            precision,
        }
    }

    pub(crate) fn draw(&self, svg: &mut Svg) {
        axes::draw(svg, &self.scale, self.ratios, self.frame);
        self.line(svg);
        self.dots(svg);
        self.means(svg);
        self.rings(svg);
        self.ends(svg);
        self.labels(svg);
    }

    fn at(&self, i: usize) -> (f64, f64) {
        self.scale.place(self.points[i])
    }

    /// The thin line through the points, the paler the more of it there is, so that it never hides them.
    fn line(&self, svg: &mut Svg) {
        let places: Vec<(f64, f64)> = self.drawn.iter().map(|&i| self.at(i)).collect();
        let length: f64 = places
            .windows(2)
            .map(|w| (w[1].0 - w[0].0).hypot(w[1].1 - w[0].1))
            .sum();
        let width = if places.len() <= 30 { 1.2 } else { 0.8 };
        let opacity = (LINE_INK / (length * width).max(1.0)).clamp(0.06, 0.6);
        let d = polyline(places.into_iter());
        put!(
            svg,
            r#"<path d="{d}" fill="none" stroke="{SOFT_INK}" stroke-width="{width}" stroke-opacity="{opacity:.2}" stroke-linejoin="round"/>"#
        );
    }

    fn dots(&self, svg: &mut Svg) {
        let (radius, opacity) = match self.drawn.len() {
            0..=120 => (4.2, 0.95),
            121..=600 => (3.2, 0.85),
            601..=2000 => (2.4, 0.75),
            _ => (1.7, 0.6),
        };
        put!(
            svg,
            r#"<g stroke="white" stroke-width="0.6" fill-opacity="{opacity}">"#
        );
        for &i in &self.drawn {
            let (x, y) = self.at(i);
            let colour = self.colour(self.times[i]);
            let circle = format!(
                r#"<circle cx="{}" cy="{}" r="{radius}" fill="{colour}""#,
                Px(x),
                Px(y)
            );
            if self.drawn.len() <= MAX_HINTS {
                let hint = date::format(self.times[i], self.precision);
                put!(svg, "{circle}><title>{hint}</title></circle>");
            } else {
                put!(svg, "{circle}/>");
            }
        }
        put!(svg, "</g>");
    }

    fn colour(&self, at: i64) -> String {
        palette::time(elapsed_share(self.times, at))
    }

    /// The means of the segments between change points, joined by arrows.
    fn means(&self, svg: &mut Svg) {
        for pair in self.means.windows(2) {
            arrow(svg, pair[0].0, pair[1].0);
        }
        for ((x, y), colour) in &self.means {
            put!(
                svg,
                r#"<circle cx="{}" cy="{}" r="8" fill="{colour}" stroke="{INK}" stroke-width="1.8"/>"#,
                Px(*x),
                Px(*y)
            );
        }
    }

    fn rings(&self, svg: &mut Svg) {
        put!(svg, r#"<g fill="none" stroke="{ALERT}" stroke-width="2">"#);
        for mark in most_severe(self.marks, MAX_RINGS) {
            let (x, y) = self.at(mark.index);
            put!(svg, r#"<circle cx="{}" cy="{}" r="7.5"/>"#, Px(x), Px(y));
        }
        put!(svg, "</g>");
    }

    fn ends(&self, svg: &mut Svg) {
        put!(svg, r#"<g stroke="{INK}" stroke-width="1.8">"#);
        let ends = [0, self.points.len() - 1];
        for i in if ends[0] == ends[1] { &ends[..1] } else { &ends[..] } {
            let ((x, y), colour) = (self.at(*i), self.colour(self.times[*i]));
            let (left, top) = (Px(x - 5.0), Px(y - 5.0));
            put!(
                svg,
                r#"<rect x="{left}" y="{top}" width="10" height="10" rx="1" fill="{colour}"/>"#
            );
        }
        put!(svg, "</g>");
    }

    /// Points along the arrows, which labels had better not cover.
    fn arrow_places(&self) -> impl Iterator<Item = (f64, f64)> {
        self.means.windows(2).flat_map(|w| {
            let (a, b) = (w[0].0, w[1].0);
            (0..=20)
                .map(f64::from)
                .map(move |k| (a.0 + (b.0 - a.0) * k / 20.0, a.1 + (b.1 - a.1) * k / 20.0))
        })
    }

    /// The texts, the most important first: the ends, then the change points by severity.
    fn labels(&self, svg: &mut Svg) {
        let last = self.points.len() - 1;
        let dated = |i: usize| date::format(self.times[i], self.precision);
        let mut wanted: Vec<(usize, String, &str)> = if last == 0 {
            vec![(0, dated(0), INK)]
        } else {
            vec![
                (0, format!("start {}", dated(0)), INK),
                (last, format!("end {}", dated(last)), INK),
            ]
        };
        for mark in most_severe(self.marks, MAX_LABELS) {
            let text = if mark.severity.is_finite() {
                format!("{}, severity {:.2}", dated(mark.index), mark.severity)
            } else {
                dated(mark.index)
            };
            wanted.push((mark.index, text, ALERT));
        }
        let dots: Vec<(f64, f64)> = self
            .drawn
            .iter()
            .map(|&i| self.at(i))
            .chain(self.arrow_places())
            .collect();
        let anchors = wanted
            .iter()
            .map(|w| self.at(w.0))
            .chain(self.means.iter().map(|m| m.0))
            .collect();
        let inner = Frame {
            left: self.frame.left + 4.0,
            ..self.frame
        };
        let mut placer = Placer::new(inner, &dots, anchors);
        let mut texts = Svg::default();
        put!(svg, r#"<g fill="none" stroke-width="0.9">"#);
        for (i, text, colour) in wanted {
            let anchor = self.at(i);
            let place = placer.place(anchor, text_width(&text, LABEL_SIZE), LABEL_SIZE + 3.0);
            if place.apart {
                let (x, y) = place.nearest(anchor);
                put!(
                    svg,
                    r#"<path d="M{} {}L{} {}" stroke="{colour}"/>"#,
                    Px(anchor.0),
                    Px(anchor.1),
                    Px(x),
                    Px(y)
                );
            }
            let (x, side) = place.text_anchor(anchor);
            put!(
                texts,
                r#"<text x="{}" y="{}" fill="{colour}" text-anchor="{side}">{text}</text>"#,
                Px(x),
                Px(place.top + LABEL_SIZE)
            );
        }
        put!(svg, "</g>");
        put!(
            svg,
            r#"<g font-size="{LABEL_SIZE}" font-weight="600" stroke="white" stroke-width="3" stroke-linejoin="round" paint-order="stroke">"#
        );
        put!(svg, "{}</g>", texts.into_string());
    }
}

/// The mean of each segment, where there are change points and not too many, coloured by its middle.
fn segment_means(
    times: &[i64],
    points: &[(f64, f64)],
    marks: &[Mark],
    scale: &Scale,
) -> Vec<((f64, f64), String)> {
    if marks.is_empty() || marks.len() > MAX_ARROWS {
        return Vec::new();
    }
    let bounds: Vec<usize> = std::iter::once(0)
        .chain(marks.iter().map(|m| m.index))
        .chain([points.len()])
        .collect();
    bounds
        .windows(2)
        .map(|w| {
            let part = &points[w[0]..w[1]];
            let count = part.len() as f64;
            let sum = part.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
            let middle = times[w[0]].midpoint(times[w[1] - 1]);
            let colour = palette::time(elapsed_share(times, middle));
            (scale.place((sum.0 / count, sum.1 / count)), colour)
        })
        .collect()
}

/// An arrow between two discs.
fn arrow(svg: &mut Svg, from: (f64, f64), to: (f64, f64)) {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy);
    let (clear, head) = (11.0, 9.0);
    if length < 2.0 * clear + head {
        return;
    }
    let (ux, uy) = (dx / length, dy / length);
    let (start, tip) = (
        (from.0 + ux * clear, from.1 + uy * clear),
        (to.0 - ux * clear, to.1 - uy * clear),
    );
    let base = (tip.0 - ux * head, tip.1 - uy * head);
    let shaft = format!("M{} {}L{} {}", Px(start.0), Px(start.1), Px(base.0), Px(base.1));
    put!(
        svg,
        r#"<path d="{shaft}" stroke="white" stroke-width="5.5" fill="none" stroke-opacity="0.8"/>"#
    );
    put!(
        svg,
        r#"<path d="{shaft}" stroke="{INK}" stroke-width="2.4" fill="none"/>"#
    );
    put!(
        svg,
        r#"<path d="M{} {}L{} {}L{} {}z" fill="{INK}"/>"#,
        Px(tip.0),
        Px(tip.1),
        Px(base.0 - uy * head * 0.5),
        Px(base.1 + ux * head * 0.5),
        Px(base.0 + uy * head * 0.5),
        Px(base.1 - ux * head * 0.5)
    );
}

/// Which of `n` points are drawn: all, or evenly spaced ones by number with the first and the last.
fn thin(n: usize) -> Vec<usize> {
    if n <= MAX_POINTS {
        return (0..n).collect();
    }
    (0..MAX_POINTS)
        .map(|k| (k as u128 * (n - 1) as u128 / (MAX_POINTS - 1) as u128) as usize)
        .collect()
}
