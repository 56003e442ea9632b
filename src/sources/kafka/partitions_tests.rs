use super::*;

fn marks(of: &[(i32, i64, i64)]) -> Marks {
    Marks {
        partitions: of.iter().map(|&(number, ..)| number).collect(),
        low: of.iter().map(|&(number, low, _)| (number, low)).collect(),
        high: of.iter().map(|&(number, _, high)| (number, high)).collect(),
        at: of.iter().map(|&(number, low, _)| (number, low - 1)).collect(),
    }
}

fn partitions(watermark: &[(&str, i64)]) -> Partitions {
    let watermark = watermark
        .iter()
        .map(|&(part, next)| (part.to_owned(), json!({ "offset": next })))
        .collect();
    Partitions::new("t", &watermark, false).unwrap()
}

fn positions(partitions: &mut Partitions) -> Vec<(String, i64)> {
    let offset = |position: Position| (position.part, position.value.unwrap()["offset"].as_i64().unwrap());
    partitions.take_positions().into_iter().map(offset).collect()
}

#[test]
fn start_counts_the_first_time_only() {
    let there = marks(&[(0, 5, 9), (1, 0, 3)]);
    for (start, expected) in [
        (Start::Earliest, [5, 0]),
        (Start::Latest, [9, 3]),
        // Never before what is kept.
        (Start::At(0), [5, 0]),
    ] {
        let mut fresh = partitions(&[]);
        fresh.start(&there, start);
        assert_eq!(
            positions(&mut fresh),
            [("t/0".into(), expected[0]), ("t/1".into(), expected[1])]
        );
        assert_eq!(positions(&mut fresh), []);
        // Partition 1 has been added since: it is read from its beginning.
        let mut grown = partitions(&[("t/0", 7), ("tt/1", 1), ("other/0", 2)]);
        grown.start(&there, start);
        assert_eq!(positions(&mut grown), [("t/1".into(), 0)]);
        assert_eq!(grown.next(0), Some(7));
    }
}

#[test]
fn a_full_run_forgets_the_watermark() {
    let watermark = [("t/0".to_owned(), json!({ "offset": 7 }))].into();
    let mut full = Partitions::new("t", &watermark, true).unwrap();
    full.start(&marks(&[(0, 5, 9)]), Start::Earliest);
    assert_eq!(positions(&mut full), [("t/0".into(), 5)]);
    let foreign = [("t/0".to_owned(), json!({ "file": 7 }))].into();
    assert_eq!(
        Partitions::new("t", &foreign, false).unwrap_err().kind,
        ErrorKind::Internal
    );
}

#[test]
fn a_gap_stops_or_is_named() {
    let there = marks(&[(0, 5, 9), (1, 2, 3), (2, 0, 4)]);
    let mut known = partitions(&[("t/0", 3), ("t/1", 2), ("t/2", 4)]);
    let error = known.check(&[0, 1, 2], &there, RetentionGap::Stop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Gap);
    assert_eq!(
        error.message,
        "t/0 was to be read from offset 3, and begins at 5: 2 offsets have expired"
    );
    assert!(error.hint.is_some_and(|hint| hint.contains("retention_gap")));
    let lost = known.check(&[0, 1, 2], &there, RetentionGap::Skip).unwrap();
    assert_eq!(
        lost,
        [Lost {
            partition: 0,
            from: 3,
            to: 4
        }]
    );
    assert_eq!(positions(&mut known), [("t/0".into(), 5)]);
    assert_eq!(known.check(&[0, 1, 2], &there, RetentionGap::Stop), Ok(vec![]));
}

#[test]
fn what_expires_before_the_first_read_is_no_gap() {
    let mut fresh = partitions(&[]);
    fresh.start(&marks(&[(0, 5, 9)]), Start::Earliest);
    let later = marks(&[(0, 6, 9)]);
    assert_eq!(fresh.check(&[0], &later, RetentionGap::Stop), Ok(vec![]));
    assert!(fresh.advance(0, 6));
    assert!(
        fresh
            .check(&[0], &marks(&[(0, 8, 9)]), RetentionGap::Stop)
            .is_err()
    );
}

#[test]
fn a_recreated_topic_stops_or_is_read_anew() {
    let mut known = partitions(&[("t/0", 100)]);
    let there = marks(&[(0, 0, 4)]);
    let error = known.check(&[0], &there, RetentionGap::Stop).unwrap_err();
    assert!(
        error.kind == ErrorKind::Gap && error.message.contains("recreated"),
        "{error}"
    );
    assert_eq!(known.check(&[0], &there, RetentionGap::Skip), Ok(vec![]));
    assert_eq!(known.next(0), Some(0));
}

#[test]
fn reading_goes_forward_and_lag_with_it() {
    let mut known = partitions(&[("t/0", 3), ("t/1", 0)]);
    assert_eq!(
        known.check(&[0], &marks(&[(0, 0, 9)]), RetentionGap::Stop),
        Ok(vec![])
    );
    known.own(&[0], false);
    assert_eq!((known.owned(), known.lag()), (vec![0], Some(6)));
    assert!(known.advance(0, 3) && known.advance(0, 6));
    assert!(!known.advance(0, 6) && !known.advance(0, 2) && !known.advance(9, 0));
    assert_eq!(known.lag(), Some(2));
    known.own(&[1], true);
    assert_eq!((known.owned(), known.lag()), (vec![0, 1], None));
    assert_eq!(positions(&mut known), [("t/0".into(), 7)]);
}
