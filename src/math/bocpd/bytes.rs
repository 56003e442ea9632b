//! A detector as bytes, little endian, the same on every machine; reading them checks all of it:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | 1 when the last point led to a report, 2 when it is suspect, else 0 |
//! | 2 | dims |
//! | 4 | reserved, 0 |
//! | 8 + 8 | hazard, threshold |
//! | 8 + 8 | number of points, time of the last |
//! | 8 + 8 | the noise's sums over pairs |
//! | 2 + 2 + 4 | number of squares, of runs, reserved (0) |
//! | 48 | where there is a report: ts, index, probability, run length, severity, log Bayes factor |
//! | 8 a square | squared lengths of the last differences, oldest first |
//! | 4 dims each | the first point, and the last points (5 at most), newest first |
//! | 40 a run | start, its time, prior weight, log weight, log Bayes factor |
//! | (8 or 4) dims a run | the means |
//! | 8 + (8 or 4) dims | weight and mean of the first run before the last point or the suspect ones |

use super::noise::{KEPT, Noise, WINDOW};
use super::rows::{Rows, width};
use super::runs::{RUN_BYTES, Run, Runs, most_runs};
use super::{Detector, Error, FEWEST_AFTER, Options, Report, check};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 64;
const REPORT_BYTES: usize = 48;

impl Detector {
    /// The whole state, to go on from.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        let flags = u8::from(self.reported.is_some()) + 2 * u8::from(self.runs.suspect);
        out.extend_from_slice(&[VERSION, flags]);
        out.extend_from_slice(&(self.dims as u16).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let float = |out: &mut Vec<u8>, x: f64| out.extend_from_slice(&x.to_le_bytes());
        float(&mut out, self.options.hazard);
        float(&mut out, self.options.threshold);
        out.extend_from_slice(&self.points.to_le_bytes());
        out.extend_from_slice(&self.last_ts.to_le_bytes());
        float(&mut out, self.noise.pairs);
        float(&mut out, self.noise.aligned);
        out.extend_from_slice(&(self.noise.squares.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.runs.runs.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        if let Some(report) = &self.reported {
            out.extend_from_slice(&report.ts.to_le_bytes());
            out.extend_from_slice(&(report.index as u64).to_le_bytes());
            float(&mut out, report.probability);
            out.extend_from_slice(&(report.run_length as u64).to_le_bytes());
            float(&mut out, report.severity);
            float(&mut out, report.log_bayes_factor);
        }
        self.noise.squares.iter().for_each(|&x| float(&mut out, x));
        push_f32(&mut out, &self.origin);
        self.noise.kept.iter().for_each(|p| push_f32(&mut out, p));
        for run in &self.runs.runs {
            out.extend_from_slice(&run.start.to_le_bytes());
            out.extend_from_slice(&run.start_ts.to_le_bytes());
            float(&mut out, run.prior_weight);
            float(&mut out, run.log_weight);
            float(&mut out, run.log_bayes_factor);
        }
        push_rows(&mut out, &self.runs.means);
        float(&mut out, self.runs.held_weight);
        push_rows(&mut out, &self.runs.held);
        out
    }

    fn size(&self) -> usize {
        let runs = self.runs.runs.len();
        HEADER_BYTES
            + if self.reported.is_some() { REPORT_BYTES } else { 0 }
            + 8 * self.noise.squares.len()
            + 4 * self.dims * (self.noise.kept.len() + usize::from(self.points > 0))
            + runs * (RUN_BYTES + self.dims * width(self.dims))
            + 8
            + self.dims * width(self.dims)
    }

    /// What `to_bytes` gave; an error for anything else that could not be gone on from.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader { bytes };
        let &[version, flags, d0, d1] = reader.take()?;
        if version != VERSION || flags > 2 || reader.take::<4>()? != &[0; 4] {
            return Err(corrupt("unknown version or flags"));
        }
        let dims = usize::from(u16::from_le_bytes([d0, d1]));
        let options = Options {
            hazard: reader.float()?,
            threshold: reader.float()?,
        };
        check(dims, &options).map_err(|error| corrupt(&error.to_string()))?;
        let points = reader.count()?;
        let last_ts = reader.time()?;
        let (pairs, aligned) = (reader.float()?, reader.float()?);
        let &[s0, s1, r0, r1, 0, 0, 0, 0] = reader.take::<8>()? else {
            return Err(corrupt("reserved bytes are not 0"));
        };
        let squares = usize::from(u16::from_le_bytes([s0, s1]));
        let runs = usize::from(u16::from_le_bytes([r0, r1]));
        let past = usize::try_from(points).map_err(|_| corrupt("too many points"))?;
        if squares != past.saturating_sub(1).min(WINDOW)
            || runs > most_runs(dims)
            || (runs == 0) != (points == 0)
            || !(aligned >= 0.0 && aligned <= pairs * (1.0 + 1e-9))
        {
            return Err(corrupt(
                "numbers of points, differences and runs that do not agree",
            ));
        }
        let reported = match flags {
            1 => Some(reader.report(points, last_ts)?),
            _ => None,
        };
        let squares = (0..squares)
            .map(|_| reader.float().and_then(|x| nonnegative(x, "square")))
            .collect::<Result<_, _>>()?;
        let origin = reader.floats(if points > 0 { dims } else { 0 })?;
        let kept = (0..past.min(KEPT))
            .map(|_| reader.floats(dims))
            .collect::<Result<_, _>>()?;
        let runs = reader.runs(runs, points, last_ts)?;
        if let Some(report) = &reported
            && !(runs.len() == 1 && runs[0].start == report.index as u64 && runs[0].start_ts == report.ts)
        {
            return Err(corrupt("a report that did not begin the run"));
        }
        let means = reader.rows(runs.len(), dims)?;
        let held_weight = reader.float()?;
        let held = reader.rows(usize::from(points > 0), dims)?;
        let within = 0.0..=past as f64;
        if !within.contains(&held_weight) || (flags == 2 && held_weight < 1.0) {
            return Err(corrupt("a mean that is of no point"));
        }
        if !reader.bytes.is_empty() {
            return Err(corrupt("bytes are left over"));
        }
        Ok(Detector {
            dims,
            options,
            points,
            last_ts,
            noise: Noise {
                dims,
                squares,
                pairs,
                aligned,
                kept,
            },
            origin,
            runs: Runs {
                dims,
                runs,
                means,
                suspect: flags == 2,
                held,
                held_weight,
            },
            reported,
        })
    }
}

fn push_f32(out: &mut Vec<u8>, values: &[f32]) {
    out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
}

fn push_rows(out: &mut Vec<u8>, rows: &Rows) {
    match rows {
        Rows::Wide(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Rows::Narrow(v) => push_f32(out, v),
    }
}

fn corrupt(problem: &str) -> Error {
    Error::Corrupt {
        problem: problem.to_owned(),
    }
}

fn nonnegative(x: f64, what: &str) -> Result<f64, Error> {
    if x >= 0.0 {
        Ok(x)
    } else {
        Err(corrupt(&format!("{what} {x}")))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let (part, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or_else(|| corrupt("too few bytes"))?;
        self.bytes = rest;
        Ok(part)
    }

    fn count(&mut self) -> Result<u64, Error> {
        let count = u64::from_le_bytes(*self.take()?);
        // Within what a float8 counts exactly, so that nothing computed from it overflows.
        if count < 1 << 53 {
            Ok(count)
        } else {
            Err(corrupt("too many points"))
        }
    }

    fn time(&mut self) -> Result<i64, Error> {
        Ok(i64::from_le_bytes(*self.take()?))
    }

    fn float(&mut self) -> Result<f64, Error> {
        let x = f64::from_le_bytes(*self.take()?);
        if x.is_finite() {
            Ok(x)
        } else {
            Err(corrupt("a number is not finite"))
        }
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, Error> {
        let size = count.checked_mul(4).filter(|&size| size <= self.bytes.len());
        let Some(size) = size else {
            return Err(corrupt("too few bytes"));
        };
        let (part, rest) = self.bytes.split_at(size);
        self.bytes = rest;
        let values: Vec<f32> = part
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect();
        if crate::kernels::all_finite(&values) {
            Ok(values)
        } else {
            Err(corrupt("a number is not finite"))
        }
    }

    fn rows(&mut self, count: usize, dims: usize) -> Result<Rows, Error> {
        Ok(match Rows::new(dims) {
            Rows::Wide(_) => Rows::Wide(
                (0..count * dims)
                    .map(|_| self.float())
                    .collect::<Result<_, _>>()?,
            ),
            Rows::Narrow(_) => Rows::Narrow(self.floats(count * dims)?),
        })
    }

    fn report(&mut self, points: u64, detected_at: i64) -> Result<Report, Error> {
        let ts = self.time()?;
        let index = self.count()?;
        let probability = self.float()?;
        let run_length = self.count()?;
        let severity = self.float()?;
        let log_bayes_factor = nonnegative(self.float()?, "log Bayes factor")?;
        let unit = 0.0..=1.0;
        if ts > detected_at
            || run_length < FEWEST_AFTER
            || index == 0
            || index + run_length != points
            || !unit.contains(&probability)
            || !unit.contains(&severity)
        {
            return Err(corrupt("a report that cannot be"));
        }
        Ok(Report {
            ts,
            index: index as usize,
            detected_at,
            probability,
            run_length: run_length as usize,
            severity,
            log_bayes_factor,
        })
    }

    fn runs(&mut self, count: usize, points: u64, last_ts: i64) -> Result<Vec<Run>, Error> {
        let mut runs: Vec<Run> = Vec::with_capacity(count);
        for i in 0..count {
            let run = Run {
                start: self.count()?,
                start_ts: self.time()?,
                prior_weight: self.float()?,
                log_weight: self.float()?,
                log_bayes_factor: self.float()?,
            };
            // Two points at least lie before the first change.
            let in_order = match (runs.first(), runs.last()) {
                (Some(first), Some(before)) => {
                    run.start >= first.start + 2 && run.start > before.start && run.start_ts > before.start_ts
                }
                _ => true,
            };
            let prior = if i == 0 {
                run.prior_weight <= 0.0 && run.prior_weight + (points.saturating_sub(run.start)) as f64 >= 1.0
            } else {
                run.prior_weight > 0.0 && run.prior_weight <= 1.0
            };
            if !in_order
                || !prior
                || run.start >= points
                || run.start_ts > last_ts
                || !(-1e300..=1e-6).contains(&run.log_weight)
            {
                return Err(corrupt("a run that cannot be"));
            }
            runs.push(run);
        }
        Ok(runs)
    }
}
