//! The axes of the picture.

use crate::scale::{Frame, Scale};
use crate::svg::{Px, Svg, put};
use crate::{AXIS, GRID, SOFT_INK};

/// Draws grid, ticks and titles around `frame`; `ratios` are the shares of variance of the two components.
pub(crate) fn draw(svg: &mut Svg, scale: &Scale, ratios: [f64; 2], frame: Frame) {
    let Frame {
        left,
        top,
        right,
        bottom,
    } = frame;
    let (xs, ys) = scale.ticks();
    put!(svg, r#"<g font-size="11.5" fill="{SOFT_INK}">"#);
    let mut grid = String::new();
    for (x, _) in &xs {
        grid += &format!("M{} {}V{}", Px(*x), Px(top), Px(bottom));
    }
    for (y, _) in &ys {
        grid += &format!("M{} {}H{}", Px(left), Px(*y), Px(right));
    }
    put!(svg, r#"<path d="{grid}" stroke="{GRID}" fill="none"/>"#);
    put!(
        svg,
        r#"<path d="M{} {}V{}H{}" stroke="{AXIS}" fill="none"/>"#,
        Px(left),
        Px(top),
        Px(bottom),
        Px(right)
    );
    for (x, label) in &xs {
        put!(
            svg,
            r#"<text x="{}" y="{}" text-anchor="middle">{label}</text>"#,
            Px(*x),
            Px(bottom + 18.0)
        );
    }
    for (y, label) in &ys {
        put!(
            svg,
            r#"<text x="{}" y="{}" text-anchor="end">{label}</text>"#,
            Px(left - 8.0),
            Px(*y + 4.0)
        );
    }
    put!(svg, "</g>");
    let (x, y) = (0.5 * (left + right), 0.5 * (top + bottom));
    let [first, second] = [title(0, ratios), title(1, ratios)];
    put!(
        svg,
        r#"<text x="{}" y="{}" font-size="13" text-anchor="middle">{first}</text>"#,
        Px(x),
        Px(bottom + 44.0)
    );
    put!(
        svg,
        r#"<text transform="translate({} {}) rotate(-90)" font-size="13" text-anchor="middle">{second}</text>"#,
        Px(24.0),
        Px(y)
    );
}

fn title(k: usize, ratios: [f64; 2]) -> String {
    let percent = ratios[k] * 100.0;
    let share = match percent {
        _ if ratios[0] == 0.0 => return format!("PC{}", k + 1),
        p if p >= 9.95 || p == 0.0 => format!("{p:.0}"),
        p if p >= 0.05 => format!("{p:.1}"),
        _ => "&lt;0.1".to_owned(),
    };
    format!("PC{} ({share} % of variance)", k + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_round_shares_to_what_can_be_read() {
        assert_eq!(title(0, [0.3449, 0.1]), "PC1 (34 % of variance)");
        assert_eq!(title(1, [0.9, 0.0634]), "PC2 (6.3 % of variance)");
        assert_eq!(title(1, [1.0, 1e-9]), "PC2 (&lt;0.1 % of variance)");
        assert_eq!(title(1, [1.0, 0.0]), "PC2 (0 % of variance)");
        assert_eq!(title(0, [0.0, 0.0]), "PC1");
    }
}
