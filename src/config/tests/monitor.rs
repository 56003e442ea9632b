//! Conditions, actions and filters: what is taken, in TOML and in JSON alike, and what is said of the rest.

use cvx_config::{Error, action, condition, entity_filter, parse, print};
use serde_json::{Value, json};

/// A monitor with a condition of a line, and some more lines.
fn monitor(condition: &str, lines: &str) -> String {
    format!(
        "[[monitors]]\nname = \"m\"\ncondition = {{ {condition} }}\naction = {{ type = \"log\" }}\n{lines}"
    )
}

const SILENT: &str = "type = \"silence_exceeds\", duration = \"1d\"";

fn said<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().message
}

#[test]
fn conditions_are_printed_as_they_are_written() {
    for text in [
        "type = \"drift_exceeds\", threshold = 0.3, window = \"7d\", metric = \"l2\", fdr = 0.05",
        "type = \"velocity_exceeds\", threshold = 2, window = \"1 mon\", fdr = 1",
        "type = \"change_point_detected\", min_severity = 1, threshold = 0.9, hazard = 0.001",
        "type = \"reject_ratio_exceeds\", threshold = 0.01, window = \"1 day\", source = \"s\"",
        "type = \"freshness_exceeds\", duration = \"00:10:00\", source = \"s\"",
    ] {
        let toml = monitor(text, "");
        assert_eq!(print(&parse(&toml).unwrap()), toml);
    }
    for baseline in [
        "30d",
        "[2026-01-01,2026-02-01)",
        "(,2026-02-01]",
        " [\\\"2026-01-01 00:00:00+01\\\",\\\"2026-01-02 00:00:00+01\\\") ",
    ] {
        let toml = format!(
            "[[monitors]]\nname = \"m\"\naction = {{ type = \"log\" }}\n[monitors.condition]\n\
             type = \"population_drift_exceeds\"\nthreshold = 0.2\nwindow = \"7d\"\n\
             baseline = \"{baseline}\"\nmethod = \"centroid\"\n"
        );
        assert_eq!(print(&parse(&toml).unwrap()), toml);
    }
}

#[test]
fn the_keys_of_a_monitor() {
    let lines = "entity_filter = { attrs = { plan = \"pro\" }, entity_ids = [\"a\", \"b\"] }\n\
                 schedule = \"*/5 * * * *\"\ntime_zone = \"Europe/Berlin\"\n";
    let declaration = parse(&monitor(SILENT, lines)).unwrap();
    let it = &declaration.monitors[0];
    assert_eq!(it.schedule.as_deref(), Some("*/5 * * * *"));
    assert_eq!(
        (it.time_zone.as_str(), it.check_interval.as_str()),
        ("Europe/Berlin", "1 hour")
    );
    let filter = json!({"entity_ids": ["a", "b"], "attrs": {"plan": "pro"}});
    assert_eq!(it.entity_filter, Some(filter));
    assert!(print(&declaration).contains("schedule = \"*/5 * * * *\"\ntime_zone = \"Europe/Berlin\"\n"));
    assert!(!print(&declaration).contains("check_interval"));

    let plain = &parse(&monitor(SILENT, "")).unwrap().monitors[0];
    assert_eq!((plain.schedule.as_ref(), plain.time_zone.as_str()), (None, "UTC"));
    assert_eq!(plain.entity_filter, None);

    for (lines, expected) in [
        (
            "schedule = '@daily'\ncheck_interval = '1h'",
            "schedule and check_interval are both given",
        ),
        (
            "schedule = '0 25 * * *'",
            "invalid schedule \"0 25 * * *\": the hour is \"25\"",
        ),
        ("schedule = ''", "schedule is empty"),
        ("time_zone = 'Mars'", "unknown time zone \"Mars\""),
        (
            "entity_filter = 'a'",
            "entity_filter must be a table, found a text",
        ),
        ("entity_filter = {}", "entity_filter is empty"),
        ("entity_filter = { ids = ['a'] }", "unknown key entity_filter.ids"),
        (
            "entity_filter = { entity_ids = ['a', ''] }",
            "entity_filter.entity_ids[1] is empty",
        ),
        (
            "entity_filter = { entity_ids = [\"\\u0000\"] }",
            "entity_filter.entity_ids[0] holds a NUL character",
        ),
        (
            "entity_filter = { attrs = { x = [inf] } }",
            "entity_filter.attrs.x[0] is inf, not a finite number",
        ),
    ] {
        assert_eq!(
            said(parse(&monitor(SILENT, lines))),
            format!("monitor \"m\": {expected}")
        );
    }
}

#[test]
fn a_condition_in_json_that_is_wrong() {
    let population = |key: &str, value: Value| {
        let mut it = json!({"type": "population_drift_exceeds", "method": "psi", "threshold": 0.2,
            "baseline": "30d", "window": "7d"});
        match value {
            Value::Null => drop(it.as_object_mut().unwrap().remove(key)),
            value => it[key] = value,
        }
        it
    };
    let range = "neither an interval above 0 nor a range of time";
    for (given, expected) in [
        (json!(null), "condition is null".to_owned()),
        (json!([]), "condition must be an object, found a list".to_owned()),
        (json!({}), "condition.type is missing".to_owned()),
        (
            json!({"type": 1}),
            "condition.type must be a text, found an integer".to_owned(),
        ),
        (
            json!({"type": "drift_exceeds", "threshold": null, "window": "7d"}),
            "condition.threshold is null".to_owned(),
        ),
        (
            json!({"type": "drift_exceeds", "threshold": 1, "window": "7d", "metric": "L2"}),
            "condition.metric is \"L2\"".to_owned(),
        ),
        (
            json!({"type": "drift_exceeds", "threshold": 1, "window": "7d", "hazard": 0.1}),
            "unknown key condition.hazard".to_owned(),
        ),
        (
            json!({"type": "velocity_exceeds", "threshold": u64::MAX}),
            "condition.threshold is 18446744073709551615, outside the range of bigint".to_owned(),
        ),
        (
            json!({"type": "velocity_exceeds", "threshold": -0.5}),
            "condition.threshold is -0.5, not a number above 0".to_owned(),
        ),
        (
            json!({"type": "velocity_exceeds", "threshold": 1, "window": "0s"}),
            "condition.window is not above 0".to_owned(),
        ),
        (
            json!({"type": "velocity_exceeds", "threshold": 1, "fdr": 1.5}),
            "condition.fdr is 1.5, above 1".to_owned(),
        ),
        (
            json!({"type": "change_point_detected"}),
            "condition.min_severity is missing".to_owned(),
        ),
        (
            json!({"type": "change_point_detected", "min_severity": 1, "hazard": 1}),
            "condition.hazard is 1, not below 1".to_owned(),
        ),
        (
            json!({"type": "change_point_detected", "min_severity": 1, "threshold": 1.0}),
            "condition.threshold is 1, not below 1".to_owned(),
        ),
        (
            json!({"type": "reject_ratio_exceeds", "threshold": 1.01}),
            "condition.threshold is 1.01, above 1".to_owned(),
        ),
        (
            json!({"type": "reject_ratio_exceeds", "threshold": 1, "source": ""}),
            "condition.source is empty".to_owned(),
        ),
        (
            json!({"type": "freshness_exceeds"}),
            "condition.duration is missing".to_owned(),
        ),
        (
            population("method", json!("ks")),
            "condition.method is \"ks\"".to_owned(),
        ),
        (
            population("method", Value::Null),
            "condition.method is missing".to_owned(),
        ),
        (
            population("window", Value::Null),
            "condition.window is missing".to_owned(),
        ),
        (
            population("threshold", json!(0)),
            "condition.threshold is 0, not a number above 0".to_owned(),
        ),
        (
            population("baseline", json!("0s")),
            format!("condition.baseline is \"0s\", {range}"),
        ),
        (
            population("baseline", json!("[a]")),
            format!("condition.baseline is \"[a]\", {range}"),
        ),
        (
            population("baseline", json!("[a,)")),
            format!("condition.baseline is \"[a,)\", {range}"),
        ),
        (
            population("baseline", json!("[a,b,c]")),
            format!("condition.baseline is \"[a,b,c]\", {range}"),
        ),
        (
            population("baseline", json!("2026-01-01")),
            format!("condition.baseline is \"2026-01-01\", {range}"),
        ),
    ] {
        assert_eq!(said(condition(&given)), expected, "{given}");
    }
    let misspelt = condition(&json!({"type": "silence_exceeds", "durration": "1d"})).unwrap_err();
    assert_eq!(misspelt.message, "condition.duration is missing");
    assert_eq!(misspelt.hint.as_deref(), Some("There is durration."));
}

#[test]
fn an_action_in_json_that_is_wrong() {
    let hook = |key: &str, value: Value| {
        let mut it = json!({"type": "webhook_post", "url": "https://h/"});
        it[key] = value;
        json!([{"type": "log"}, it])
    };
    for (given, expected) in [
        (
            json!("log"),
            "action must be a table or a list of them, found a text",
        ),
        (json!([null]), "action[0] is null"),
        (
            json!(vec![json!({"type": "log"}); 17]),
            "action has 17 entries, more than 16",
        ),
        (hook("url", json!("http://")), "action[1].url is not a URL"),
        (
            hook("secret", json!("hunter2")),
            "action[1].secret must refer to a secret",
        ),
        (hook("secret", Value::Null), "action[1].secret is null"),
        (
            hook("headers", json!({"Cookie": "hunter2"})),
            "action[1].headers.Cookie must refer to a secret",
        ),
        (
            hook("headers", json!({"HOST": "h"})),
            "action[1].headers.HOST is a header that cvx sets itself",
        ),
        (
            hook("headers", json!({"Webhook-Id": "1"})),
            "action[1].headers.Webhook-Id is a header that cvx sets itself",
        ),
        (
            hook("headers", json!({"x-a": "1", "X-A": "2"})),
            "action[1].headers.X-A stands there twice",
        ),
    ] {
        let error = action(&given).unwrap_err();
        assert_eq!(error.message, expected, "{given}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    let many: serde_json::Map<_, _> = (0..33).map(|i| (format!("x-{i}"), json!("v"))).collect();
    let expected = "action[1].headers has 33 entries, more than 32";
    assert_eq!(said(action(&hook("headers", Value::Object(many)))), expected);
    let taken = hook("headers", json!({"Authorization": {"secret": "k"}, "x-a": "1"}));
    assert_eq!(action(&taken), Ok(taken));
}

#[test]
fn a_filter_in_json() {
    let given = json!({"entity_ids": ["a", 7, -1], "attrs": {"plan": {"in": ["x", 1, 2.5, true]}}});
    let kept = json!({"entity_ids": ["a", "7", "-1"], "attrs": {"plan": {"in": ["x", 1, 2.5, true]}}});
    assert_eq!(entity_filter(&given), Ok(kept));
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    for (given, expected) in [
        (json!({}), "entity_filter is empty"),
        (json!("a"), "entity_filter must be an object, found a text"),
        (
            json!({"entity_ids": "a"}),
            "entity_filter.entity_ids must be a list, found a text",
        ),
        (
            json!({"entity_ids": []}),
            "entity_filter.entity_ids has 0 entries, not 1 to 100000",
        ),
        (
            json!({"entity_ids": vec!["a"; 100_001]}),
            "entity_filter.entity_ids has 100001 entries, not 1 to 100000",
        ),
        (
            json!({"entity_ids": ["a", 1.5]}),
            "entity_filter.entity_ids[1] must be a text, found a number",
        ),
        (
            json!({"attrs": ["plan"]}),
            "entity_filter.attrs must be a table, found a list",
        ),
        (
            json!({"attrs": {"plan": null}}),
            "entity_filter.attrs.plan is null",
        ),
        (
            json!({"attrs": {"n": u64::MAX}}),
            "entity_filter.attrs.n is 18446744073709551615, outside the range of bigint",
        ),
        (
            json!({"attrs": {"x": deep}}),
            "entity_filter is nested more than 64 levels deep",
        ),
    ] {
        assert_eq!(said(entity_filter(&given)), expected);
    }
}

/// What is as deep as JSON may be can be printed and read again.
#[test]
fn the_deepest_filter_is_read_again() {
    let mut deep = json!("x");
    while let Ok(filter) = entity_filter(&json!({"attrs": {"x": deep}})) {
        let mut declaration = parse(&monitor(SILENT, "")).unwrap();
        declaration.monitors[0].entity_filter = Some(filter);
        assert_eq!(parse(&print(&declaration)), Ok(declaration));
        deep = json!([{ "y": deep }]);
    }
}
