//! Seeded rows of known structure.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

pub struct Source(Pcg64Mcg);

impl Source {
    pub fn new(seed: u64) -> Self {
        Source(Pcg64Mcg::seed_from_u64(seed))
    }

    /// A standard normal number (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let mut uniform = || ((self.0.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    }

    fn normals(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.normal()).collect()
    }

    /// `few` of `0..count` without replacement, in random order.
    pub fn choose(&mut self, count: usize, few: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        let few = few.min(count);
        for i in 0..few {
            let j = i + (self.0.next_u64() % (count - i) as u64) as usize;
            all.swap(i, j);
        }
        all.truncate(few);
        all
    }

    /// `rank` random directions of length about one, a row each.
    fn directions(&mut self, rank: usize, dims: usize) -> Vec<f64> {
        let scale = 1.0 / (dims as f64).sqrt();
        self.normals(rank * dims).iter().map(|x| x * scale).collect()
    }

    /// A space: a mean, and directions with standard deviations falling from 1 as the root of their number.
    fn space(&mut self, dims: usize, rank: usize, mean: f64) -> Space {
        let mut directions = self.directions(rank, dims);
        for (k, direction) in directions.chunks_exact_mut(dims).enumerate() {
            direction.iter_mut().for_each(|x| *x /= ((k + 1) as f64).sqrt());
        }
        let mut centre = self.directions(1, dims);
        centre.iter_mut().for_each(|x| *x *= mean);
        Space { centre, directions }
    }

    fn draw(&mut self, space: &Space, noise: f64) -> Vec<f64> {
        let dims = space.centre.len();
        let mut row = space.centre.clone();
        for direction in space.directions.chunks_exact(dims) {
            let by = self.normal();
            row.iter_mut().zip(direction).for_each(|(r, d)| *r += by * d);
        }
        row.iter_mut().for_each(|r| *r += noise * self.normal());
        row
    }

    /// `count` rows, the last `second` of them of an unrelated space.
    pub fn spaces(&mut self, count: usize, dims: usize, second: usize) -> Vec<f32> {
        let rank = dims.min(100);
        let [a, b] = [0, 1].map(|_| self.space(dims, rank, 1.0));
        (0..count)
            .flat_map(|i| self.draw(if i < count - second { &a } else { &b }, 0.02))
            .map(|x| x as f32)
            .collect()
    }
}

struct Space {
    centre: Vec<f64>,
    directions: Vec<f64>,
}

#[derive(Clone, Copy)]
pub enum Kind {
    /// Unrelated spaces, each with a mean of this length.
    Spaces(f64),
    /// Groups around centres of their own, with one covariance.
    Shared,
    /// The same, each group with a covariance of its own.
    Unshared,
    /// The same, equal in all directions.
    Round,
    /// One covariance, standard deviations falling as this power of the number of the direction, all of them.
    Falling(f64),
    /// A closed curve with noise.
    Curve,
    /// Rows of norms that vary by orders of magnitude, one covariance.
    Norms,
    /// Student-t rows, 3 degrees of freedom, one covariance.
    Heavy,
}

pub struct Law {
    pub dims: usize,
    count: usize,
    kind: Kind,
    groups: usize,
}

pub fn laws() -> Vec<Law> {
    let law = |dims, count, kind, groups| Law {
        dims,
        count,
        kind,
        groups,
    };
    let mut near_isotropic = Vec::new();
    for dims in [32, 64, 128, 384] {
        for count in [300, 2000] {
            for power in [0.02, 0.05, 0.1] {
                near_isotropic.push(law(dims, count, Kind::Falling(power), 1));
            }
        }
    }
    let mut laws = vec![
        law(384, 1000, Kind::Spaces(1.0), 2),
        law(384, 1000, Kind::Spaces(0.0), 2),
        law(384, 1000, Kind::Spaces(1.0), 3),
        law(64, 1000, Kind::Spaces(1.0), 2),
        law(1536, 400, Kind::Spaces(1.0), 2),
        law(384, 1000, Kind::Shared, 1),
        law(384, 1000, Kind::Shared, 2),
        law(384, 1000, Kind::Shared, 3),
        law(384, 1000, Kind::Shared, 8),
        law(384, 200, Kind::Shared, 2),
        law(384, 60, Kind::Shared, 2),
        law(64, 1000, Kind::Shared, 2),
        law(16, 1000, Kind::Shared, 2),
        law(2, 1000, Kind::Shared, 2),
        law(384, 1000, Kind::Unshared, 2),
        law(384, 1000, Kind::Unshared, 3),
        law(384, 1000, Kind::Unshared, 4),
        law(384, 1000, Kind::Unshared, 8),
        law(384, 1000, Kind::Round, 1),
        law(384, 1000, Kind::Round, 2),
        law(384, 1000, Kind::Round, 5),
        law(64, 1000, Kind::Round, 2),
        law(384, 100, Kind::Round, 1),
        law(64, 1000, Kind::Round, 1),
        law(768, 300, Kind::Round, 1),
        law(384, 1000, Kind::Falling(0.1), 1),
        law(384, 100, Kind::Falling(0.1), 1),
        law(384, 1000, Kind::Falling(0.25), 1),
        law(384, 300, Kind::Falling(0.25), 1),
        law(384, 100, Kind::Falling(0.25), 1),
        law(768, 300, Kind::Falling(0.25), 1),
        law(768, 60, Kind::Falling(0.5), 1),
        law(64, 1000, Kind::Falling(0.25), 1),
        law(64, 100, Kind::Falling(0.5), 1),
        law(384, 1000, Kind::Falling(0.25), 2),
        law(384, 300, Kind::Falling(0.5), 5),
        law(384, 1000, Kind::Curve, 1),
        law(384, 1000, Kind::Norms, 2),
        law(384, 1000, Kind::Heavy, 2),
    ];
    laws.append(&mut near_isotropic);
    laws
}

impl Law {
    pub fn name(&self) -> String {
        let what = match self.kind {
            Kind::Spaces(mean) => format!("spaces, mean {mean}"),
            Kind::Shared => "clusters, shared covariance".into(),
            Kind::Unshared => "clusters, own covariances".into(),
            Kind::Round => "clusters, isotropic".into(),
            Kind::Falling(power) => format!("one space falling as {power}"),
            Kind::Curve => "curve".into(),
            Kind::Norms => "wild norms, shared covariance".into(),
            Kind::Heavy => "heavy tails, shared covariance".into(),
        };
        format!("{} {what}, {} x {}", self.groups, self.count, self.dims)
    }

    /// Rows, and which are of the second space where there are two.
    pub fn draw(&self, source: &mut Source) -> (Vec<f32>, Option<Vec<bool>>) {
        let rank = self.dims.min(100);
        let mut shared = source.space(self.dims, rank, 1.0);
        if let Kind::Falling(power) = self.kind {
            let mut unit = vec![0.0; self.dims * self.dims];
            for k in 0..self.dims {
                unit[k * self.dims + k] = ((k + 1) as f64).powf(-power);
            }
            shared.directions = unit;
        }
        let groups: Vec<Space> = (0..self.groups)
            .map(|_| match self.kind {
                Kind::Spaces(mean) => source.space(self.dims, rank, mean),
                Kind::Unshared => source.space(self.dims, rank, 2.0),
                Kind::Round => source.space(self.dims, 0, 2.0),
                _ => Space {
                    centre: source.space(self.dims, 0, 2.0).centre,
                    directions: shared.directions.clone(),
                },
            })
            .collect();
        let group = |i: usize| i * self.groups / self.count;
        let rows = (0..self.count)
            .flat_map(|i| self.row(source, &groups[group(i)], i))
            .map(|x| x as f32)
            .collect();
        let two = matches!(self.kind, Kind::Spaces(_)) && self.groups == 2;
        (
            rows,
            two.then(|| (0..self.count).map(|i| group(i) == 1).collect()),
        )
    }

    fn row(&self, source: &mut Source, group: &Space, i: usize) -> Vec<f64> {
        let factor = match self.kind {
            Kind::Curve => {
                let (sin, cos) = (std::f64::consts::TAU * i as f64 / self.count as f64).sin_cos();
                let mut row: Vec<f64> = source.normals(self.dims).iter().map(|x| 0.01 * x).collect();
                row[0] += cos;
                row[1] += sin;
                return row;
            }
            Kind::Round => return source.draw(group, 1.0 / (self.dims as f64).sqrt()),
            Kind::Norms => (2.0 * source.normal()).exp(),
            Kind::Heavy => {
                let chi: f64 = source.normals(3).iter().map(|x| x * x).sum();
                let mut row = source.draw(group, 0.02);
                let by = (3.0 / chi).sqrt();
                row.iter_mut()
                    .zip(&group.centre)
                    .for_each(|(r, c)| *r = c + by * (*r - c));
                return row;
            }
            _ => 1.0,
        };
        let mut row = source.draw(group, 0.02);
        row.iter_mut().for_each(|r| *r *= factor);
        row
    }
}

/// A change of a space that keeps its basis.
#[derive(Clone, Copy)]
pub enum Change {
    Noise(f64),
    Shift(f64),
    Degrees(f64),
}

pub const CHANGES: [Change; 9] = [
    Change::Noise(0.1),
    Change::Noise(0.5),
    Change::Shift(0.2),
    Change::Shift(1.0),
    Change::Degrees(5.0),
    Change::Degrees(30.0),
    Change::Degrees(60.0),
    Change::Degrees(75.0),
    Change::Degrees(90.0),
];

impl Change {
    pub fn name(self) -> String {
        match self {
            Change::Noise(size) => format!("noise of length {size}"),
            Change::Shift(size) => format!("mean moved by {size}"),
            Change::Degrees(angle) => format!("every plane turned by {angle} degrees"),
        }
    }

    pub fn of(self, rows: &[f32], dims: usize) -> Vec<f32> {
        let mut source = Source::new(8);
        let shift = source.directions(1, dims);
        let order = source.choose(dims, dims);
        let mut out = rows.to_vec();
        for row in out.chunks_exact_mut(dims) {
            match self {
                Change::Noise(size) => {
                    let noise = source.directions(1, dims);
                    row.iter_mut()
                        .zip(noise)
                        .for_each(|(r, x)| *r += (size * x) as f32);
                }
                Change::Shift(size) => {
                    row.iter_mut()
                        .zip(&shift)
                        .for_each(|(r, x)| *r += (size * x) as f32);
                }
                Change::Degrees(angle) => {
                    let (sin, cos) = (angle.to_radians().sin() as f32, angle.to_radians().cos() as f32);
                    for pair in order.chunks_exact(2) {
                        let (x, y) = (row[pair[0]], row[pair[1]]);
                        row[pair[0]] = cos * x - sin * y;
                        row[pair[1]] = sin * x + cos * y;
                    }
                }
            }
        }
        out
    }
}
