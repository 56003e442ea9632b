//! Detection and false alarms of `mixture::two_spaces`.
//!
//! `mixture_study mix A B [DRAWS] [ROWS] [entity]`: B mixed into A, by share, at random and
//! from a date on; and each alone.
//! `mixture_study clusters A [DRAWS] [entity]`: few entities of A, and half of the rows from one entity.
//! `mixture_study changed A [DRAWS] [ROWS] [entity]`: A with a small change of itself, half and half.
//! `mixture_study synthetic [DRAWS]`: clusters and spaces of known structure.
//! `mixture_study time`: 1 000 and 10 000 rows.
//!
//! A and B are files of the same rows under two models, little endian: u32 rows, u32 dims, then i64 times
//! (microseconds), u32 entities, f32 vectors. With `entity` the entities are told. Everything is seeded.

mod synthetic;

use cvx_math::mixture::{Mixture, Sample, two_spaces};
use std::error::Error;
use std::time::Instant;
use synthetic::Source;

const ALPHA: f64 = 0.05;
const SHARES: [f64; 6] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5];

pub struct Table {
    dims: usize,
    times: Vec<i64>,
    entity: Vec<u32>,
    rows: Vec<f32>,
}

impl Table {
    fn read(path: &str) -> Result<Table, Box<dyn Error>> {
        let bytes = std::fs::read(path)?;
        let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        let count = u32::from_le_bytes(word(0).ok_or("no header")?) as usize;
        let dims = u32::from_le_bytes(word(4).ok_or("no header")?) as usize;
        if bytes.len() != 8 + count * (12 + 4 * dims) {
            return Err(format!("{path}: not {count} rows of {dims} numbers").into());
        }
        let (times, rest) = bytes[8..].split_at(8 * count);
        let (entity, rows) = rest.split_at(4 * count);
        Ok(Table {
            dims,
            times: times
                .as_chunks()
                .0
                .iter()
                .map(|&b| i64::from_le_bytes(b))
                .collect(),
            entity: entity
                .as_chunks()
                .0
                .iter()
                .map(|&b| u32::from_le_bytes(b))
                .collect(),
            rows: rows
                .as_chunks()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect(),
        })
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.rows[i * self.dims..(i + 1) * self.dims]
    }

    fn len(&self) -> usize {
        self.times.len()
    }

    fn take(&self, rows: &[usize]) -> Table {
        Table {
            dims: self.dims,
            times: rows.iter().map(|&i| self.times[i]).collect(),
            entity: rows.iter().map(|&i| self.entity[i]).collect(),
            rows: rows.iter().flat_map(|&i| self.row(i)).copied().collect(),
        }
    }

    fn judge(&self, with_entity: bool) -> Result<Mixture, Box<dyn Error>> {
        let sample = Sample {
            rows: &self.rows,
            dims: self.dims,
            times: Some(&self.times),
            entity: with_entity.then_some(&self.entity),
        };
        Ok(two_spaces(&sample, ALPHA, &mut || ())?)
    }
}

/// What a series of draws gave.
#[derive(Default)]
struct Tally {
    draws: usize,
    mixed: usize,
    judged: usize,
    /// Statistic less threshold: least and greatest.
    statistic: Vec<f64>,
    margin: Vec<f64>,
    wrong: Vec<f64>,
    dated: usize,
    date_right: usize,
}

impl Tally {
    fn add(&mut self, found: &Mixture, truth: Option<&[bool]>, since: Option<i64>) {
        self.draws += 1;
        self.mixed += usize::from(found.mixed);
        if let (Some(statistic), Some(threshold)) = (found.statistic, found.threshold) {
            self.judged += 1;
            self.statistic.push(statistic);
            self.margin.push(threshold);
        }
        if let Some(truth) = truth.filter(|_| found.mixed) {
            let off = truth.iter().zip(&found.second).filter(|(a, b)| a != b).count();
            let off = off as f64 / truth.len() as f64;
            self.wrong.push(off.min(1.0 - off));
        }
        self.dated += usize::from(found.since.is_some());
        self.date_right += usize::from(since.is_some() && found.since == since);
    }

    fn print(&self, name: &str) {
        let range = |values: &[f64]| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            match sorted.as_slice() {
                [] => "-".to_owned(),
                [low, .., high] => format!("{low:.3} {:.3} {high:.3}", sorted[sorted.len() / 2]),
                [one] => format!("{one:.3}"),
            }
        };
        println!(
            "{name:44} mixed {:3}/{} judged {:3}  statistic {:20} threshold {:20} mislabelled {:18} \
             dated {} right {}",
            self.mixed,
            self.draws,
            self.judged,
            range(&self.statistic),
            range(&self.margin),
            range(&self.wrong),
            self.dated,
            self.date_right
        );
    }
}

/// `rows` of `a`, those marked taken from `b`.
fn mixed(a: &Table, b: &Table, rows: &[usize], second: &[bool]) -> Table {
    let mut table = a.take(rows);
    for ((slot, &i), _) in table
        .rows
        .chunks_exact_mut(a.dims)
        .zip(rows)
        .zip(second)
        .filter(|&(_, &s)| s)
    {
        slot.copy_from_slice(b.row(i));
    }
    table
}

fn mix(a: &Table, b: &Table, draws: usize, size: usize, with_entity: bool) -> Result<(), Box<dyn Error>> {
    if a.dims != b.dims || a.len() != b.len() {
        return Err("the files hold different rows".into());
    }
    for (name, one) in [("first alone", a), ("second alone", b)] {
        let mut source = Source::new(1);
        let mut tally = Tally::default();
        for _ in 0..draws {
            tally.add(
                &one.take(&source.choose(one.len(), size)).judge(with_entity)?,
                None,
                None,
            );
        }
        tally.print(name);
    }
    for share in SHARES {
        for dated in [false, true] {
            let mut source = Source::new(2);
            let mut tally = Tally::default();
            for _ in 0..draws {
                let mut rows = source.choose(a.len(), size);
                let start = size - (share * size as f64).round() as usize;
                if dated {
                    rows.sort_by_key(|&i| a.times[i]);
                }
                let second: Vec<bool> = (0..size)
                    .map(|k| k >= start && (!dated || a.times[rows[k]] >= a.times[rows[start]]))
                    .collect();
                let since = dated.then(|| a.times[rows[start]]);
                tally.add(
                    &mixed(a, b, &rows, &second).judge(with_entity)?,
                    Some(&second),
                    since,
                );
            }
            let how = if dated { "from a date on" } else { "at random" };
            tally.print(&format!("share {share} {how}"));
        }
    }
    Ok(())
}

fn clusters(a: &Table, draws: usize, with_entity: bool) -> Result<(), Box<dyn Error>> {
    let mut entities: Vec<u32> = a.entity.clone();
    entities.sort_unstable();
    entities.dedup();
    for few in [2, 3, 5, 10] {
        let mut source = Source::new(3);
        let mut tally = Tally::default();
        for _ in 0..draws {
            let chosen = source.choose(entities.len(), few);
            let rows: Vec<usize> = (0..a.len())
                .filter(|&i| chosen.iter().any(|&e| entities[e] == a.entity[i]))
                .collect();
            tally.add(&a.take(&rows).judge(with_entity)?, None, None);
        }
        tally.print(&format!("rows of {few} entities"));
    }
    let mut source = Source::new(4);
    let mut tally = Tally::default();
    for _ in 0..draws {
        let one = entities[source.choose(entities.len(), 1)[0]];
        let (own, other): (Vec<usize>, Vec<usize>) = (0..a.len()).partition(|&i| a.entity[i] == one);
        let mut rows = own.clone();
        rows.extend(
            source
                .choose(other.len(), own.len())
                .into_iter()
                .map(|k| other[k]),
        );
        tally.add(&a.take(&rows).judge(with_entity)?, None, None);
    }
    tally.print("half of the rows of one entity");
    Ok(())
}

fn changed(a: &Table, draws: usize, size: usize, with_entity: bool) -> Result<(), Box<dyn Error>> {
    for change in synthetic::CHANGES {
        let b = Table {
            dims: a.dims,
            times: a.times.clone(),
            entity: a.entity.clone(),
            rows: change.of(&a.rows, a.dims),
        };
        let mut source = Source::new(5);
        let mut tally = Tally::default();
        for _ in 0..draws {
            let rows = source.choose(a.len(), size);
            let second: Vec<bool> = (0..size).map(|k| k >= size / 2).collect();
            tally.add(
                &mixed(a, &b, &rows, &second).judge(with_entity)?,
                Some(&second),
                None,
            );
        }
        tally.print(&change.name());
    }
    Ok(())
}

fn synthetic(draws: usize) -> Result<(), Box<dyn Error>> {
    for law in synthetic::laws() {
        let mut tally = Tally::default();
        let mut source = Source::new(6);
        for _ in 0..draws {
            let (rows, second) = law.draw(&mut source);
            let sample = Sample {
                rows: &rows,
                dims: law.dims,
                times: None,
                entity: None,
            };
            tally.add(&two_spaces(&sample, ALPHA, &mut || ())?, second.as_deref(), None);
        }
        tally.print(&law.name());
    }
    Ok(())
}

fn time() -> Result<(), Box<dyn Error>> {
    let mut source = Source::new(7);
    for dims in [384, 768, 3072] {
        for count in [1000, 10_000] {
            let rows = source.spaces(count, dims, count / 5);
            let sample = Sample {
                rows: &rows,
                dims,
                times: None,
                entity: None,
            };
            let (mut last, mut longest) = (Instant::now(), 0.0f64);
            let started = Instant::now();
            let found = two_spaces(&sample, ALPHA, &mut || {
                longest = longest.max(last.elapsed().as_secs_f64());
                last = Instant::now();
            })?;
            println!(
                "{count} x {dims}: {:.3} s, {:.1} ms at most between interrupts, mixed {} share {:.3}",
                started.elapsed().as_secs_f64(),
                1e3 * longest,
                found.mixed,
                found.share
            );
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let with_entity = args.last() == Some(&"entity");
    let args: Vec<&str> = args.into_iter().filter(|&arg| arg != "entity").collect();
    let number = |at: usize, default: usize| match args.get(at) {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    match args.as_slice() {
        ["mix", a, b, ..] => mix(
            &Table::read(a)?,
            &Table::read(b)?,
            number(3, 100)?,
            number(4, 1000)?,
            with_entity,
        ),
        ["clusters", a, ..] => clusters(&Table::read(a)?, number(2, 100)?, with_entity),
        ["changed", a, ..] => changed(&Table::read(a)?, number(2, 20)?, number(3, 1000)?, with_entity),
        ["synthetic", ..] => synthetic(number(1, 100)?),
        ["time"] => time(),
        _ => Err("usage: mixture_study mix|clusters|changed|synthetic|time ...".into()),
    }
}
