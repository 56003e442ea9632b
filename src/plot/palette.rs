//! The colours of time.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_run_from_violet_to_green() {
        assert_eq!(time(0.0), "#440154");
        assert_eq!(time(1.0), "#addc30");
        assert_eq!(time(-1.0), time(0.0));
        assert_eq!(time(2.0), time(1.0));
        assert_eq!(time(0.5), "#26828e");
        assert_eq!(stops().count(), VIRIDIS.len());
    }
}
