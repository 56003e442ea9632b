//! False alarms and detection of `bocpd` at its default settings.
//!
//! `bocpd_study alarms [STREAMS] [SEED]`: shares of series of 500 points without change that alarm.
//! `bocpd_study shifts [STREAMS] [SEED]`: shares of shifts that are reported in time, by size and when they come.
//! `bocpd_study others [STREAMS] [SEED]`: alarms under heavy tails and autocorrelation, where nothing is promised.
//! `bocpd_study bound [STREAMS] [SEED]`: what a detector that knows all but the change reports in two dimensions.
//!
//! Everything is seeded. The constants of the detector were chosen with seeds 1 to 3.

mod bound;
mod noise;

use cvx_math::bocpd::{Detector, Options};
use noise::{Law, Shape, Source};

const POINTS: usize = 500;
const DIMS: [usize; 4] = [2, 64, 384, 768];
const SHAPES: [Shape; 3] = [Shape::Isotropic, Shape::Decaying, Shape::Spiked];
/// A shift of this many deviations, and within how many points it should be reported.
const SHIFTS: [(f64, usize); 2] = [(2.0, 5), (1.0, 15)];
/// Points before the change.
const TIMES: [usize; 4] = [20, 50, 100, 250];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let mut number = |default| arguments.next().and_then(|it| it.parse().ok()).unwrap_or(default);
    let (streams, seed) = (number(1000), number(1000) as u64);
    match what.as_str() {
        "alarms" => alarms(streams, seed, &[Law::Normal]),
        "others" => alarms(
            streams,
            seed,
            &[Law::HeavyTails, Law::HeavyPoints, Law::Autoregressive(0.3)],
        ),
        "shifts" => shifts(streams, seed),
        "bound" => bounds(streams, seed),
        _ => eprintln!("bocpd_study alarms|shifts|others|bound [STREAMS] [SEED]"),
    }
}

fn alarms(streams: usize, seed: u64, laws: &[Law]) {
    println!("| law | D | shape | series that alarm | alarms in all |");
    println!("|---|---|---|---|---|");
    for &law in laws {
        for (dims, shape) in cells() {
            let mut source = Source::new(seed);
            let counts: Vec<usize> = (0..streams)
                .map(|_| reports(&mut source, law, dims, shape, None, POINTS).len())
                .collect();
            let alarmed = counts.iter().filter(|&&n| n > 0).count();
            println!(
                "| {law:?} | {dims} | {shape:?} | {:.2} % | {} |",
                100.0 * alarmed as f64 / streams as f64,
                counts.iter().sum::<usize>()
            );
        }
    }
}

fn shifts(streams: usize, seed: u64) {
    println!("| shift | D | shape | within | after 20 | after 50 | after 100 | after 250 | all |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (delta, within) in SHIFTS {
        for (dims, shape) in cells() {
            let mut source = Source::new(seed);
            let found = TIMES.map(|change| {
                let hit = (0..streams / TIMES.len()).filter(|_| {
                    let shift = Some((change, delta));
                    reports(&mut source, Law::Normal, dims, shape, shift, change + within)
                        .iter()
                        .any(|&detected| detected >= change)
                });
                100.0 * hit.count() as f64 / (streams / TIMES.len()) as f64
            });
            let [a, b, c, d] = found;
            let all = found.iter().sum::<f64>() / found.len() as f64;
            println!(
                "| {delta} | {dims} | {shape:?} | {within} | {a:.1} % | {b:.1} % | {c:.1} % | {d:.1} % | {all:.1} % |"
            );
        }
    }
}

fn bounds(streams: usize, seed: u64) {
    println!("| shift | within | direction known | direction unknown |");
    println!("|---|---|---|---|");
    for (delta, within) in SHIFTS {
        let [known, unknown] = bound::known(delta, within, streams, seed);
        println!(
            "| {delta} | {within} | {:.1} % | {:.1} % |",
            100.0 * known,
            100.0 * unknown
        );
    }
}

fn cells() -> impl Iterator<Item = (usize, Shape)> {
    DIMS.into_iter()
        .flat_map(|dims| SHAPES.into_iter().map(move |shape| (dims, shape)))
        // In two dimensions a spike of half the variance is the isotropic shape.
        .filter(|&cell| cell != (2, Shape::Spiked))
}

/// When (in points before it) changes are decided on, in one series; `shift` is (points before it, deviations).
fn reports(
    source: &mut Source,
    law: Law,
    dims: usize,
    shape: Shape,
    shift: Option<(usize, f64)>,
    points: usize,
) -> Vec<usize> {
    let deviations = shape.deviations(dims);
    let direction = source.direction(dims);
    let Ok(mut detector) = Detector::new(dims, Options::default()) else {
        return Vec::new();
    };
    let mut state = vec![0.0; dims];
    let mut point = vec![0f32; dims];
    let mut found = Vec::new();
    for t in 0..points {
        source.point(law, &deviations, &mut state);
        let by = match shift {
            Some((change, delta)) if t >= change => delta,
            _ => 0.0,
        };
        for ((p, x), u) in point.iter_mut().zip(&state).zip(&direction) {
            *p = (x + by * u) as f32;
        }
        if let Ok(Some(_)) = detector.update(t as i64, &point) {
            found.push(t);
        }
    }
    found
}
