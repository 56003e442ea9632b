//! The path itself: line, points, change points, labels.

use cvx_math::Path;
use cvx_math::pca::Pca;

use crate::date::{self, Precision};
use crate::labels::{Placer, text_width};
use crate::means;
use crate::paint::Paint;
use crate::scale::{Frame, Scale};
use crate::svg::{Px, Svg, escape, polyline, put};
use crate::{ALERT, INK, MAX_RINGS, Mark, SOFT_INK, axes, foremost};

/// Most points drawn; of more, evenly spaced ones by number are.
const MAX_POINTS: usize = 6000;
/// Up to here a point tells its date when pointed at.
const MAX_HINTS: usize = 1000;
/// Most change points that get a label.
const MAX_LABELS: usize = 8;
/// Area, in square pixels, of black that the line may amount to, and that its dashed parts may.
const LINE_INK: f64 = 3200.0;
const BOUNDARY_INK: f64 = 9600.0;
const LABEL_SIZE: f64 = 11.5;

pub(crate) struct Panel<'a> {
    times: &'a [i64],
    paint: Paint<'a>,
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
        paint: Paint<'a>,
        marks: &'a [Mark],
        precision: Precision,
        frame: Frame,
    ) -> Self {
        let points: Vec<(f64, f64)> = found.scores.chunks_exact(2).map(|s| (s[0], s[1])).collect();
        let drawn = thin(points.len());
        let scale = Scale::fit(&points, frame);
        Panel {
            times: path.times,
            paint,
            marks,
            ratios: [found.ratios[0], found.ratios[1]],
            means: means::of_segments(&paint, &points, marks, &scale),
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
        means::draw(svg, &self.means, self.marks);
        self.rings(svg);
        self.ends(svg);
        self.labels(svg);
    }

    fn at(&self, i: usize) -> (f64, f64) {
        self.scale.place(self.points[i])
    }

    /// The thin line through the points, the paler the more of it there is, so that it never hides them; dashed
    /// where the model changes.
    fn line(&self, svg: &mut Svg) {
        let (mut within, mut across) = (Stroke::default(), Stroke::default());
        for w in self.drawn.windows(2) {
            let changes = self
                .paint
                .versions()
                .is_some_and(|v| v.changes_within(w[0], w[1]));
            let stroke = if changes { &mut across } else { &mut within };
            stroke.join(self.at(w[0]), self.at(w[1]));
        }
        let width = if self.drawn.len() <= 30 { 1.2 } else { 0.8 };
        let opacity = within.opacity(width, LINE_INK, 0.6);
        put!(
            svg,
            r#"<path d="{}" fill="none" stroke="{SOFT_INK}" stroke-width="{width}" stroke-opacity="{opacity:.2}" stroke-linejoin="round"/>"#,
            within.path()
        );
        if !across.runs.is_empty() {
            let opacity = across.opacity(1.4, BOUNDARY_INK, 0.8);
            put!(
                svg,
                r#"<path d="{}" fill="none" stroke="{INK}" stroke-width="1.4" stroke-opacity="{opacity:.2}" stroke-dasharray="5 4"/>"#,
                across.path()
            );
        }
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
            let colour = self.paint.point(i);
            let circle = format!(
                r#"<circle cx="{}" cy="{}" r="{radius}" fill="{colour}""#,
                Px(x),
                Px(y)
            );
            if self.drawn.len() <= MAX_HINTS {
                let mut hint = date::format(self.times[i], self.precision);
                if let Some(versions) = self.paint.versions() {
                    hint += &format!(", {}", escape(&versions.name_at(i)));
                }
                put!(svg, "{circle}><title>{hint}</title></circle>");
            } else {
                put!(svg, "{circle}/>");
            }
        }
        put!(svg, "</g>");
    }

    /// The change points: a ring, dashed and grey where a retrain explains the change.
    fn rings(&self, svg: &mut Svg) {
        put!(svg, r#"<g fill="none" stroke="{ALERT}" stroke-width="2">"#);
        for mark in foremost(self.marks, MAX_RINGS).iter().rev() {
            let (x, y) = self.at(mark.index);
            let look = if mark.artifact {
                format!(r#" stroke="{}" stroke-dasharray="3.5 2.4""#, mark.colour())
            } else {
                String::new()
            };
            put!(svg, r#"<circle cx="{}" cy="{}" r="7.5"{look}/>"#, Px(x), Px(y));
        }
        put!(svg, "</g>");
    }

    fn ends(&self, svg: &mut Svg) {
        put!(svg, r#"<g stroke="{INK}" stroke-width="1.8">"#);
        let ends = [0, self.points.len() - 1];
        for i in if ends[0] == ends[1] { &ends[..1] } else { &ends[..] } {
            let ((x, y), colour) = (self.at(*i), self.paint.point(*i));
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

    /// The texts, the most important first: the ends, then the foremost change points.
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
        for mark in foremost(self.marks, MAX_LABELS) {
            let text = if mark.severity.is_finite() {
                format!("{}, severity {:.2}", dated(mark.index), mark.severity)
            } else {
                dated(mark.index)
            };
            wanted.push((mark.index, text, mark.colour()));
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

/// Pieces of a line that look alike.
#[derive(Default)]
struct Stroke {
    /// Points joined without a break.
    runs: Vec<Vec<(f64, f64)>>,
    length: f64,
}

impl Stroke {
    fn join(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.length += (to.0 - from.0).hypot(to.1 - from.1);
        match self.runs.last_mut() {
            Some(run) if run.last() == Some(&from) => run.push(to),
            _ => self.runs.push(vec![from, to]),
        }
    }

    /// What keeps the area of the whole stroke times its opacity at `ink`, within what can be seen.
    fn opacity(&self, width: f64, ink: f64, most: f64) -> f64 {
        (ink / (self.length * width).max(1.0)).clamp(0.06, most)
    }

    fn path(&self) -> String {
        self.runs
            .iter()
            .map(|run| polyline(run.iter().copied()))
            .collect()
    }
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
