//! Two spaces in one column: seeded rows of known structure, and rows that tell nothing.

use cvx_math::Error;
use cvx_math::mixture::{Mixture, Sample, two_spaces};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

const ALPHA: f64 = 0.05;

struct Source(Pcg64Mcg);

/// A mean and some directions, a row each.
#[derive(Clone)]
struct Space {
    mean: Vec<f64>,
    directions: Vec<Vec<f64>>,
}

impl Space {
    /// Every plane of two neighbouring dimensions turned by this angle.
    fn turned(&self, degrees: f64) -> Space {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let turn = |v: &Vec<f64>| {
            let planes = v.as_chunks().0.iter();
            planes
                .flat_map(|[x, y]| [cos * x - sin * y, sin * x + cos * y])
                .collect()
        };
        Space {
            mean: turn(&self.mean),
            directions: self.directions.iter().map(turn).collect(),
        }
    }
}

impl Source {
    fn new(seed: u64) -> Self {
        Source(Pcg64Mcg::seed_from_u64(seed))
    }

    fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller (1958).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn vector(&mut self, dims: usize, length: f64) -> Vec<f64> {
        let by = length / (dims as f64).sqrt();
        (0..dims).map(|_| by * self.normal()).collect()
    }

    /// Directions of lengths falling as the root of their number, up to 80 of them.
    fn space(&mut self, dims: usize) -> Space {
        Space {
            mean: self.vector(dims, 1.0),
            directions: (1..=dims.min(80))
                .map(|k| self.vector(dims, 1.0 / (k as f64).sqrt()))
                .collect(),
        }
    }

    fn draw(&mut self, space: &Space) -> Vec<f32> {
        let mut row = space.mean.clone();
        for direction in &space.directions {
            let by = self.normal();
            row.iter_mut().zip(direction).for_each(|(r, d)| *r += by * d);
        }
        row.iter().map(|&x| (x + 0.01 * self.normal()) as f32).collect()
    }

    /// Rows of the spaces that `which` names.
    fn rows(&mut self, spaces: &[Space], which: &[usize]) -> Vec<f32> {
        which.iter().flat_map(|&k| self.draw(&spaces[k])).collect()
    }
}

fn judge(rows: &[f32], dims: usize) -> Mixture {
    judge_dated(rows, dims, None)
}

fn judge_dated(rows: &[f32], dims: usize, times: Option<&[i64]>) -> Mixture {
    let sample = Sample {
        rows,
        dims,
        times,
        entity: None,
    };
    let found = two_spaces(&sample, ALPHA, &mut || ()).expect("valid arguments");
    assert_eq!(found.second.len(), rows.len() / dims);
    assert!(found.statistic.is_none_or(f64::is_finite) && found.threshold.is_none_or(f64::is_finite));
    assert_eq!(found.statistic.is_some(), found.threshold.is_some());
    let marked = found.second.iter().filter(|&&s| s).count();
    assert!((found.share - marked as f64 / found.second.len().max(1) as f64).abs() < 1e-15);
    assert_eq!(found.mixed, marked > 0);
    found
}

/// Which of `count` rows are of the second space: every so many, from a random start.
fn scattered(source: &mut Source, count: usize, share: f64) -> Vec<usize> {
    (0..count)
        .map(|_| usize::from(source.uniform() <= share))
        .collect()
}

fn strays(found: &Mixture, truth: &[usize]) -> usize {
    found
        .second
        .iter()
        .zip(truth)
        .filter(|&(&s, &t)| usize::from(s) != t)
        .count()
}

#[test]
fn two_unrelated_spaces_are_told_apart_at_any_share() {
    let mut source = Source::new(1);
    for share in [0.1, 0.3, 0.45] {
        for (count, dims) in [(1000, 384), (600, 96)] {
            let spaces = [source.space(dims), source.space(dims)];
            let which = scattered(&mut source, count, share);
            let found = judge(&source.rows(&spaces, &which), dims);
            assert!(found.mixed, "{share} of {count} x {dims}: {found:?}");
            assert!(
                strays(&found, &which) * 100 <= count,
                "{share} of {count} x {dims}"
            );
            assert!((found.share - share).abs() < 0.05);
            assert_eq!(found.since, None);
        }
    }
}

#[test]
fn a_common_offset_hides_nothing() {
    let mut source = Source::new(2);
    let mut spaces = [source.space(256), source.space(256)];
    for space in &mut spaces {
        space.mean = vec![0.5; 256];
    }
    let which = scattered(&mut source, 800, 0.3);
    let found = judge(&source.rows(&spaces, &which), 256);
    assert!(found.mixed && strays(&found, &which) <= 8, "{found:?}");
}

#[test]
fn three_spaces_are_still_spaces() {
    let mut source = Source::new(3);
    let spaces = [source.space(256), source.space(256), source.space(256)];
    let which: Vec<usize> = (0..900).map(|i| i % 3).collect();
    assert!(judge(&source.rows(&spaces, &which), 256).mixed);
}

#[test]
fn clusters_of_one_space_are_not_spaces() {
    let mut source = Source::new(4);
    for (dims, count) in [(384, 1000), (384, 200), (64, 1000), (768, 60)] {
        for clusters in [1, 2, 3, 7] {
            let space = source.space(dims);
            let spaces: Vec<Space> = (0..clusters)
                .map(|_| Space {
                    mean: source.vector(dims, 2.0),
                    ..space.clone()
                })
                .collect();
            let which: Vec<usize> = (0..count).map(|i| i % clusters).collect();
            let found = judge(&source.rows(&spaces, &which), dims);
            assert!(!found.mixed, "{clusters} clusters, {count} x {dims}: {found:?}");
            assert!(found.statistic.is_some_and(|s| s > 0.15), "{found:?}");
        }
    }
}

#[test]
fn many_clusters_with_directions_of_their_own_are_not_spaces() {
    let mut source = Source::new(5);
    let spaces: Vec<Space> = (0..6).map(|_| source.space(256)).collect();
    let which: Vec<usize> = (0..1200).map(|i| i % 6).collect();
    assert!(!judge(&source.rows(&spaces, &which), 256).mixed);
}

#[test]
fn groups_around_one_mean_are_one_space() {
    let mut source = Source::new(18);
    let mut spaces = [source.space(256), source.space(256)];
    let which: Vec<usize> = (0..800).map(|i| i % 2).collect();
    assert!(judge(&source.rows(&spaces, &which), 256).mixed);
    spaces[1].mean = spaces[0].mean.clone();
    let found = judge(&source.rows(&spaces, &which), 256);
    assert!(!found.mixed, "{found:?}");
    assert!(
        found.statistic.is_some_and(|s| s.abs() < 0.02),
        "it is the means that tell: {found:?}"
    );
}

#[test]
fn a_space_equal_in_all_directions_is_not_mixed() {
    let mut source = Source::new(6);
    for dims in [48, 384] {
        for clusters in [1, 2, 4] {
            let means: Vec<Vec<f64>> = (0..clusters).map(|_| source.vector(dims, 2.0)).collect();
            let rows: Vec<f32> = (0..1000)
                .flat_map(|i| {
                    let noise = source.vector(dims, 1.0);
                    let mean = &means[i % clusters];
                    mean.iter()
                        .zip(noise)
                        .map(|(m, x)| (m + x) as f32)
                        .collect::<Vec<_>>()
                })
                .collect();
            assert!(
                !judge(&rows, dims).mixed,
                "{clusters} clusters, {dims} dimensions"
            );
        }
    }
}

#[test]
fn a_small_change_of_a_space_is_the_same_space() {
    let mut source = Source::new(7);
    let space = source.space(256);
    let which: Vec<usize> = (0..800).map(|i| i % 2).collect();
    for (degrees, mixed) in [(5.0, false), (30.0, false), (90.0, true)] {
        let spaces = [space.clone(), space.turned(degrees)];
        let found = judge(&source.rows(&spaces, &which), 256);
        assert_eq!(found.mixed, mixed, "{degrees} degrees: {found:?}");
    }
}

#[test]
fn a_date_is_found_when_one_parts_the_spaces() {
    let mut source = Source::new(8);
    let spaces = [source.space(256), source.space(256)];
    for (from, share) in [(900, 0.1), (500, 0.5), (200, 0.8)] {
        let mut order: Vec<usize> = (0..1000).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, (source.uniform() * i as f64) as usize);
        }
        let which: Vec<usize> = order.iter().map(|&i| usize::from(i >= from)).collect();
        let times: Vec<i64> = order.iter().map(|&i| i as i64 * 1_000_000 - 7).collect();
        let rows = source.rows(&spaces, &which);
        let found = judge_dated(&rows, 256, Some(&times));
        assert!(found.mixed, "from {from}");
        assert_eq!(found.since, Some(from as i64 * 1_000_000 - 7));
        assert_eq!(
            strays(&found, &which),
            0,
            "the later space is the second, the smaller or not"
        );
        assert!((found.share - share).abs() < 1e-9);
        // The same labels in an order that has nothing to do with them.
        let shuffled: Vec<i64> = (0..1000).map(|i| (i * 389) % 1000).collect();
        assert_eq!(judge_dated(&rows, 256, Some(&shuffled)).since, None);
    }
}

#[test]
fn rows_of_one_time_are_not_parted() {
    let mut source = Source::new(9);
    let spaces = [source.space(128), source.space(128)];
    let which: Vec<usize> = (0..600).map(|i| usize::from(i >= 300)).collect();
    let rows = source.rows(&spaces, &which);
    let found = judge_dated(&rows, 128, Some(&[5; 600]));
    assert!(found.mixed && found.since.is_none());
    let days: Vec<i64> = (0..600).map(|i| i / 10).collect();
    assert_eq!(judge_dated(&rows, 128, Some(&days)).since, Some(30));
}

#[test]
fn more_rows_than_are_looked_at_are_all_labelled() {
    let mut source = Source::new(10);
    let spaces = [source.space(96), source.space(96)];
    // Every other row: a sample at even steps would see one space only.
    let which: Vec<usize> = (0..6000).map(|i| i % 2).collect();
    let mut rows = source.rows(&spaces, &which);
    rows[96 * 17..96 * 18].fill(0.0);
    let found = judge(&rows, 96);
    assert!(
        found.mixed && strays(&found, &which) <= 61,
        "{}",
        strays(&found, &which)
    );
    assert!(!found.second[17], "a zero row is of no space");
}

#[test]
fn rows_of_one_entity_count_as_one() {
    let mut source = Source::new(11);
    // Fifty entities in each of two groups, eight rows of each that differ little.
    let mut draw = |spaces: &[Space; 2]| {
        let mut rows = Vec::new();
        for entity in 0..100 {
            let own = source.draw(&spaces[entity / 50]);
            for _ in 0..8 {
                let noise = source.vector(128, 0.2);
                rows.extend(own.iter().zip(noise).map(|(x, n)| x + n as f32));
            }
        }
        rows
    };
    let threshold = |rows: &[f32], entity: Option<&[u32]>| {
        let sample = Sample {
            rows,
            dims: 128,
            times: None,
            entity,
        };
        let found = two_spaces(&sample, ALPHA, &mut || ()).expect("valid arguments");
        found.threshold.expect("two clear groups")
    };
    let mut other = Source::new(12);
    let [one, two] = [other.space(128), other.space(128)];
    // Aligned in part, so that the error is that of the rows: where they move as one it is wider by nearly
    // root 8.
    let rows = draw(&[one.clone(), one.turned(60.0)]);
    let (alone, owner): (Vec<u32>, Vec<u32>) = (0..800).map(|i| (i, i / 8)).unzip();
    let by_row = threshold(&rows, None);
    let by_single = threshold(&rows, Some(&alone));
    assert!((by_single - by_row).abs() < 1e-12, "{by_single} {by_row}");
    let wider = (0.1 - threshold(&rows, Some(&owner))) / (0.1 - by_row);
    assert!((1.5..3.0).contains(&wider), "{wider}");
    // With one entity a side the rows are the blocks: else there would seem to be no error at all.
    let rows = draw(&[one, two]);
    let halves: Vec<u32> = (0..800).map(|i| i / 400).collect();
    assert!(threshold(&rows, Some(&halves)) <= threshold(&rows, None) + 1e-12);
}

#[test]
fn copies_and_scale_change_nothing() {
    let mut source = Source::new(12);
    let space = source.space(128);
    let mut rows = source.rows(&[space], &[0; 300]);
    let single = judge(&rows, 128);
    assert!(!single.mixed);
    // One row a thousand times over, and another with noise of rounding.
    let copied: Vec<f32> = rows[..128].repeat(1000);
    rows.extend(copied);
    for _ in 0..200 {
        let near: Vec<f32> = rows[128..256]
            .iter()
            .map(|x| x * (1.0 + 1e-6 * source.normal() as f32))
            .collect();
        rows.extend(near);
    }
    assert!(!judge(&rows, 128).mixed);
    let spaces = [source.space(128), source.space(128)];
    let which: Vec<usize> = (0..600).map(|i| usize::from(i % 3 == 0)).collect();
    let rows = source.rows(&spaces, &which);
    let plain = judge(&rows, 128);
    let scaled: Vec<f32> = rows
        .chunks_exact(128)
        .flat_map(|row| {
            let by = 2.0f32.powi((source.uniform() * 40.0) as i32 - 20);
            row.iter().map(move |x| x * by)
        })
        .collect();
    let scaled = judge(&scaled, 128);
    assert!(plain.mixed && scaled.mixed && plain.second == scaled.second);
    assert!((plain.statistic.unwrap_or(1.0) - scaled.statistic.unwrap_or(0.0)).abs() < 1e-9);
}

#[test]
fn rows_that_tell_nothing_are_not_judged() {
    let mut source = Source::new(13);
    let mut noise = |count: usize, dims: usize| -> Vec<f32> {
        (0..count * dims).map(|_| source.normal() as f32).collect()
    };
    let line: Vec<f32> = (0..1000)
        .flat_map(|i| (0..64).map(move |j| (i as f32) * (j as f32 + 1.0) - 500.0))
        .collect();
    let curve: Vec<f32> = (0..1000)
        .flat_map(|i| {
            let angle = std::f64::consts::TAU * f64::from(i) / 1000.0;
            (0..64).map(move |j| match j {
                0 => angle.cos() as f32,
                1 => angle.sin() as f32,
                _ => 0.001 * (f64::from(i * j) * 0.7).sin() as f32,
            })
        })
        .collect();
    let mut padded = noise(500, 64);
    padded.chunks_exact_mut(64).for_each(|row| row[16..].fill(0.0));
    for (name, rows, dims) in [
        ("no rows", Vec::new(), 64),
        ("one row", noise(1, 64), 64),
        ("39 rows", noise(39, 64), 64),
        ("two dimensions", noise(1000, 2), 2),
        ("sixteen dimensions", noise(1000, 16), 16),
        ("sixteen, padded with zeros", padded, 64),
        ("one dimension", noise(1000, 1), 1),
        ("all equal", vec![0.3; 64 * 500], 64),
        ("all zero", vec![0.0; 64 * 500], 64),
        ("a line", line, 64),
        ("a closed curve", curve, 64),
        (
            "two points",
            [vec![1.0; 64], vec![-1.0; 64]].concat().repeat(300),
            64,
        ),
        ("not numbers", vec![f32::NAN; 64 * 100], 64),
    ] {
        let found = judge(&rows, dims);
        assert!(!found.mixed && found.statistic.is_none(), "{name}: {found:?}");
        assert!(found.since.is_none() && found.share == 0.0, "{name}");
    }
}

#[test]
fn the_largest_and_smallest_numbers_are_judged_like_others() {
    let mut source = Source::new(14);
    let spaces = [source.space(64), source.space(64)];
    let which: Vec<usize> = (0..500).map(|i| i % 2).collect();
    let rows = source.rows(&spaces, &which);
    let plain = judge(&rows, 64);
    assert!(plain.mixed);
    for by in [2.0f32.powi(120), 2.0f32.powi(-100)] {
        let scaled: Vec<f32> = rows.iter().map(|x| x * by).collect();
        assert_eq!(judge(&scaled, 64).second, plain.second);
    }
}

#[test]
fn the_same_input_gives_the_same_output() {
    let mut source = Source::new(15);
    let spaces = [source.space(64), source.space(64)];
    let which: Vec<usize> = (0..2600).map(|i| i % 2).collect();
    let rows = source.rows(&spaces, &which);
    assert_eq!(judge(&rows, 64), judge(&rows, 64));
}

#[test]
fn false_alarms_are_fewer_with_a_smaller_alpha() {
    let mut source = Source::new(16);
    let spaces = [source.space(128), source.space(128)];
    let which: Vec<usize> = (0..400).map(|i| i % 2).collect();
    let rows = source.rows(&spaces, &which);
    let sample = Sample {
        rows: &rows,
        dims: 128,
        times: None,
        entity: None,
    };
    let at = |alpha| two_spaces(&sample, alpha, &mut || ()).expect("valid arguments");
    let [loose, strict] = [at(0.2), at(1e-6)];
    assert_eq!((loose.false_alarm_rate, strict.false_alarm_rate), (0.2, 1e-6));
    // The threshold is 0.1 - z se: two of them give back the normal quantiles at alpha / 3.
    let below = |found: &Mixture| 0.1 - found.threshold.expect("two clear groups");
    assert!((below(&strict) / below(&loose) - 4.970_830_6 / 1.501_085_9).abs() < 1e-4);
}

#[test]
fn wrong_arguments_are_errors() {
    let rows = [0.5f32; 12];
    let sample = |dims, times, entity| Sample {
        rows: &rows,
        dims,
        times,
        entity,
    };
    for (name, sample, alpha) in [
        ("alpha", sample(3, None, None), 0.0),
        ("alpha", sample(3, None, None), 1.0),
        ("alpha", sample(3, None, None), f64::NAN),
        ("dims", sample(0, None, None), ALPHA),
        ("dims", sample(5, None, None), ALPHA),
        ("times", sample(3, Some(&[1, 2, 3][..]), None), ALPHA),
        ("entity", sample(3, None, Some(&[1, 2, 3, 4, 5][..])), ALPHA),
    ] {
        match two_spaces(&sample, alpha, &mut || ()) {
            Err(Error::InvalidParameter { name: got, .. }) => assert_eq!(got, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn it_can_be_interrupted() {
    let mut source = Source::new(17);
    let spaces = [source.space(384), source.space(384)];
    let which: Vec<usize> = (0..1000).map(|i| i % 2).collect();
    let rows = source.rows(&spaces, &which);
    let sample = Sample {
        rows: &rows,
        dims: 384,
        times: None,
        entity: None,
    };
    let mut calls = 0;
    let found = two_spaces(&sample, ALPHA, &mut || calls += 1);
    assert!(found.is_ok_and(|found| found.mixed) && calls > 100, "{calls}");
}
