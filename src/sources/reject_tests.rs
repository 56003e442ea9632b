use super::*;

/// The message of a good record's reason to be refused after a change, or "ok", preceded by its code.
fn after<'a>(change: impl FnOnce(&mut Record<'a>)) -> (&'static str, String) {
    let mut record = Record {
        entity_id: "e",
        vector: &[0.5, -2.0],
        ..Record::default()
    };
    change(&mut record);
    validate(&record, 2)
        .err()
        .map_or(("ok", String::new()), |reason| {
            assert!(reason.hint().ends_with('.'), "{reason:?}");
            (reason.code(), reason.to_string())
        })
}

fn code<'a>(change: impl FnOnce(&mut Record<'a>)) -> &'static str {
    after(change).0
}

#[test]
fn good_records_pass() {
    let long = "x".repeat(MAX_ENTITY_ID_BYTES);
    assert_eq!(code(|_| ()), "ok");
    assert_eq!(code(|r| r.entity_id = &long), "ok");
    assert_eq!(code(|r| (r.ts, r.produced_at) = (MIN_TS, Some(END_TS - 1))), "ok");
    assert_eq!(code(|r| r.vector = &[0.0, f32::MIN_POSITIVE / 2.0]), "ok");
    assert_eq!(code(|r| r.vector = &[f32::MAX, f32::MIN]), "ok");
    assert_eq!(code(|r| r.attrs = Some(r#"{"a": [1, "é", null, -1e308]}"#)), "ok");
}

#[test]
fn entities_and_texts() {
    let (long, text) = (
        "x".repeat(MAX_ENTITY_ID_BYTES + 1),
        "x".repeat(MAX_TEXT_BYTES + 1),
    );
    assert_eq!(code(|r| r.entity_id = ""), "empty_entity_id");
    assert_eq!(code(|r| r.entity_id = &long), "entity_id_too_long");
    assert_eq!(
        after(|r| r.entity_id = "a\0"),
        ("nul_character", "entity_id holds a NUL character".into())
    );
    assert_eq!(code(|r| r.pipeline_hash = Some("\0")), "nul_character");
    assert_eq!(code(|r| r.input_hash = Some(&text)), "text_too_long");
}

#[test]
fn times() {
    assert_eq!(code(|r| r.ts = i64::MAX), "infinite_timestamp");
    assert_eq!(code(|r| r.ts = i64::MIN), "infinite_timestamp");
    assert_eq!(code(|r| r.ts = END_TS), "timestamp_out_of_range");
    assert_eq!(code(|r| r.ts = MIN_TS - 1), "timestamp_out_of_range");
    let infinite = ("infinite_timestamp", "produced_at is -infinity".to_string());
    assert_eq!(after(|r| r.produced_at = Some(i64::MIN)), infinite);
}

#[test]
fn vectors() {
    assert_eq!(code(|r| r.vector = &[0.0, -0.0]), "zero_vector");
    assert_eq!(code(|r| r.vector = &[]), "wrong_dimension");
    assert_eq!(code(|r| r.vector = &[1.0; MAX_DIMS + 1]), "too_many_dimensions");
    assert_eq!(code(|r| r.vector = &[1.0, f32::NAN]), "not_a_number");
    let infinite = ("infinite_element", "vector element 1 is -Infinity".to_string());
    assert_eq!(after(|r| r.vector = &[1.0, f32::NEG_INFINITY]), infinite);
    let wrong = (
        "wrong_dimension",
        "vector has 3 dimensions, the space has 2".to_string(),
    );
    assert_eq!(after(|r| r.vector = &[1.0, 2.0, 3.0]), wrong);
}

#[test]
fn attrs_are_what_jsonb_holds() {
    let deep = "[".repeat(100_000);
    for bad in ["", "{", "{\"a\": NaN}", "1e400", r#""\ud800""#, "{} x", &deep] {
        assert_eq!(code(|r| r.attrs = Some(bad)), "invalid_attrs", "{bad:.20}");
    }
    assert_eq!(code(|r| r.attrs = Some(r#"{"a": ["\u0000"]}"#)), "nul_character");
    assert_eq!(code(|r| r.attrs = Some(r#"{"\u0000": 1}"#)), "nul_character");
}
