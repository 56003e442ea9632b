//! Monte-Carlo study of the calibrated penalty: false alarms, power, autocorrelated noise, time.
//!
//! `penalty_study [level|power|ar|time|all] [DRAWS] [l2|cosine|rbf]`, defaults `all 400 l2`. Everything is seeded.

mod noise;
mod prototype;

use cvx_math::Path;
use cvx_math::changepoints::{Cost, Options, changepoints};
use noise::{Law, Source};
use std::error::Error;
use std::time::Instant;

const ALPHA: f64 = 0.05;
const DIMS: [usize; 4] = [2, 64, 384, 768];
const LENGTHS: [usize; 3] = [30, 100, 300];

struct Study {
    draws: usize,
    cost: Cost,
}

/// One signal as it would be stored.
fn stored(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&v| v as f32).collect()
}

impl Study {
    fn options(&self, penalty: Option<f64>, autocorrelated: bool) -> Options {
        Options {
            cost: self.cost,
            penalty,
            min_size: 2,
            alpha: ALPHA,
            autocorrelated,
        }
    }

    fn breaks(&self, values: &[f32], dims: usize, options: &Options) -> Vec<usize> {
        let times: Vec<i64> = (0..(values.len() / dims) as i64).collect();
        let found = changepoints(Path::new(&times, values, dims), options, &mut || ());
        found
            .map(|d| d.change_points.iter().map(|c| c.index).collect())
            .unwrap_or_default()
    }

    /// Share of signals without change that show one.
    fn false_alarms(&self, law: Law, n: usize, dims: usize, autocorrelated: bool) -> f64 {
        let mut source = Source::new((n * 1000 + dims) as u64);
        let alarms = (0..self.draws)
            .filter(|_| {
                let values = stored(&source.noise(law, n, dims));
                !self
                    .breaks(&values, dims, &self.options(None, autocorrelated))
                    .is_empty()
            })
            .count();
        alarms as f64 / self.draws as f64
    }

    fn level(&self) {
        let bar = ALPHA + 2.0 * (ALPHA * (1.0 - ALPHA) / self.draws as f64).sqrt();
        println!(
            "share of signals without change that show one ({:?}; bar {bar:.4})",
            self.cost
        );
        println!(
            "{:<12}{:>6}{:>9}{:>9}{:>9}",
            "noise", "D", "n=30", "n=100", "n=300"
        );
        for law in Law::EXCHANGEABLE {
            for dims in DIMS {
                let shares = LENGTHS.map(|n| self.false_alarms(law, n, dims, false));
                let verdict = if shares.iter().all(|&s| s <= bar) {
                    ""
                } else {
                    "  above the bar"
                };
                println!(
                    "{:<12}{dims:>6}{:>9.4}{:>9.4}{:>9.4}{verdict}",
                    law.name(),
                    shares[0],
                    shares[1],
                    shares[2]
                );
            }
        }
    }

    fn autoregressive(&self) {
        println!("share of AR(1) signals without change that show one: as is / autocorrelated");
        println!(
            "{:<12}{:>6}{:>18}{:>18}{:>18}",
            "noise", "D", "n=30", "n=100", "n=300"
        );
        for phi in [0.0, 0.2, 0.5, 0.8] {
            for dims in [2, 64, 384] {
                let law = Law::Autoregressive(phi);
                let cell = LENGTHS.map(|n| {
                    let (plain, aware) = (
                        self.false_alarms(law, n, dims, false),
                        self.false_alarms(law, n, dims, true),
                    );
                    format!("{plain:.4}/{aware:.4}")
                });
                println!(
                    "{:<12}{dims:>6}{:>18}{:>18}{:>18}",
                    law.name(),
                    cell[0],
                    cell[1],
                    cell[2]
                );
            }
        }
    }

    /// `draws` signals of 60 points with a shift at 30.
    fn planted(&self, law: Law, dims: usize, delta: f64) -> Vec<Vec<f32>> {
        let mut source = Source::new((delta * 1e4) as u64 * 1000 + dims as u64);
        (0..self.draws)
            .map(|_| {
                let mut x = source.noise(law, 60, dims);
                source.shift(&mut x, law, dims, 30, delta);
                stored(&x)
            })
            .collect()
    }

    fn prototype(&self, values: &[f32], dims: usize) -> f64 {
        let times: Vec<i64> = (0..(values.len() / dims) as i64).collect();
        prototype::penalty(Path::new(&times, values, dims), ALPHA)
    }

    /// The least factor on the prototype's penalty under which `values` shows no change.
    fn silent_factor(&self, values: &[f32], dims: usize, penalty: f64) -> f64 {
        let (mut low, mut high) = (0.0, 8.0);
        for _ in 0..20 {
            let middle = (low + high) / 2.0;
            let shows = !self
                .breaks(values, dims, &self.options(Some(penalty * middle), false))
                .is_empty();
            if shows { low = middle } else { high = middle }
        }
        high
    }

    /// Shift at which 95 % are found within two points: straight line between the two grid points around it.
    fn power(&self) {
        println!("n = 60, one shift in the middle: share found within 2 points of its place, by delta");
        for (law, dims, deltas) in [
            (Law::Isotropic, 2, [0.5, 0.7, 0.9, 1.1, 1.3, 1.5]),
            (Law::Isotropic, 64, [0.2, 0.25, 0.3, 0.35, 0.4, 0.5]),
            (Law::Isotropic, 384, [0.12, 0.15, 0.18, 0.21, 0.25, 0.5]),
            (Law::Isotropic, 768, [0.1, 0.12, 0.14, 0.16, 0.2, 0.5]),
            (Law::Anisotropic, 64, [0.3, 0.4, 0.5, 0.6, 0.7, 1.0]),
            (Law::Anisotropic, 384, [0.2, 0.3, 0.4, 0.5, 0.6, 1.0]),
            (Law::Anisotropic, 768, [0.2, 0.3, 0.35, 0.4, 0.5, 1.0]),
            (Law::StudentCoordinates, 384, [0.12, 0.15, 0.18, 0.21, 0.25, 0.5]),
            (Law::StudentPoints, 2, [0.5, 0.7, 0.9, 1.1, 1.3, 1.5]),
            (Law::StudentPoints, 384, [0.2, 0.3, 0.4, 0.5, 0.6, 1.0]),
        ] {
            self.power_row(law, dims, &deltas);
        }
    }

    fn power_row(&self, law: Law, dims: usize, deltas: &[f64]) {
        let found = |values: &[f32], penalty: Option<f64>| {
            self.breaks(values, dims, &self.options(penalty, false))
                .iter()
                .any(|b| b.abs_diff(30) <= 2)
        };
        let silent = self.planted(law, dims, 0.0);
        let alarms = |penalty: &dyn Fn(&[f32]) -> Option<f64>| {
            let count = silent
                .iter()
                .filter(|v| !self.breaks(v, dims, &self.options(penalty(v), false)).is_empty())
                .count();
            count as f64 / self.draws as f64
        };
        let own = alarms(&|_| None);
        let mut factors: Vec<f64> = silent
            .iter()
            .map(|v| self.silent_factor(v, dims, self.prototype(v, dims)))
            .collect();
        factors.sort_by(f64::total_cmp);
        let same = factors[(((1.0 - own) * self.draws as f64) as usize).min(self.draws - 1)];
        println!("{} D={dims}: deltas {deltas:?}", law.name());
        type Rule<'a> = Box<dyn Fn(&[f32]) -> Option<f64> + 'a>;
        let rules: [(&str, f64, Rule<'_>); 3] = [
            ("cvx", own, Box::new(|_| None)),
            (
                "prototype",
                alarms(&|v| Some(self.prototype(v, dims))),
                Box::new(|v| Some(self.prototype(v, dims))),
            ),
            (
                "prototype*",
                own,
                Box::new(move |v| Some(same * self.prototype(v, dims))),
            ),
        ];
        for (name, false_alarms, rule) in rules {
            let shares: Vec<f64> = deltas
                .iter()
                .map(|&delta| {
                    let signals = self.planted(law, dims, delta);
                    signals.iter().filter(|v| found(v, rule(v))).count() as f64 / self.draws as f64
                })
                .collect();
            let row: Vec<String> = shares.iter().map(|s| format!("{s:.3}")).collect();
            println!(
                "  {name:<11} false alarms {false_alarms:.4}  {}  delta(95 %) {:.3}",
                row.join(" "),
                crossing(deltas, &shares)
            );
        }
    }

    fn time(&self) {
        println!("time of one call with a calibrated penalty, D = 64");
        for n in [10, 30, 60, 100, 300, 512, 1000, 3000, 10000] {
            let values = stored(&Source::new(n as u64).noise(Law::Isotropic, n, 64));
            for autocorrelated in [false, true] {
                let started = Instant::now();
                let options = self.options(None, autocorrelated);
                let breaks = self.breaks(&values, 64, &options).len();
                let took = started.elapsed().as_secs_f64() * 1e3;
                println!("n={n:<6} autocorrelated={autocorrelated:<5} {took:>9.2} ms  {breaks} breaks");
            }
        }
    }
}

fn crossing(deltas: &[f64], shares: &[f64]) -> f64 {
    let Some(at) = shares.iter().position(|&s| s >= 0.95) else {
        return f64::NAN;
    };
    if at == 0 {
        return deltas[0];
    }
    let part = (0.95 - shares[at - 1]) / (shares[at] - shares[at - 1]);
    deltas[at - 1] + part * (deltas[at] - deltas[at - 1])
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let what = args.first().map_or("all", String::as_str);
    let draws = args.get(1).map(|d| d.parse()).transpose()?.unwrap_or(400);
    let cost = match args.get(2).map(String::as_str) {
        None | Some("l2") => Cost::L2,
        Some("cosine") => Cost::Cosine,
        Some("rbf") => Cost::Rbf { gamma: None },
        Some(other) => return Err(format!("unknown cost {other}").into()),
    };
    let study = Study { draws, cost };
    for (name, part) in [
        ("level", Study::level as fn(&Study)),
        ("power", Study::power),
        ("ar", Study::autoregressive),
        ("time", Study::time),
    ] {
        if what == name || what == "all" {
            part(&study);
        }
    }
    Ok(())
}
