//! Declarations as people write them, and what is said of those that are wrong.

use cvx_config::{Declaration, Error, MAX_BYTES, parse, print};
use serde_json::json;

const EXAMPLE: &str = r#"[[sources]]
name = "daily-user-embeddings"
type = "s3_parquet"
space = "bert-v2"
schedule = "0 2 * * *"
time_zone = "Europe/Berlin"
priority = 50
model = "bert"
filter = { from = "2026-01-01T00:00:00Z", entity_ids = ["a", "b"] }
max_reject_ratio = 0.25
[sources.s3_parquet]
bucket = "ml-embeddings"
prefix = "user-embeddings/bert-v2/"
partition_format = "dt=%Y-%m-%d"
entity_id_column = "user_id"
secret_access_key = { secret = "s3-key" }

[[sources]]
name = "realtime"
type = "kafka"
space = "clip"
[sources.kafka]
brokers = ["kafka-1:9092", "kafka-2:9092"]
topic = "content-embeddings"

[[monitors]]
name = "high_risk_drift"
description = "Alert when user language shifts"
condition = { type = "drift_exceeds", threshold = 0.3, window = "7d" }
action = { type = "webhook_post", url = "https://alerts.example.com/cvx", secret = { secret = "hook" } }
severity = "high"
cooldown = "0s"

[[monitors]]
name = "silent"
space = "clip"
condition = { type = "silence_exceeds", duration = "1 day 12:00", source = "realtime" }
action = [{ type = "emit_event" }, { type = "log", level = "warning" }]

[[monitors]]
name = "own"
action = { type = "emit_event" }
[monitors.condition]
type = "custom_query"
sql = """
SELECT entity_id
FROM cvx.embedding"""
"#;

fn message(toml: &str) -> String {
    parse(toml).unwrap_err().message
}

#[test]
fn every_key_arrives() {
    let Declaration { sources, monitors } = parse(EXAMPLE).unwrap();
    let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["daily-user-embeddings", "realtime"]);
    let [s3, kafka] = &sources[..] else { unreachable!() };
    assert_eq!(
        (s3.source_type.as_str(), s3.space.as_str()),
        ("s3_parquet", "bert-v2")
    );
    assert_eq!(s3.schedule.as_deref(), Some("0 2 * * *"));
    assert_eq!(
        (s3.time_zone.as_str(), s3.incremental, s3.priority),
        ("Europe/Berlin", true, 50)
    );
    assert_eq!(s3.model.as_deref(), Some("bert"));
    let config = json!({
        "bucket": "ml-embeddings",
        "prefix": "user-embeddings/bert-v2/",
        "partition_format": "dt=%Y-%m-%d",
        "entity_id_column": "user_id",
        "secret_access_key": { "secret": "s3-key" },
        "filter": { "from": "2026-01-01T00:00:00Z", "entity_ids": ["a", "b"] },
        "max_reject_ratio": 0.25,
    });
    assert_eq!(json!(s3.config), config);
    assert_eq!((kafka.schedule.as_ref(), kafka.time_zone.as_str()), (None, "UTC"));
    assert_eq!((kafka.priority, kafka.model.as_ref()), (100, None));

    let [drift, silent, own] = &monitors[..] else {
        unreachable!()
    };
    assert_eq!(drift.description, "Alert when user language shifts");
    let intervals = |it: &cvx_config::Monitor| (it.check_interval.clone(), it.cooldown.clone());
    assert_eq!(intervals(drift), ("1 hour".into(), "0s".into()));
    assert_eq!(
        drift.condition,
        json!({"type": "drift_exceeds", "threshold": 0.3, "window": "7d"})
    );
    let hook = json!({
        "type": "webhook_post",
        "url": "https://alerts.example.com/cvx",
        "secret": { "secret": "hook" },
    });
    assert_eq!(drift.action, hook);
    assert_eq!(
        (silent.severity.as_str(), silent.space.as_deref()),
        ("medium", Some("clip"))
    );
    assert_eq!(
        silent.action,
        json!([{"type": "emit_event"}, {"type": "log", "level": "warning"}])
    );
    assert_eq!(own.condition["sql"], "SELECT entity_id\nFROM cvx.embedding");
}

#[test]
fn what_is_printed_is_what_was_written() {
    assert_eq!(print(&parse(EXAMPLE).unwrap()), EXAMPLE);
    assert_eq!(print(&parse("").unwrap()), "");
}

#[test]
fn dates_and_times_become_text() {
    let text = "[[sources]]\nname='x'\ntype='kafka'\nspace='s'\n\
                filter = { from = 2026-01-01T00:00:00+02:00, to = 2026-02-01 }\n";
    let config = &parse(text).unwrap().sources[0].config;
    let filter = json!({"from": "2026-01-01T00:00:00+02:00", "to": "2026-02-01"});
    assert_eq!(config["filter"], filter);
}

/// A source with some more lines.
fn source(lines: &str) -> String {
    format!("[[sources]]\nname = 'x'\ntype = 'kafka'\nspace = 's'\n{lines}\n")
}

#[test]
fn a_source_that_is_wrong() {
    for (lines, expected) in [
        ("[sources.kafak]\na = 1", "source \"x\": unknown key kafak"),
        ("shedule = '@daily'", "source \"x\": unknown key shedule"),
        ("'a.b' = 1", "source \"x\": unknown key \"a.b\""),
        (
            "priority = '1'",
            "source \"x\": priority must be an integer, found a text",
        ),
        (
            "priority = 3000000000",
            "source \"x\": priority is 3000000000, outside -2147483648 to 2147483647",
        ),
        (
            "incremental = 1",
            "source \"x\": incremental must be true or false, found an integer",
        ),
        (
            "schedule = 2026-01-01",
            "source \"x\": schedule must be a text, found a date or time",
        ),
        ("schedule = ''", "source \"x\": schedule is empty"),
        (
            "schedule = '0 25 * * *'",
            "source \"x\": invalid schedule \"0 25 * * *\": the hour is \"25\"",
        ),
        ("time_zone = 'Mars'", "source \"x\": unknown time zone \"Mars\""),
        ("model = []", "source \"x\": model must be a text, found a list"),
        (
            "kafka = 1",
            "source \"x\": kafka must be a table, found an integer",
        ),
        (
            "filter = 1",
            "source \"x\": filter must be a table, found an integer",
        ),
        (
            "batch_rows = 'many'",
            "source \"x\": batch_rows must be a number, found a text",
        ),
        (
            "max_reject_ratio = nan",
            "source \"x\": max_reject_ratio is NaN, not a finite number",
        ),
        (
            "[sources.kafka]\nbatch_rows = 5",
            "source \"x\": kafka holds batch_rows, an option of all types",
        ),
        (
            "[sources.kafka]\n[sources.s3_parquet]\nbucket = 'b'",
            "source \"x\": the source is of type kafka and has a table s3_parquet",
        ),
        (
            "[sources.kafka]\na.b = [1, inf]",
            "source \"x\": kafka.a.b[1] is inf, not a finite number",
        ),
        (
            "[sources.kafka]\ntopic = \"a\\u0000\"",
            "source \"x\": kafka.topic holds a NUL character",
        ),
        (
            "[sources.kafka]\n\"\\u0000\" = 1",
            "source \"x\": kafka.\"\\u0000\" holds a NUL character",
        ),
    ] {
        assert_eq!(message(&source(lines)), expected);
    }
    let error = parse(&source("shedule = '@daily'")).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("Perhaps schedule is meant."));
    for (text, expected) in [
        ("[[sources]]\n", "sources[0]: name is missing"),
        ("[[sources]]\nname = ' '", "sources[0]: name is empty"),
        (
            "[[sources]]\nname = \"a\\u0000\"",
            "sources[0]: name holds a NUL character",
        ),
        ("[[sources]]\nname = 'x'", "source \"x\": type is missing"),
        (
            "[[sources]]\nname = 'x'\ntype = 'kafka'",
            "source \"x\": space is missing",
        ),
        (
            "[[sources]]\nname = 'x'\ntype = 'kafak'",
            "source \"x\": type is \"kafak\", an unknown type",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
}

/// A monitor with a condition, an action and some more lines.
fn monitor(condition: &str, action: &str, lines: &str) -> String {
    format!("[[monitors]]\nname = 'm'\ncondition = {{ {condition} }}\naction = {action}\n{lines}\n")
}

const SPEED: &str = "type = 'velocity_exceeds', threshold = 1";
const EVENT: &str = "{ type = 'emit_event' }";

#[test]
fn a_condition_that_is_wrong() {
    for (condition, expected) in [
        ("", "condition.type is missing"),
        (
            "type = 'drift_exeeds'",
            "condition.type is \"drift_exeeds\", an unknown type",
        ),
        (
            "type = 'drift_exceeds', window = '7d'",
            "condition.threshold is missing",
        ),
        (
            "type = 'drift_exceeds', threshold = 1",
            "condition.window is missing",
        ),
        (
            "type = 'velocity_exceeds', threshold = 0",
            "condition.threshold is 0, not a number above 0",
        ),
        (
            "type = 'velocity_exceeds', threshold = nan",
            "condition.threshold is NaN, not a number above 0",
        ),
        (
            "type = 'velocity_exceeds', threshold = '1'",
            "condition.threshold must be a number, found a text",
        ),
        (
            "type = 'silence_exceeds', duration = 'long'",
            "condition.duration is \"long\", not an interval",
        ),
        (
            "type = 'silence_exceeds', duration = '0s'",
            "condition.duration is not above 0",
        ),
        (
            "type = 'silence_exceeds', duration = '1s', fdr = 0.1",
            "unknown key condition.fdr",
        ),
        (
            "type = 'change_point_detected', min_severity = 1.5",
            "condition.min_severity is 1.5, above 1",
        ),
        ("type = 'custom_query', sql = ''", "condition.sql is empty"),
        (
            "type = 'custom_query', sql = 'x', threshold = 1",
            "unknown key condition.threshold",
        ),
    ] {
        assert_eq!(
            message(&monitor(condition, EVENT, "")),
            format!("monitor \"m\": {expected}")
        );
    }
    let fdr = monitor(&format!("{SPEED}, fdr = 0.1"), EVENT, "");
    let expected = json!({"type": "velocity_exceeds", "threshold": 1, "fdr": 0.1});
    assert_eq!(parse(&fdr).unwrap().monitors[0].condition, expected);
}

#[test]
fn an_action_that_is_wrong() {
    for (action, expected) in [
        ("[]", "action is an empty list"),
        ("1", "action must be a table or a list of them, found an integer"),
        (
            "[{ type = 'emit_event' }, 1]",
            "action[1] must be a table, found an integer",
        ),
        (
            "[{ type = 'emit' }]",
            "action[0].type is \"emit\", an unknown type",
        ),
        ("{ type = 'emit_event', url = 'x' }", "unknown key action.url"),
        ("{ type = 'log', level = 'fatal' }", "action.level is \"fatal\""),
        ("{ type = 'webhook_post' }", "action.url is missing"),
        (
            "{ type = 'webhook_post', url = 'ftp://h/' }",
            "action.url does not start with https:// or http://",
        ),
        (
            "{ type = 'webhook_post', url = 'https:///p' }",
            "action.url is not a URL",
        ),
        (
            "{ type = 'webhook_post', url = 'https://h/a b' }",
            "action.url is not a URL",
        ),
        (
            "{ type = 'webhook_post', url = 'https://u:p@h/' }",
            "action.url holds a user name or password",
        ),
        (
            "{ type = 'webhook_post', url = 'http://h', secret = 'hunter2' }",
            "action.secret must refer to a secret",
        ),
        (
            "{ type = 'webhook_post', url = 'http://h', secret = { secret = 'a', env = 'b' } }",
            "action.secret must refer to a secret",
        ),
        (
            "{ type = 'webhook_post', url = 'http://h', headers = { Authorization = 'hunter2' } }",
            "action.headers.Authorization must refer to a secret",
        ),
        (
            "{ type = 'webhook_post', url = 'http://h', headers = { 'a b' = 'x' } }",
            "action.headers.\"a b\" is not the name of a header",
        ),
        (
            "{ type = 'webhook_post', url = 'http://h', headers = { a = \"x\\r\\ny\" } }",
            "action.headers.a holds a control character",
        ),
    ] {
        let error = parse(&monitor(SPEED, action, "")).unwrap_err();
        assert_eq!(error.message, format!("monitor \"m\": {expected}"));
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    let action =
        "{ type = 'webhook_post', url = 'http://h', headers = { Authorization = { env = 'T' }, x = 'y' } }";
    let expected = json!({
        "type": "webhook_post",
        "url": "http://h",
        "headers": { "Authorization": { "env": "T" }, "x": "y" },
    });
    assert_eq!(
        parse(&monitor(SPEED, action, "")).unwrap().monitors[0].action,
        expected
    );
}

#[test]
fn a_monitor_that_is_wrong() {
    for (lines, expected) in [
        ("severity = 'worst'", "severity is \"worst\""),
        (
            "check_interval = 'hourly'",
            "check_interval is \"hourly\", not an interval",
        ),
        ("check_interval = '0s'", "check_interval is not above 0"),
        ("cooldown = 60", "cooldown must be a text, found an integer"),
        ("cool_down = '1h'", "unknown key cool_down"),
    ] {
        assert_eq!(
            message(&monitor(SPEED, EVENT, lines)),
            format!("monitor \"m\": {expected}")
        );
    }
    assert_eq!(
        message("[[monitors]]\nname = 'm'"),
        "monitor \"m\": condition is missing"
    );
    let unlucky = "[[monitors]]\nname = 'm'\ncondition = 'drift'";
    assert_eq!(
        message(unlucky),
        "monitor \"m\": condition must be a table, found a text"
    );
}

#[test]
fn a_text_that_is_wrong() {
    for (text, expected) in [
        ("sorces = []", "unknown key sorces"),
        (
            "[sources]\nname = 'x'",
            "sources must be a list of tables, found a table",
        ),
        (
            "sources = [1]",
            "sources must be a list of tables, found an integer",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
    let twice = source("") + &source("");
    assert_eq!(message(&twice), "source \"x\" is declared twice");
    let twice = monitor(SPEED, EVENT, "").repeat(2);
    assert_eq!(message(&twice), "monitor \"m\" is declared twice");
    let unfinished = message("[[sources]]\nname = 'ä' oops");
    assert!(
        unfinished.starts_with("invalid TOML at line 2, column 12: "),
        "{unfinished}"
    );
}

/// What could take long or much memory: each is refused within a second, on a thread with a small stack.
#[test]
fn bounds_hold() {
    let at = |error: Error| error.message;
    let many: String = (0..10_001)
        .map(|i| format!("[[sources]]\nname='{i}'\ntype='kafka'\nspace='s'\n"))
        .collect();
    let hostile = [
        ("x".repeat(MAX_BYTES + 1), "the declaration has 4194305 bytes"),
        (many, "10001 sources and monitors are declared, more than 10000"),
        (
            "[[sources]]\n".repeat(MAX_BYTES / 12),
            "349525 sources and monitors",
        ),
        (format!("a = {}", "[".repeat(MAX_BYTES - 4)), "invalid TOML"),
        (format!("a = {}", "{a=".repeat(MAX_BYTES / 3 - 2)), "invalid TOML"),
        ("a.".repeat(MAX_BYTES / 2 - 2) + "a=1", "invalid TOML"),
        (format!("[{}a]", "a.".repeat(MAX_BYTES / 2 - 2)), "invalid TOML"),
        ("[[a]]\n[a.b]\n".repeat(MAX_BYTES / 13), "unknown key a"),
        ("a = 1\n".repeat(MAX_BYTES / 6), "invalid TOML at line 2"),
        ("\u{1}".repeat(MAX_BYTES), "invalid TOML at line 1"),
        ("\n".repeat(MAX_BYTES - 1) + "=", "invalid TOML at line 4194304"),
        (format!("{} = 1", "k".repeat(MAX_BYTES - 4)), "unknown key kkkk"),
    ];
    for (text, expected) in hostile {
        let shown: String = text.chars().take(20).collect();
        let started = std::time::Instant::now();
        let thread = std::thread::Builder::new().stack_size(512 << 10);
        let message = thread
            .spawn(move || at(parse(&text).unwrap_err()))
            .unwrap()
            .join()
            .unwrap();
        assert!(message.starts_with(expected), "{shown:?}: {message}");
        assert!(message.len() < 300, "{shown:?}: {message}");
        let seconds = started.elapsed().as_secs_f64();
        assert!(seconds < 5.0, "{shown:?}: {seconds} s");
    }
}

#[test]
fn the_example_of_the_readme_is_read() {
    let readme = include_str!("../README.md");
    let example = readme.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let declaration = parse(example).unwrap();
    assert_eq!((declaration.sources.len(), declaration.monitors.len()), (2, 1));
    assert_eq!(print(&declaration), example.replace("incremental = true\n", ""));
}
