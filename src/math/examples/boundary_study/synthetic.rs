//! Worlds with a known retrain: the new model rotates, scales and shifts the vectors and adds noise, of which
//! a share is common to all vectors of an entity.

use crate::noise::{Law, Source};
use cvx_math::Path;
use cvx_math::align::{self, Choice, Map, Method, Pairs};
use cvx_math::boundary::{Boundary, Classification, ErrorModel, ModelChangePoint, model_changepoints};
use cvx_math::changepoints::{Options, changepoints};
use std::error::Error;

pub const DIMS: usize = 384;
/// Points on each side of the boundary.
pub const SIDE: usize = 30;
const OVERLAP: usize = 300;
/// Variance between entities over that of the noise within them.
const BETWEEN: f64 = 0.5;

/// What a retrain does beside rotation, scale and shift.
#[derive(Clone, Copy)]
pub struct Retrain {
    pub law: Law,
    /// Standard deviation of the noise of the new model over that of its vectors without it, all coordinates
    /// alike.
    pub noise: f64,
    /// Share of the noise's variance that all vectors of an entity have in common.
    pub common: f64,
    pub method: Method,
}

pub struct World {
    retrain: Retrain,
    source: Source,
    rotation: Vec<Vec<f64>>,
    shift: Vec<f64>,
    map: Map,
    error: ErrorModel,
}

/// One trajectory: wholly in the canonical version, and with the points after the boundary projected.
pub struct Case {
    pub wholly: Vec<f32>,
    pub canonical: Vec<f32>,
}

pub struct Outcome {
    /// Whether the trajectory wholly in the canonical version has a change point within a point of the
    /// boundary.
    pub judge: bool,
    pub real: bool,
    pub confidence: f64,
    /// Change points away from the boundary, of the judge and found.
    pub away: [usize; 2],
}

impl World {
    pub fn new(seed: u64, retrain: Retrain) -> Result<World, Box<dyn Error>> {
        let mut source = Source::new(seed);
        let rotation = rotation(&mut source);
        let shift = source.noise(Law::Isotropic, 1, DIMS);
        let mut world = World {
            retrain,
            source,
            rotation,
            shift,
            map: Map::identity(DIMS),
            error: ErrorModel::UNKNOWN,
        };
        let (mut from, mut to, mut entity) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..OVERLAP {
            let points = world.entity(SIDE);
            from.extend(world.retrained(&points));
            to.extend(points.iter().map(|&v| v as f32));
            entity.extend([number as u32; SIDE]);
        }
        let pairs = Pairs {
            from: &from,
            to: &to,
            from_dims: DIMS,
            to_dims: DIMS,
            entity: &entity,
        };
        let fit = align::fit(&pairs, Choice::One(retrain.method), &mut || ())?;
        let held: Vec<u32> = fit.held_out.iter().map(|h| entity[h.pair]).collect();
        let truth = fit
            .held_out
            .iter()
            .flat_map(|h| &to[h.pair * DIMS..(h.pair + 1) * DIMS]);
        let truth: Vec<f32> = truth.copied().collect();
        world.error = ErrorModel::of_pairs(&fit.residuals, &truth, &held, DIMS).ok_or("nothing held out")?;
        world.map = fit.forward;
        Ok(world)
    }

    /// `count` points of a new entity.
    fn entity(&mut self, count: usize) -> Vec<f64> {
        let mean = self.source.noise(self.retrain.law, 1, DIMS);
        let mut points = self.source.noise(self.retrain.law, count, DIMS);
        for point in points.chunks_exact_mut(DIMS) {
            point
                .iter_mut()
                .zip(&mean)
                .for_each(|(p, m)| *p += BETWEEN.sqrt() * m);
        }
        points
    }

    /// The same entity's points in the new model.
    fn retrained(&mut self, points: &[f64]) -> Vec<f32> {
        let count = points.len() / DIMS;
        let trace = self.retrain.law.trace(DIMS) * (1.0 + BETWEEN);
        let deviation = self.retrain.noise * (trace / DIMS as f64).sqrt();
        let own = self.source.noise(Law::Isotropic, count, DIMS);
        let common = self.source.noise(Law::Isotropic, 1, DIMS);
        let (by_common, by_own) = (self.retrain.common.sqrt(), (1.0 - self.retrain.common).sqrt());
        let mut out = Vec::with_capacity(points.len());
        for (point, own) in points.chunks_exact(DIMS).zip(own.chunks_exact(DIMS)) {
            for (j, row) in self.rotation.iter().enumerate() {
                let turned: f64 = row.iter().zip(point).map(|(r, p)| r * p).sum();
                let noise = deviation * (by_common * common[j] + by_own * own[j]);
                out.push((1.7 * (turned + noise) + self.shift[j]) as f32);
            }
        }
        out
    }

    /// A trajectory with a shift of `delta` noise standard deviations at the boundary.
    pub fn case(&mut self, delta: f64) -> Case {
        let law = self.retrain.law;
        let mut points = self.entity(2 * SIDE);
        self.source.shift(&mut points, law, DIMS, SIDE, delta);
        let after = self.retrained(&points[SIDE * DIMS..]);
        let wholly: Vec<f32> = points.iter().map(|&v| v as f32).collect();
        let mut canonical = wholly.clone();
        self.map.apply_rows(&after, &mut canonical[SIDE * DIMS..]);
        Case { wholly, canonical }
    }

    pub fn outcome(&self, case: &Case) -> Result<Outcome, Box<dyn Error>> {
        let times: Vec<i64> = (0..2 * SIDE as i64).collect();
        let options = Options::default();
        let judge = changepoints(Path::new(&times, &case.wholly, DIMS), &options, &mut || ())?;
        let boundary = Boundary {
            index: SIDE,
            error: self.error,
        };
        let path = Path::new(&times, &case.canonical, DIMS);
        let found = model_changepoints(path, &[boundary], &options, &mut || ())?;
        let at = |c: &&ModelChangePoint| c.boundary.is_some();
        let verdict = found.iter().find(at).ok_or("no verdict")?;
        Ok(Outcome {
            judge: judge.change_points.iter().any(|c| c.index.abs_diff(SIDE) <= 1),
            real: verdict.classification == Classification::RealChange,
            confidence: verdict.confidence,
            away: [
                judge
                    .change_points
                    .iter()
                    .filter(|c| c.index.abs_diff(SIDE) > 1)
                    .count(),
                found.len() - 1,
            ],
        })
    }

    /// A size of change: none with probability 1/2, else half-Cauchy.
    pub fn any_delta(&mut self) -> f64 {
        let [none, size] = [0, 1].map(|_| {
            let normal = self.source.noise(Law::Isotropic, 2, 1);
            (normal[0].powi(2) + normal[1].powi(2)) / 2.0
        });
        let (none, size) = ((-none).exp(), (-size).exp());
        if none < 0.5 {
            0.0
        } else {
            (std::f64::consts::FRAC_PI_2 * size.min(0.999)).tan()
        }
    }
}

/// Random orthonormal rows (Gram and Schmidt, twice).
fn rotation(source: &mut Source) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = Vec::new();
    while rows.len() < DIMS {
        let mut row = source.noise(Law::Isotropic, 1, DIMS);
        for _ in 0..2 {
            for other in &rows {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.iter_mut().for_each(|v| *v /= norm);
        rows.push(row);
    }
    rows
}
