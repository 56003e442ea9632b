//! The colours of time and of model versions.

/// Viridis (Smith, van der Walt and Firing, matplotlib 2015): even to the eye, readable in grey and by most
/// colour-blind people. Sampled at 0, 1/16, ..., 14/16; the palest yellows are left out, since they vanish on
/// white.
const VIRIDIS: [(u8, u8, u8); 15] = [
    (0x44, 0x01, 0x54),
    (0x48, 0x18, 0x6a),
    (0x47, 0x2d, 0x7b),
    (0x42, 0x40, 0x86),
    (0x3b, 0x52, 0x8b),
    (0x33, 0x63, 0x8d),
    (0x2c, 0x72, 0x8e),
    (0x26, 0x82, 0x8e),
    (0x21, 0x91, 0x8c),
    (0x1f, 0xa0, 0x88),
    (0x28, 0xae, 0x80),
    (0x3f, 0xbc, 0x73),
    (0x5e, 0xc9, 0x62),
    (0x84, 0xd4, 0x4b),
    (0xad, 0xdc, 0x30),
];

/// Colour of `share` of the time gone by, in [0, 1], as `#rrggbb`.
pub(crate) fn time(share: f64) -> String {
    let place = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let low = (place as usize).min(VIRIDIS.len() - 2);
    let part = place - low as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8;
    let (a, b) = (VIRIDIS[low], VIRIDIS[low + 1]);
    format!("#{:02x}{:02x}{:02x}", mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// The stops of a gradient over all of time: share and colour.
pub(crate) fn stops() -> impl Iterator<Item = (f64, String)> {
    let last = VIRIDIS.len() - 1;
    (0..=last).map(move |i| (i as f64 / last as f64, time(i as f64 / last as f64)))
}

/// Blue, orange, green, purple and sky of Okabe and Ito ("Color Universal Design", 2008), and three dark or pale
/// ones. Any two differ by 10 and more in CIEDE2000 in ordinary vision, protanopia, deuteranopia and tritanopia.
/// Without Okabe and Ito's yellow, which vanishes on white, their black, which is that of the text, and their
/// vermilion, which is that of the change points.
const CATEGORIES: [&str; 8] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#4b2e83", "#8ed081", "#004d40",
];

/// Colour of the `k`-th category; after eight they come again.
pub(crate) fn category(k: usize) -> &'static str {
    CATEGORIES[k % CATEGORIES.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ALERT, INK};

    #[test]
    fn colours_run_from_violet_to_green() {
        assert_eq!(time(0.0), "#440154");
        assert_eq!(time(1.0), "#addc30");
        assert_eq!(time(-1.0), time(0.0));
        assert_eq!(time(2.0), time(1.0));
        assert_eq!(time(0.5), "#26828e");
        assert_eq!(stops().count(), VIRIDIS.len());
    }

    /// Linear RGB as the eye with and without all of its cones sees it (Machado, Oliveira and Fernandes 2009,
    /// severity 1): ordinary, protanopia, deuteranopia, tritanopia.
    const VISIONS: [[[f64; 3]; 3]; 4] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ];

    fn times(m: &[[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
        m.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
    }

    /// CIELAB of `#rrggbb` under D65.
    fn lab(hex: &str, vision: &[[f64; 3]; 3]) -> [f64; 3] {
        let linear = [1, 3, 5].map(|i| {
            let c = f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap()) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        });
        let seen = times(vision, linear).map(|c| c.clamp(0.0, 1.0));
        let xyz = times(
            &[
                [0.4124564, 0.3575761, 0.1804375],
                [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041],
            ],
            seen,
        );
        let [x, y, z] = [xyz[0] / 0.95047, xyz[1], xyz[2] / 1.08883].map(|t| {
            if t > 0.008856 {
                t.cbrt()
            } else {
                7.787 * t + 16.0 / 116.0
            }
        });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    #[test]
    fn categories_differ_to_every_eye() {
        let taken = [ALERT, INK, "#ffffff"];
        for vision in &VISIONS {
            for (i, a) in CATEGORIES.iter().enumerate() {
                for b in CATEGORIES[i + 1..].iter().chain(&taken) {
                    let (p, q) = (lab(a, vision), lab(b, vision));
                    let distance = (0..3).map(|k| (p[k] - q[k]).powi(2)).sum::<f64>().sqrt();
                    assert!(distance > 14.0, "{a} {b}: {distance}");
                }
            }
        }
        assert_eq!(category(8), category(0));
    }
}
