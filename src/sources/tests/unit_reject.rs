use super::*;

const GOOD: Record<'static> = Record {
    entity_id: "e",
    ts: 0,
    vector: &[0.5, -2.0],
    model_version: None,
    model_hash: None,
    input_hash: None,
    pipeline_hash: None,
    produced_at: None,
    attrs: None,
};

fn code(record: Record<'_>) -> &'static str {
    validate(&record, 2).err().map_or("ok", |reason| {
        assert!(
            !reason.to_string().is_empty() && reason.hint().ends_with('.'),
            "{reason:?}"
        );
        reason.code()
    })
}

#[test]
fn good_records_pass() {
    let long = "x".repeat(MAX_ENTITY_ID_BYTES);
    assert_eq!(code(GOOD), "ok");
    assert_eq!(
        code(Record {
            entity_id: &long,
            ts: MIN_TS,
            produced_at: Some(END_TS - 1),
            ..GOOD
        }),
        "ok"
    );
    assert_eq!(
        code(Record {
            vector: &[0.0, f32::MIN_POSITIVE / 2.0],
            ..GOOD
        }),
        "ok"
    );
    assert_eq!(
        code(Record {
            vector: &[f32::MAX, f32::MIN],
            ..GOOD
        }),
        "ok"
    );
    assert_eq!(
        code(Record {
            attrs: Some(r#"{"a": [1, "é", null, -1e308]}"#),
            ..GOOD
        }),
        "ok"
    );
}

#[test]
fn entities_and_texts() {
    let long = "x".repeat(MAX_ENTITY_ID_BYTES + 1);
    assert_eq!(
        code(Record {
            entity_id: "",
            ..GOOD
        }),
        "empty_entity_id"
    );
    assert_eq!(
        code(Record {
            entity_id: &long,
            ..GOOD
        }),
        "entity_id_too_long"
    );
    assert_eq!(
        code(Record {
            entity_id: "a\0",
            ..GOOD
        }),
        "nul_character"
    );
    assert_eq!(
        code(Record {
            pipeline_hash: Some("\0"),
            ..GOOD
        }),
        "nul_character"
    );
    assert_eq!(
        code(Record {
            input_hash: Some(&"x".repeat(MAX_TEXT_BYTES + 1)),
            ..GOOD
        }),
        "text_too_long"
    );
}

#[test]
fn times() {
    assert_eq!(code(Record { ts: i64::MAX, ..GOOD }), "infinite_timestamp");
    assert_eq!(code(Record { ts: i64::MIN, ..GOOD }), "infinite_timestamp");
    assert_eq!(code(Record { ts: END_TS, ..GOOD }), "timestamp_out_of_range");
    assert_eq!(
        code(Record {
            ts: MIN_TS - 1,
            ..GOOD
        }),
        "timestamp_out_of_range"
    );
    let reason = validate(
        &Record {
            produced_at: Some(i64::MIN),
            ..GOOD
        },
        2,
    )
    .unwrap_err();
    assert_eq!(reason.to_string(), "produced_at is -infinity");
}

#[test]
fn vectors() {
    assert_eq!(
        code(Record {
            vector: &[0.0, -0.0],
            ..GOOD
        }),
        "zero_vector"
    );
    assert_eq!(code(Record { vector: &[], ..GOOD }), "wrong_dimension");
    assert_eq!(
        code(Record {
            vector: &[1.0],
            ..GOOD
        }),
        "wrong_dimension"
    );
    assert_eq!(
        code(Record {
            vector: &[1.0; MAX_DIMS + 1],
            ..GOOD
        }),
        "too_many_dimensions"
    );
    assert_eq!(
        code(Record {
            vector: &[1.0, f32::NAN],
            ..GOOD
        }),
        "not_a_number"
    );
    assert_eq!(
        code(Record {
            vector: &[f32::NEG_INFINITY, 1.0],
            ..GOOD
        }),
        "infinite_element"
    );
    let reason = validate(
        &Record {
            vector: &[1.0, f32::NEG_INFINITY],
            ..GOOD
        },
        2,
    )
    .unwrap_err();
    assert_eq!(reason.to_string(), "vector element 1 is -Infinity");
    let reason = validate(
        &Record {
            vector: &[1.0, 2.0, 3.0],
            ..GOOD
        },
        2,
    )
    .unwrap_err();
    assert_eq!(reason.to_string(), "vector has 3 dimensions, the space has 2");
}

#[test]
fn attrs_are_what_jsonb_holds() {
    let code = |attrs| {
        code(Record {
            attrs: Some(attrs),
            ..GOOD
        })
    };
    for bad in ["", "{", "{\"a\": NaN}", "1e400", r#""\ud800""#, "{} x"] {
        assert_eq!(code(bad), "invalid_attrs", "{bad}");
    }
    assert_eq!(code(&"[".repeat(100_000)), "invalid_attrs");
    assert_eq!(code(r#"{"a": ["\u0000"]}"#), "nul_character");
    assert_eq!(code(r#"{"\u0000": 1}"#), "nul_character");
}
