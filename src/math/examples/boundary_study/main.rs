//! Study of verdicts at boundaries of model versions. Everything is seeded.
//!
//! `boundary_study verdicts [WORLDS] [CASES]`: share judged `RealChange` by size of change, kind of retrain
//! and method, over WORLDS retrains of CASES trajectories for each size; defaults 5 and 20.
//! `boundary_study calibration [WORLDS] [CASES]`: accuracy by bin of confidence, changes of random size.
//! `boundary_study file FILE`: the verdicts on trajectories made elsewhere (see `arrays`).

mod arrays;
#[path = "../penalty_study/noise.rs"]
#[allow(dead_code, reason = "shared with another study, which uses all of it")]
mod noise;
mod synthetic;

use cvx_math::align::Method;
use cvx_math::changepoints::Options;
use noise::Law;
use std::error::Error;
use synthetic::{Outcome, Retrain, World};

const SIZES: [f64; 4] = [0.0, 0.5, 1.0, 2.0];
const BINS: usize = 5;

fn retrains() -> Vec<(String, Retrain)> {
    let mut all = Vec::new();
    for (law, name) in [(Law::Isotropic, "isotropic"), (Law::Anisotropic, "j^-0.7")] {
        for method in [Method::Procrustes, Method::Affine] {
            for noise in [0.02, 0.1, 0.3] {
                for common in [0.0, 0.5] {
                    let retrain = Retrain {
                        law,
                        noise,
                        common,
                        method,
                    };
                    let percent = 100.0 * noise;
                    all.push((
                        format!("{name:<10} {method:<11?}{percent:>3.0} % noise, {common:.1} in common"),
                        retrain,
                    ));
                }
            }
        }
    }
    all
}

fn verdicts(worlds: usize, cases: usize) -> Result<(), Box<dyn Error>> {
    println!(
        "share RealChange (judge: change found wholly in the canonical version) at delta {SIZES:?}, {} each",
        worlds * cases
    );
    for (name, retrain) in retrains() {
        let mut cells = Vec::new();
        let mut away = [0, 0];
        let mut made = Vec::new();
        for seed in 0..worlds {
            made.push(World::new(seed as u64 + 1, retrain)?);
        }
        for delta in SIZES {
            let (mut real, mut judge) = (0, 0);
            for world in &mut made {
                for _ in 0..cases {
                    let case = world.case(delta);
                    let outcome = world.outcome(&case)?;
                    real += usize::from(outcome.real);
                    judge += usize::from(outcome.judge);
                    away[0] += outcome.away[0];
                    away[1] += outcome.away[1];
                }
            }
            let share = |count: usize| count as f64 / (worlds * cases) as f64;
            cells.push(format!("{:.3} ({:.3})", share(real), share(judge)));
        }
        println!(
            "{name}  {}  elsewhere {} ({})",
            cells.join("  "),
            away[1],
            away[0]
        );
    }
    Ok(())
}

fn calibration(worlds: usize, cases: usize) -> Result<(), Box<dyn Error>> {
    println!(
        "accuracy by confidence from 0.5 to 1, {} each: cases, mean confidence, accuracy",
        worlds * cases
    );
    let mut all: Vec<(Outcome, f64)> = Vec::new();
    for (kind, (name, retrain)) in retrains().into_iter().enumerate() {
        let mut outcomes = Vec::new();
        for world in 0..worlds {
            let mut world = World::new((kind * worlds + world) as u64 + 1, retrain)?;
            for _ in 0..cases {
                let delta = world.any_delta();
                let case = world.case(delta);
                outcomes.push((world.outcome(&case)?, delta));
            }
        }
        print(&name, &outcomes);
        all.extend(outcomes);
    }
    print("all", &all);
    Ok(())
}

fn print(name: &str, outcomes: &[(Outcome, f64)]) {
    type Right = fn(&Outcome, f64) -> bool;
    let truths: [(&str, Right); 2] = [
        ("judge", |o, _| o.real == o.judge),
        ("delta", |o, d| o.real == (d > 0.0)),
    ];
    println!("{name}");
    for (truth, right) in truths {
        let mut cells = Vec::new();
        for bin in 0..BINS {
            let inside = |o: &&(Outcome, f64)| {
                (((o.0.confidence - 0.5) * 2.0 * BINS as f64) as usize).min(BINS - 1) == bin
            };
            let chosen: Vec<&(Outcome, f64)> = outcomes.iter().filter(inside).collect();
            let mean = |value: &dyn Fn(&&(Outcome, f64)) -> f64| {
                chosen.iter().map(value).sum::<f64>() / chosen.len() as f64
            };
            if chosen.is_empty() {
                cells.push("   0            ".to_string());
                continue;
            }
            cells.push(format!(
                "{:>4} {:.2} {:.2}",
                chosen.len(),
                mean(&|o| o.0.confidence),
                mean(&|o| f64::from(u8::from(right(&o.0, o.1))))
            ));
        }
        println!("  {truth}  {}", cells.join("   "));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| args.get(place).map_or(Ok(default), |a| a.parse());
    match args.first().map(String::as_str) {
        Some("verdicts") => verdicts(number(1, 5)?, number(2, 20)?),
        Some("calibration") => calibration(number(1, 5)?, number(2, 20)?),
        Some("file") => arrays::run(args.get(1).ok_or("file FILE")?, &Options::default()),
        _ => Err("usage: boundary_study verdicts|calibration [WORLDS] [CASES] | file FILE".into()),
    }
}
