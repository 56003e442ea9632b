//! Every formula against numpy: the figures in `data/oracle.txt` come from `pg_test/py/oracle.py`.

use std::collections::HashMap;

use cvx_math::Path;
use cvx_math::calculus::*;
use cvx_math::pca::pca;
use cvx_math::stats::*;

/// Far below the 1e-5 that is promised; what is left is the order of summation.
const RELATIVE: f64 = 1e-11;

struct Case {
    lines: HashMap<String, Vec<String>>,
    dims: usize,
}

impl Case {
    fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for line in include_str!("data/oracle.txt").lines() {
            let mut words = line.split(' ').map(str::to_owned);
            let name = words.next().unwrap();
            let values: Vec<String> = words.collect();
            if name == "case" {
                cases.push(Case {
                    lines: HashMap::new(),
                    dims: values[0].parse().unwrap(),
                });
            } else {
                cases.last_mut().unwrap().lines.insert(name, values);
            }
        }
        cases
    }

    fn numbers<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, name: &str) -> Vec<T> {
        self.lines[name].iter().map(|v| v.parse().unwrap()).collect()
    }

    fn integer(&self, name: &str) -> i64 {
        self.numbers(name)[0]
    }

    /// Compares vectors by the size of their largest entry: a small one beside it may carry its rounding.
    fn check(&self, name: &str, got: Option<Vec<f64>>) {
        let n = self.lines["times"].len();
        if self.lines[name][0] == "none" {
            assert_eq!(got, None, "{name}, n = {n}");
            return;
        }
        let (got, want) = (got.unwrap(), self.numbers::<f64>(name));
        assert_eq!(got.len(), want.len(), "{name}, n = {n}");
        let scale = want.iter().fold(1e-300f64, |m, w| m.max(w.abs()));
        for (g, w) in got.iter().zip(&want) {
            assert!(
                (g - w).abs() <= RELATIVE * scale,
                "{name}, n = {n}: {g} is not {w}"
            );
        }
    }
}

fn one(value: Option<f64>) -> Option<Vec<f64>> {
    value.map(|v| vec![v])
}

#[test]
fn calculus_equals_numpy() {
    let cases = Case::all();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let (times, values) = (case.numbers::<i64>("times"), case.numbers::<f32>("values"));
        let path = Path::new(&times, &values, case.dims);
        let unit = case.integer("unit") as f64;
        let (middle, between) = (Some(case.integer("middle")), case.integer("between"));
        case.check("velocity_end", velocity(&path, None, unit));
        case.check("velocity_middle", velocity(&path, middle, unit));
        case.check("speed_between", one(speed(&path, Some(between), unit)));
        case.check("mean_speed", one(mean_speed(&path, unit)));
        case.check("acceleration_end", acceleration(&path, None, unit));
        case.check("acceleration_middle", acceleration(&path, middle, unit));
        case.check("path_length", one(path_length(&path)));
        case.check("efficiency", one(efficiency(&path)));
        case.check("value_between", value_at(&path, between));
        let (resampled, points) = resample(&path, case.integer("step"), 100).unwrap();
        assert_eq!(resampled, case.numbers::<i64>("resample_times"));
        let want = case.numbers::<f64>("resample_values");
        assert_eq!(points.len(), want.len());
        for (&got, want) in points.iter().zip(want) {
            let spacing = want.abs().max(f64::from(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON);
            assert!((f64::from(got) - want).abs() <= spacing, "{got} is not {want}");
        }
    }
}

#[test]
fn statistics_equal_numpy() {
    for case in Case::all() {
        let (times, values) = (case.numbers::<i64>("times"), case.numbers::<f32>("values"));
        let path = Path::new(&times, &values, case.dims);
        case.check("drift_l2", one(drift(&path, Metric::L2)));
        let cosine: f64 = case.numbers("drift_cosine")[0];
        assert!((drift(&path, Metric::Cosine).unwrap() - cosine).abs() < 1e-14);
        case.check("volatility", one(volatility(&path, case.integer("unit") as f64)));
        case.check("drift_entropy", one(drift_entropy(&path)));
        case.check("stability_score", one(stability_score(&path)));
        case.check("hurst", one(hurst(&path)));
        let report = drift_report(&path, 5).unwrap();
        assert_eq!(report.dims, case.numbers::<usize>("report_dims"));
        case.check("report_change", Some(report.change));
        case.check("pca_ratios", Some(pca(&path, 3).ratios));
    }
}
