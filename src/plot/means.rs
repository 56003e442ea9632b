//! The means of the segments between change points, and the arrows that join them.

use crate::paint::Paint;
use crate::scale::Scale;
use crate::svg::{Px, Svg, put};
use crate::{INK, Mark, SOFT_INK};

/// Up to here they are drawn; of more the arrows would hide the points.
const MOST: usize = 24;

/// Whether the means are drawn.
pub(crate) fn drawn(marks: &[Mark]) -> bool {
    (1..=MOST).contains(&marks.len())
}

/// The mean of each segment as a pixel and a colour; none unless they are [`drawn`]. `marks` rise by index.
pub(crate) fn of_segments(
    paint: &Paint,
    points: &[(f64, f64)],
    marks: &[Mark],
    scale: &Scale,
) -> Vec<((f64, f64), String)> {
    if !drawn(marks) {
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
            let place = scale.place((sum.0 / count, sum.1 / count));
            (place, paint.mean(w[0]..w[1]))
        })
        .collect()
}

/// Draws `means`, joined by arrows: grey ones over a change that a retrain explains.
pub(crate) fn draw(svg: &mut Svg, means: &[((f64, f64), String)], marks: &[Mark]) {
    for (pair, mark) in means.windows(2).zip(marks) {
        arrow(svg, pair[0].0, pair[1].0, mark.artifact);
    }
    for ((x, y), colour) in means {
        put!(
            svg,
            r#"<circle cx="{}" cy="{}" r="8" fill="{colour}" stroke="{INK}" stroke-width="1.8"/>"#,
            Px(*x),
            Px(*y)
        );
    }
}

/// An arrow between two discs.
fn arrow(svg: &mut Svg, from: (f64, f64), to: (f64, f64), artifact: bool) {
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
    let colour = if artifact { SOFT_INK } else { INK };
    put!(
        svg,
        r#"<path d="{shaft}" stroke="white" stroke-width="5.5" fill="none" stroke-opacity="0.8"/>"#
    );
    put!(
        svg,
        r#"<path d="{shaft}" stroke="{colour}" stroke-width="2.4" fill="none"/>"#
    );
    put!(
        svg,
        r#"<path d="M{} {}L{} {}L{} {}z" fill="{colour}"/>"#,
        Px(tip.0),
        Px(tip.1),
        Px(base.0 - uy * head * 0.5),
        Px(base.1 + ux * head * 0.5),
        Px(base.0 + uy * head * 0.5),
        Px(base.1 - ux * head * 0.5)
    );
}
