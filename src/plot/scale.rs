//! The axes: equal scales on both, round ticks.

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

/// Maps two coordinates to pixels, a unit of either being equally long: distances in the picture are distances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    frame: Frame,
    centre: (f64, f64),
    /// Data units per pixel.
    unit: f64,
}

/// Where on its axis, in pixels, and what is written there.
pub(crate) type Ticks = Vec<(f64, String)>;

/// Share of the frame that the data may fill.
const FILL: f64 = 0.88;

impl Scale {
    /// The scale that shows all `points` in `frame`. Points that do not differ get a scale of their own.
    pub(crate) fn fit(points: &[(f64, f64)], frame: Frame) -> Scale {
        let range = |pick: fn(&(f64, f64)) -> f64| {
            points
                .iter()
                .map(pick)
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
                    (l.min(v), h.max(v))
                })
        };
        let ((x0, x1), (y0, y1)) = (range(|p| p.0), range(|p| p.1));
        let (width, height) = (frame.right - frame.left, frame.bottom - frame.top);
        let unit = ((x1 - x0) / width).max((y1 - y0) / height) / FILL;
        let middle = |a: f64, b: f64| if a <= b { 0.5 * a + 0.5 * b } else { 0.0 };
        Scale {
            frame,
            centre: (middle(x0, x1), middle(y0, y1)),
            unit: if unit.is_normal() && unit > 0.0 {
                unit
            } else {
                2.0 / width
            },
        }
    }

    pub(crate) fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            0.5 * (self.frame.left + self.frame.right) + (x - self.centre.0) / self.unit,
            0.5 * (self.frame.top + self.frame.bottom) - (y - self.centre.1) / self.unit,
        )
    }

    /// Ticks of both axes, one step for the two.
    pub(crate) fn ticks(&self) -> (Ticks, Ticks) {
        let (width, height) = (
            self.frame.right - self.frame.left,
            self.frame.bottom - self.frame.top,
        );
        let step = nice_step(width * self.unit / 9.0);
        let along = |centre: f64, pixels: f64| {
            let (low, high) = (
                centre - 0.5 * pixels * self.unit,
                centre + 0.5 * pixels * self.unit,
            );
            let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
            (first..=last).map(|k| k as f64 * step).collect::<Vec<f64>>()
        };
        let label = |v: &f64| number(*v, step);
        let x = along(self.centre.0, width);
        let y = along(self.centre.1, height);
        let Frame {
            left,
            top,
            right,
            bottom,
        } = self.frame;
        let seen = |low: f64, high: f64| move |tick: &(f64, String)| (low..=high).contains(&tick.0);
        (
            x.iter()
                .map(|v| (self.place((*v, 0.0)).0, label(v)))
                .filter(seen(left, right))
                .collect(),
            y.iter()
                .map(|v| (self.place((0.0, *v)).1, label(v)))
                .filter(seen(top, bottom))
                .collect(),
        )
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|m| m * power)
        .find(|s| *s >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// A multiple of `step` with as many places as the step has; powers of ten outside what one reads at a glance.
fn number(value: f64, step: f64) -> String {
    let exponent = step.log10().floor();
    let text = if value == 0.0 {
        "0".to_owned()
    } else if (-4.0..5.0).contains(&exponent) {
        format!("{value:.*}", (-exponent).max(0.0) as usize)
    } else {
        let places = (value.abs().log10().floor() - exponent).clamp(0.0, 6.0) as usize;
        format!("{value:.places$e}")
    };
    text.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        left: 0.0,
        top: 0.0,
        right: 200.0,
        bottom: 100.0,
    };

    #[test]
    fn points_fill_the_frame_and_keep_their_shape() {
        let scale = Scale::fit(&[(0.0, 0.0), (10.0, 1.0)], FRAME);
        let ((x0, y0), (x1, y1)) = (scale.place((0.0, 0.0)), scale.place((10.0, 1.0)));
        assert!((x1 - x0 - 176.0).abs() < 1e-9 && (y0 - y1 - 17.6).abs() < 1e-9);
        assert!((x0 + x1 - 200.0).abs() < 1e-9 && (y0 + y1 - 100.0).abs() < 1e-9);
    }

    #[test]
    fn ticks_are_round() {
        let (x, y) = Scale::fit(&[(-0.5, 0.0), (0.5, 0.0)], FRAME).ticks();
        let labels: Vec<&str> = x.iter().map(|t| t.1.as_str()).collect();
        assert_eq!(labels, ["−0.4", "−0.2", "0", "0.2", "0.4"]);
        assert_eq!(y.len(), 3);
        assert_eq!(number(1500.0, 500.0), "1500");
        assert_eq!(number(-1.5e38, 5e37), "−1.5e38");
        assert_eq!(number(0.00025, 0.00005), "2.5e−4");
        assert_eq!(number(0.3, 0.1), "0.3");
    }

    #[test]
    fn any_finite_points_have_finite_places() {
        for points in [
            vec![],
            vec![(5.0, 5.0)],
            vec![(1e39, -1e39), (-1e39, 1e39)],
            vec![(1e-45, 0.0), (0.0, 1e-45)],
            vec![(1e30, 0.0), (1e30, 0.0)],
        ] {
            let scale = Scale::fit(&points, FRAME);
            for p in &points {
                let (x, y) = scale.place(*p);
                assert!((0.0..=200.0).contains(&x) && (0.0..=100.0).contains(&y));
            }
            let (x, y) = scale.ticks();
            assert!(x.len() < 20 && y.len() < 20);
            assert!(x.iter().all(|t| t.0.is_finite()));
        }
    }
}
