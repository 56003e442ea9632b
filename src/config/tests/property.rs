//! Declarations and expressions drawn at random, from seeds.

use cvx_config::schedule::Schedule;
use cvx_config::{Declaration, Monitor, Source, action, condition, entity_filter, parse, print};
use serde_json::{Map, Value, json};

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// Of what quoting, escaping and line breaking have to get right.
    fn text(&mut self) -> String {
        const PIECES: [&str; 24] = [
            "a",
            "Z",
            "0",
            " ",
            "\"",
            "\"\"\"",
            "'",
            "'''",
            "\\",
            "\\n",
            "\n",
            "\r\n",
            "\r",
            "\t",
            "\u{1}",
            "\u{7f}",
            "\u{85}",
            "é",
            "\u{1f600}",
            "\u{feff}",
            "#",
            "]",
            "=",
            ".",
        ];
        (0..self.below(12)).map(|_| self.pick(&PIECES)).collect()
    }

    /// A text that is not blank.
    fn word(&mut self) -> String {
        format!("{}x{}", self.text(), self.text())
    }

    fn maybe(&mut self) -> Option<String> {
        self.one_in(2).then(|| self.word())
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => json!(self.one_in(2)),
            1 => json!(self.next() as i64),
            2 => json!(self.below(100)),
            3 => loop {
                let number = f64::from_bits(self.next());
                if number.is_finite() {
                    break json!(number);
                }
            },
            4 => json!(self.text()),
            5 => json!("long ".repeat(self.below(60))),
            6 => (0..self.below(5)).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object(self.map(depth - 1)),
        }
    }

    fn map(&mut self, depth: usize) -> Map<String, Value> {
        (0..self.below(5))
            .map(|_| (self.text(), self.value(depth)))
            .collect()
    }

    fn source(&mut self, number: usize) -> Source {
        let mut config = self.map(4);
        if self.one_in(2) {
            config.insert("filter".into(), Value::Object(self.map(3)));
            config.insert("batch_rows".into(), json!(self.below(1000)));
            config.insert("max_reject_ratio".into(), json!(self.below(100) as f64 / 100.0));
        }
        Source {
            name: format!("{number}{}", self.word()),
            source_type: self
                .pick(&["s3_parquet", "kafka", "rest_api", "grpc_stream", "postgres"])
                .into(),
            space: self.word(),
            config,
            schedule: self
                .one_in(2)
                .then(|| self.pick(&["@daily", "*/5 * * * *", " 0 2 * * 1-5 "]).into()),
            time_zone: self.pick(&["UTC", "Europe/Berlin", "Asia/Tokyo"]).into(),
            incremental: self.one_in(2),
            priority: if self.one_in(2) { 100 } else { self.next() as i32 },
            model: self.maybe(),
        }
    }

    fn action(&mut self) -> Value {
        let secret = json!({ self.pick(&["secret", "env"]): self.word() });
        match self.below(4) {
            0 => json!({"type": "emit_event"}),
            1 => json!({"type": "log", "level": self.pick(&["info", "warning"])}),
            2 => json!({"type": "webhook_post", "url": "https://h/?q='\"\\#", "secret": secret}),
            _ => json!({
                "type": "webhook_post",
                "url": "http://[::1]:80/",
                "headers": { "Authorization": secret, "x-key": "v".repeat(self.below(120)) },
            }),
        }
    }

    fn condition(&mut self) -> Value {
        let threshold = self.pick(&[json!(1), json!(0.3), json!(1e-300), json!(7e22), json!(i64::MAX)]);
        let mut condition = match self.below(8) {
            0 => {
                json!({"type": "drift_exceeds", "threshold": threshold, "window": "7d", "metric": "l2", "fdr": 0.05})
            }
            1 => json!({"type": "velocity_exceeds", "threshold": threshold, "window": "1 mon", "fdr": 1}),
            2 => json!({"type": "silence_exceeds", "duration": "P1D", "source": self.word()}),
            3 => json!({"type": "freshness_exceeds", "duration": "00:10:00", "source": self.word()}),
            4 => {
                json!({"type": "reject_ratio_exceeds", "threshold": 0.01, "source": self.word(), "window": "2h"})
            }
            5 => json!({
                "type": "population_drift_exceeds",
                "method": self.pick(&["centroid", "mmd", "psi"]),
                "threshold": threshold,
                "baseline": self.pick(&["30d", "[2026-01-01,2026-02-01)", "(,\"2026-01-01 00:00:00+01\"]"]),
                "window": "7d",
            }),
            6 => {
                json!({"type": "change_point_detected", "min_severity": 0.8, "hazard": 0.001, "threshold": 0.9})
            }
            _ => json!({"type": "custom_query", "sql": self.word()}),
        };
        for optional in ["fdr", "metric", "source", "hazard"] {
            if self.one_in(2) {
                condition.as_object_mut().unwrap().remove(optional);
            }
        }
        condition
    }

    fn filter(&mut self) -> Value {
        let mut filter = Map::new();
        if self.one_in(2) {
            filter.insert(
                "entity_ids".into(),
                (0..=self.below(30)).map(|_| json!(self.word())).collect(),
            );
        }
        if self.one_in(2) || filter.is_empty() {
            filter.insert("attrs".into(), Value::Object(self.map(3)));
        }
        Value::Object(filter)
    }

    fn monitor(&mut self, number: usize) -> Monitor {
        let condition = self.condition();
        let schedule = self
            .maybe()
            .map(|_| self.pick(&["@daily", " 0 2 * * 1-5 "]).to_owned());
        let interval = match schedule {
            None => self.pick(&["1 hour", "1h", "00:05:00"]),
            Some(_) => "1 hour",
        };
        let action = if self.one_in(2) {
            self.action()
        } else {
            (0..=self.below(3)).map(|_| self.action()).collect()
        };
        Monitor {
            name: format!("{number}{}", self.word()),
            description: self.text(),
            condition,
            action,
            check_interval: interval.into(),
            schedule,
            time_zone: self.pick(&["UTC", "Europe/Berlin"]).into(),
            severity: self.pick(&["low", "medium", "high", "critical"]).into(),
            cooldown: self.pick(&["1 hour", "0s", "7d"]).into(),
            space: self.maybe(),
            model: self.maybe(),
            entity_filter: self.one_in(2).then(|| self.filter()),
        }
    }

    fn declaration(&mut self) -> Declaration {
        Declaration {
            sources: (0..self.below(4)).map(|i| self.source(i)).collect(),
            monitors: (0..self.below(4)).map(|i| self.monitor(i)).collect(),
        }
    }
}

#[test]
fn what_is_printed_reads_as_the_same() {
    for seed in 0..3000 {
        let declaration = Random(seed).declaration();
        let printed = print(&declaration);
        let read = parse(&printed).unwrap_or_else(|error| panic!("seed {seed}: {error:?}\n{printed}"));
        assert_eq!(read, declaration, "seed {seed}:\n{printed}");
        assert_eq!(print(&read), printed, "seed {seed}");
    }
}

/// Functions of SQL take parts of a declaration as JSON: what TOML gave is taken, and stays as it is.
#[test]
fn json_is_read_as_toml_is() {
    for seed in 0..3000 {
        for monitor in Random(seed).declaration().monitors {
            assert_eq!(
                condition(&monitor.condition),
                Ok(monitor.condition),
                "seed {seed}"
            );
            assert_eq!(action(&monitor.action), Ok(monitor.action), "seed {seed}");
            if let Some(filter) = monitor.entity_filter {
                assert_eq!(entity_filter(&filter), Ok(filter), "seed {seed}");
            }
        }
    }
}

/// Any JSON is read or refused; nothing panics, and what is read is what TOML would have given.
#[test]
fn any_json_is_survived() {
    let (mut read, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut given = random.condition();
        let keys: Vec<String> = given.as_object().unwrap().keys().cloned().collect();
        let key = random.pick(&keys);
        match random.below(4) {
            0 => drop(given.as_object_mut().unwrap().remove(&key)),
            1 => given[random.text()] = random.value(2),
            2 => given[key] = Value::Null,
            _ => given[key] = random.value(2),
        }
        match condition(&given) {
            Ok(kept) => {
                assert_eq!(condition(&kept), Ok(kept), "seed {seed}: {given}");
                read += 1;
            }
            Err(error) => {
                assert!(
                    error.message.starts_with("condition")
                        || error.message.starts_with("unknown key condition"),
                    "seed {seed}: {}",
                    error.message
                );
                refused += 1;
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} {refused}");
}

/// The order in which JSON keys arrive, which PostgreSQL's jsonb changes, is not that in which they are
/// printed.
#[test]
fn the_order_of_keys_does_not_show() {
    let text =
        "[[sources]]\nname='x'\ntype='kafka'\nspace='s'\n[sources.kafka]\nz=1\nb=2\ntopic='t'\nbrokers=[]\n";
    let mut declaration = parse(text).unwrap();
    let printed = print(&declaration);
    let config = &mut declaration.sources[0].config;
    *config = std::mem::take(config).into_iter().rev().collect();
    assert_eq!(print(&declaration), printed);
    assert!(
        printed.ends_with("[sources.kafka]\nbrokers = []\ntopic = \"t\"\nb = 2\nz = 1\n"),
        "{printed}"
    );
}

#[test]
fn what_toml_cannot_say_is_left_out() {
    let text = "[[sources]]\nname='x'\ntype='kafka'\nspace='s'\n[sources.kafka]\ntopic='t'\n";
    let mut declaration = parse(text).unwrap();
    let expected = print(&declaration);
    let config = &mut declaration.sources[0].config;
    config.insert("group_id".into(), Value::Null);
    assert_eq!(print(&declaration), expected);
    declaration.sources[0]
        .config
        .insert("n".into(), json!([null, {"a": null}, u64::MAX]));
    let read = parse(&print(&declaration)).unwrap();
    assert_eq!(read.sources[0].config["n"], json!([{}, u64::MAX as f64]));
}

/// Damaged declarations are read or refused; nothing panics.
#[test]
fn damage_is_survived() {
    let mut read = 0;
    for seed in 0..3000 {
        let mut random = Random(seed);
        let mut bytes = print(&random.declaration()).into_bytes();
        for _ in 0..=random.below(3) {
            if !bytes.is_empty() {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at),
                }
            }
        }
        if let Ok(declaration) = parse(&String::from_utf8_lossy(&bytes)) {
            assert_eq!(parse(&print(&declaration)).unwrap(), declaration, "seed {seed}");
            read += 1;
        }
    }
    assert!((300..2900).contains(&read), "{read} of 3000 were read");
}

#[test]
fn a_schedule_only_goes_forward_and_skips_nothing() {
    let minutes = ["*", "*/7", "0", "30", "0,59", "10-20/5"];
    let hours = ["*", "2", "*/6", "1-3", "0,23"];
    let days = ["*", "1", "L", "15W", "29", "*/10"];
    let months = ["*", "3", "10", "JAN-JUN"];
    let weekdays = ["*", "0", "SUN", "MON-FRI", "5#2", "+SUN"];
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
    ];
    for seed in 0..2000 {
        let mut random = Random(seed);
        let mut part = |choices: &[&'static str]| random.pick(choices);
        let fields = [
            part(&minutes),
            part(&hours),
            part(&days),
            part(&months),
            part(&weekdays),
        ];
        let zone = part(&zones);
        let schedule = Schedule::parse(&fields.join(" "), zone).unwrap();
        let mut now = 1_767_225_600_000_000 + (random.next() % 31_536_000_000_000) as i64;
        for _ in 0..20 {
            let Some(next) = schedule.next_after(now) else {
                break;
            };
            assert!(next > now, "seed {seed}: {fields:?} {zone} {now} {next}");
            assert_eq!(
                schedule.next_after(next - 1),
                Some(next),
                "seed {seed}: {fields:?} {zone} {now}"
            );
            assert_eq!(next % 60_000_000, 0, "seed {seed}");
            now = next;
        }
    }
}

#[test]
fn any_text_is_a_schedule_or_an_error() {
    const PIECES: [&str; 20] = [
        "*", "/", "-", ",", " ", "0", "5", "59", "70000", "L", "W", "#", "?", "+", "@", "MON", "JAN", "é",
        "\u{0}", "\t",
    ];
    let mut parsed = 0;
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut field = || match random.below(3) {
            0 => (0..=random.below(4)).map(|_| random.pick(&PIECES)).collect(),
            _ => "*".to_owned(),
        };
        let fields: [String; 5] = std::array::from_fn(|_| field());
        let text = fields.join(" ");
        if let Ok(schedule) = Schedule::parse(&text, "UTC") {
            parsed += 1;
            schedule.next_after(1_767_225_600_000_000);
        }
    }
    assert!(parsed > 1_000, "{parsed}");
}
