use super::*;

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_microsecond()
}

/// The next times after one, in UTC.
fn next(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(cron, zone).unwrap();
    let mut now = at(after);
    let mut times = Vec::new();
    for _ in 0..count {
        now = schedule.next_after(now).unwrap();
        times.push(Timestamp::from_microsecond(now).unwrap().to_string());
    }
    times
}

#[test]
fn times_from_the_calendar() {
    // 2026-01-01 is a Thursday.
    for (cron, expected) in [
        ("* * * * *", "2026-01-01T00:01:00Z"),
        ("*/15 * * * *", "2026-01-01T00:15:00Z"),
        ("0 2 * * *", "2026-01-01T02:00:00Z"),
        ("0 2 * * 1-5", "2026-01-01T02:00:00Z"),
        ("0 2 * * MON", "2026-01-05T02:00:00Z"),
        ("0 2 * * 7", "2026-01-04T02:00:00Z"),
        ("0 0 1,15 * *", "2026-01-15T00:00:00Z"),
        ("0 0 13 * FRI", "2026-01-02T00:00:00Z"),
        ("0 0 13 * +FRI", "2026-02-13T00:00:00Z"),
        ("0 0 L feb *", "2026-02-28T00:00:00Z"),
        ("0 0 * * 5#L", "2026-01-30T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("  5   4\t* * * ", "2026-01-01T04:05:00Z"),
        ("@hourly", "2026-01-01T01:00:00Z"),
        ("@daily", "2026-01-02T00:00:00Z"),
        ("@Midnight", "2026-01-02T00:00:00Z"),
        ("@weekly", "2026-01-04T00:00:00Z"),
        ("@monthly", "2026-02-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!(next(cron, "UTC", "2026-01-01T00:00:00Z", 1), [expected], "{cron}");
    }
}

#[test]
fn a_fraction_of_a_second_before_counts() {
    let after = "2026-01-01T01:59:59.999999Z";
    assert_eq!(next("0 2 * * *", "UTC", after, 1), ["2026-01-01T02:00:00Z"]);
    let at = "2026-01-01T02:00:00Z";
    assert_eq!(next("0 2 * * *", "UTC", at, 1), ["2026-01-02T02:00:00Z"]);
    let behind = "2026-01-01T02:00:00.000001Z";
    assert_eq!(next("0 2 * * *", "UTC", behind, 1), ["2026-01-02T02:00:00Z"]);
}

#[test]
fn a_zone_moves_with_its_summer_time() {
    let times = next("0 2 * * *", "America/New_York", "2026-03-07T00:00:00Z", 1);
    assert_eq!(times, ["2026-03-07T07:00:00Z"]);
    let times = next("0 2 * * *", "America/New_York", "2026-07-01T00:00:00Z", 1);
    assert_eq!(times, ["2026-07-01T06:00:00Z"]);
}

/// On 2026-03-29 clocks in Berlin go from 02:00 (+01) to 03:00 (+02).
#[test]
fn a_time_that_does_not_exist() {
    let times = next("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3);
    assert_eq!(
        times,
        [
            "2026-03-28T01:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-30T00:30:00Z"
        ]
    );
    let times = next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3);
    assert_eq!(
        times,
        [
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z"
        ]
    );
}

/// On 2026-10-25 clocks in Berlin go from 03:00 (+02) back to 02:00 (+01).
#[test]
fn a_time_that_occurs_twice() {
    let times = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
    assert_eq!(times, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    let times = next("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 5);
    let twice = next("0 1-3 * * *", "Europe/Berlin", "2026-10-24T22:30:00Z", 4);
    let hours = ["2026-10-24T23", "2026-10-25T00", "2026-10-25T01", "2026-10-25T02"];
    assert_eq!(twice, hours.map(|hour| format!("{hour}:00:00Z")));
    let expected = ["00:00", "00:30", "01:00", "01:30", "02:00"].map(|it| format!("2026-10-25T{it}:00Z"));
    assert_eq!(times, expected);
}

#[test]
fn what_is_never_due() {
    let schedule = Schedule::parse("0 0 30 2 *", "UTC").unwrap();
    assert_eq!(schedule.next_after(at("2026-01-01T00:00:00Z")), None);
    let schedule = Schedule::parse("@daily", "UTC").unwrap();
    for extreme in [i64::MIN, i64::MAX, at("9999-12-29T00:00:00Z")] {
        assert_eq!(schedule.next_after(extreme), None, "{extreme}");
    }
}

#[test]
fn errors_name_the_expression_and_the_field() {
    for (cron, why) in [
        ("60 * * * *", "the minute is \"60\""),
        ("* 24 * * *", "the hour is \"24\""),
        ("* * 32 * *", "the day of month is \"32\""),
        ("* * 0 * *", "the day of month is \"0\""),
        ("* * * 13 *", "the month is \"13\""),
        ("* * * * 8", "the day of week is \"8\""),
        ("* * * MON *", "the month is \"MON\""),
        ("JAN * * * *", "the minute is \"JAN\""),
        ("* * * * JAN", "the day of week is \"JAN\""),
        ("1,,2 * * * *", "the minute is \"1,,2\""),
        (", * * * *", "the minute is \",\""),
        ("*/0 * * * *", "the minute is \"*/0\""),
        ("5/2 * * * *", "the minute is \"5/2\""),
        ("* 22-2 * * *", "the hour is \"22-2\""),
        ("* * * * SATURDAY", "the day of week is \"SATURDAY\""),
        ("* * L L *", "the month is \"L\""),
        ("-1 * * * *", "the minute is \"-1\""),
        ("70000 * * * *", "the minute is \"70000\""),
        ("* * * * 5#6", "the day of week is \"5#6\""),
        ("é * * * *", "the minute is \"é\""),
        ("* * * *", "4 fields in place of 5"),
        ("0 * * * * *", "6 fields in place of 5"),
        ("", "0 fields in place of 5"),
        ("@reboot", "unknown nickname"),
        ("@daily *", "unknown nickname"),
    ] {
        let error = Schedule::parse(cron, "UTC").unwrap_err();
        assert_eq!(error.message, format!("invalid schedule {cron:?}: {why}"));
    }
    let long = "1,".repeat(1 << 20);
    let error = Schedule::parse(&long, "UTC").unwrap_err();
    assert_eq!(
        error.message,
        "the schedule has 2097152 characters, more than 256"
    );
}

#[test]
fn time_zones_are_known_by_name() {
    let error = Schedule::parse("@daily", "Europe/Berln").unwrap_err();
    assert_eq!(error.message, "unknown time zone \"Europe/Berln\"");
    assert_eq!(error.hint.as_deref(), Some("Perhaps Europe/Berlin is meant."));
    for zone in ["", "+02:00", "../etc/passwd", "nowhere at all"] {
        assert!(Schedule::parse("@daily", zone).is_err(), "{zone}");
    }
    for zone in ["UTC", "Etc/UTC", "Asia/Kathmandu", "Pacific/Apia"] {
        assert!(Schedule::parse("@daily", zone).is_ok(), "{zone}");
    }
}
