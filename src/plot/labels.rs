//! Placing text beside the points it names so that it can be read.

use crate::scale::Frame;

/// Mean width of a character as a share of the font size, in the wider of the usual sans-serif fonts.
const CHARACTER: f64 = 0.62;
/// Gap between a point and the label beside it.
const NEAR: f64 = 12.0;
/// Distances to try, then directions, nearest first.
const RINGS: [f64; 5] = [0.0, 16.0, 34.0, 56.0, 84.0];
const DIRECTIONS: usize = 16;
/// What a square pixel under another label, a mark, or a dot costs, against a pixel of distance.
const ON_LABEL: f64 = 4.0;
const ON_MARK: f64 = 60.0;
const ON_DOT: f64 = 3.0;

/// Width of `text` in pixels, a little more rather than less.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * CHARACTER
}

/// As much of `text`, which may come in any script, as fits into `room` pixels; an ellipsis stands for the rest.
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    let width = |c: char| {
        let share = match c {
            'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' | '\u{1100}'.. => 1.0,
            _ if c.is_uppercase() => 0.76,
            _ => CHARACTER,
        };
        share * size
    };
    if text.chars().map(width).sum::<f64>() <= room {
        return text.to_owned();
    }
    let mut used = width('…');
    let mut short: String = text
        .chars()
        .take_while(|&c| {
            used += width(c);
            used <= room
        })
        .collect();
    short.push('…');
    short
}

/// A box of text beside its point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Whether it lies so far off that a line must lead to its point.
    pub(crate) apart: bool,
}

impl Placed {
    fn overlap(&self, other: &Placed) -> f64 {
        let x = (self.left + self.width).min(other.left + other.width) - self.left.max(other.left);
        let y = (self.top + self.height).min(other.top + other.height) - self.top.max(other.top);
        x.max(0.0) * y.max(0.0)
    }

    fn holds(&self, (x, y): (f64, f64), margin: f64) -> bool {
        (self.left - margin..=self.left + self.width + margin).contains(&x)
            && (self.top - margin..=self.top + self.height + margin).contains(&y)
    }

    /// Where the text starts, ends or has its middle: on the side of its point, so that an estimate of its width
    /// that is off does not push it onto the point.
    pub(crate) fn text_anchor(&self, (x, _): (f64, f64)) -> (f64, &'static str) {
        if self.left >= x {
            (self.left, "start")
        } else if self.left + self.width <= x {
            (self.left + self.width, "end")
        } else {
            (self.left + self.width / 2.0, "middle")
        }
    }

    /// The point of the box nearest to `(x, y)`.
    pub(crate) fn nearest(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            x.clamp(self.left, self.left + self.width),
            y.clamp(self.top, self.top + self.height),
        )
    }
}

/// Places labels one after the other, the most important first.
pub(crate) struct Placer<'a> {
    frame: Frame,
    dots: &'a [(f64, f64)],
    marks: Vec<(f64, f64)>,
    placed: Vec<Placed>,
}

impl<'a> Placer<'a> {
    /// `dots` are better not covered, `marks` much less.
    pub(crate) fn new(frame: Frame, dots: &'a [(f64, f64)], marks: Vec<(f64, f64)>) -> Self {
        Placer {
            frame,
            dots,
            marks,
            placed: Vec::new(),
        }
    }

    /// The cheapest place within the frame for a box of this size beside `anchor`.
    pub(crate) fn place(&mut self, anchor: (f64, f64), width: f64, height: f64) -> Placed {
        let mut best: Option<(f64, Placed)> = None;
        for ring in RINGS {
            for k in 0..DIRECTIONS {
                let candidate = self.candidate(anchor, width, height, ring, k);
                let cost = self.cost(&candidate, anchor, ring);
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, candidate));
                }
            }
        }
        let chosen = best.map_or_else(|| self.candidate(anchor, width, height, 0.0, 0), |(_, c)| c);
        self.placed.push(chosen);
        chosen
    }

    /// The box whose edge is `NEAR + ring` from the anchor in direction `k`, pushed into the frame.
    fn candidate(&self, (x, y): (f64, f64), width: f64, height: f64, ring: f64, k: usize) -> Placed {
        let angle = std::f64::consts::TAU * k as f64 / DIRECTIONS as f64;
        let (dx, dy) = (angle.cos(), -angle.sin());
        let reach = NEAR + ring;
        let lean = |d: f64, size: f64| (d * 1.6).clamp(-1.0, 1.0) * size / 2.0 - size / 2.0;
        let left = x + dx * reach + lean(dx, width);
        let top = y + dy * reach + lean(dy, height);
        let frame = self.frame;
        Placed {
            left: left.min(frame.right - width).max(frame.left),
            top: top.min(frame.bottom - height).max(frame.top),
            width,
            height,
            apart: ring > 10.0,
        }
    }

    /// How many placed labels a line from `a` to `b` runs through.
    fn crossed(&self, a: (f64, f64), b: (f64, f64)) -> usize {
        let on_line = |k: i32| {
            let part = f64::from(k) / 16.0;
            (a.0 + (b.0 - a.0) * part, a.1 + (b.1 - a.1) * part)
        };
        self.placed
            .iter()
            .filter(|p| (0..=16).any(|k| p.holds(on_line(k), 0.0)))
            .count()
    }

    fn cost(&self, candidate: &Placed, anchor: (f64, f64), ring: f64) -> f64 {
        let labels: f64 = self.placed.iter().map(|p| p.overlap(candidate)).sum();
        let marks = self.marks.iter().filter(|m| candidate.holds(**m, 7.0)).count() as f64;
        let dots = self.dots.iter().filter(|d| candidate.holds(**d, 2.0)).count() as f64;
        let crossed = if candidate.apart {
            self.crossed(anchor, candidate.nearest(anchor))
        } else {
            0
        };
        ring + ON_LABEL * labels + ON_MARK * (marks + crossed as f64) + ON_DOT * dots.min(60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        left: 0.0,
        top: 0.0,
        right: 400.0,
        bottom: 300.0,
    };

    #[test]
    fn labels_of_one_spot_do_not_overlap() {
        let mut placer = Placer::new(FRAME, &[], vec![(200.0, 150.0)]);
        let boxes: Vec<Placed> = (0..8).map(|_| placer.place((200.0, 150.0), 90.0, 14.0)).collect();
        for (i, a) in boxes.iter().enumerate() {
            assert!(!a.holds((200.0, 150.0), 3.0));
            for b in &boxes[i + 1..] {
                assert_eq!(a.overlap(b), 0.0, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn text_is_cut_to_its_room() {
        assert_eq!(fit("minilm-v2", 10.0, 100.0), "minilm-v2");
        assert_eq!(fit("abcdefgh", 10.0, 30.0), "abc…");
        assert_eq!(fit("数数数数", 10.0, 30.0), "数数…");
        assert_eq!(fit("abc", 10.0, 0.0), "…");
    }

    #[test]
    fn labels_stay_in_the_frame_and_off_the_dots() {
        for corner in [(0.0, 0.0), (400.0, 0.0), (0.0, 300.0), (400.0, 300.0)] {
            let b = Placer::new(FRAME, &[], vec![corner]).place(corner, 90.0, 14.0);
            assert!(b.left >= 0.0 && b.top >= 0.0 && b.left + b.width <= 400.0 && b.top + b.height <= 300.0);
        }
        let dots: Vec<(f64, f64)> = (0..50).map(|i| (210.0 + f64::from(i), 150.0)).collect();
        let b = Placer::new(FRAME, &dots, vec![]).place((200.0, 150.0), 90.0, 14.0);
        assert!(!dots.iter().any(|d| b.holds(*d, 0.0)), "{b:?}");
    }
}
