//! The bar of time: colours, dates, and where the change points lie.

use crate::date::ticks;
use crate::scale::Frame;
use crate::svg::{Px, Svg, put};
use crate::{AXIS, MAX_RINGS, Mark, SOFT_INK, elapsed_share, foremost, palette};

const GAP: f64 = 30.0;
const WIDTH: f64 = 12.0;
const TICKS: usize = 8;

/// Draws the bar to the right of `frame`, the first time at the bottom. A single point of time has none.
pub(crate) fn draw(svg: &mut Svg, times: &[i64], marks: &[Mark], frame: Frame) {
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
        return;
    };
    if first == last {
        return;
    }
    let (left, height) = (frame.right + GAP, frame.bottom - frame.top);
    let y_of = |at: i64| frame.bottom - elapsed_share(times, at) * height;
    put!(svg, r#"<g font-size="11.5" fill="{SOFT_INK}">"#);
    put!(
        svg,
        r#"<defs><linearGradient id="cvx-time" x1="0" y1="1" x2="0" y2="0">"#
    );
    for (share, colour) in palette::stops() {
        put!(svg, r#"<stop offset="{share:.4}" stop-color="{colour}"/>"#);
    }
    put!(svg, "</linearGradient></defs>");
    put!(
        svg,
        r#"<rect x="{}" y="{}" width="{WIDTH}" height="{}" rx="1.5" fill="url(#cvx-time)"/>"#,
        Px(left),
        Px(frame.top),
        Px(height)
    );
    let right = left + WIDTH;
    for tick in ticks(first, last, TICKS) {
        let y = y_of(tick.at);
        put!(
            svg,
            r#"<path d="M{} {}h4" stroke="{AXIS}"/><text x="{}" y="{}">{}</text>"#,
            Px(right),
            Px(y),
            Px(right + 8.0),
            Px(y + 4.0),
            tick.label
        );
    }
    for mark in foremost(marks, MAX_RINGS).iter().rev() {
        let y = Px(y_of(times[mark.index]));
        put!(
            svg,
            r#"<path d="M{} {y}l-8 -4.5v9z" fill="{}"/>"#,
            Px(left - 1.5),
            mark.colour()
        );
    }
    put!(svg, "</g>");
}
