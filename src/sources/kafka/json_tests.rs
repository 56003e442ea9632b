use super::*;
use crate::RejectReason;
use serde_json::Value as Json;

fn fields_of<'a>(text: &'a str, paths: &[&str]) -> Result<(Fields<'a>, Vector), Syntax> {
    let (mut root, mut slots) = (Node::default(), 0);
    root.add_vector("v", &mut slots);
    paths
        .iter()
        .for_each(|path| assert!(root.add(path, &mut slots) < slots));
    let (mut fields, mut vector) = (Fields::new(slots), Vector::default());
    read(text, &root, &mut fields, &mut vector)?;
    Ok((fields, vector))
}

#[test]
fn fields_are_found_wherever_they_stand() {
    let text =
        r#" { "x":[{"a":1}], "m" : {"id":"7","other":{"id":8}, "n" : -12 }, "v":[1, -2.5e0 ,3],"t":true } "#;
    let (fields, vector) = fields_of(text, &["m.id", "m.n", "m.other", "a", "t", "m.id.x", "m"]).unwrap();
    assert_eq!(vector.get("v").unwrap(), [1.0, -2.5, 3.0]);
    assert_eq!(fields.get(1), &Value::Text("7".into()));
    assert_eq!(fields.get(2), &Value::Integer(-12));
    assert_eq!(fields.get(3), &Value::Object(r#"{"id":8}"#.into()));
    assert_eq!(fields.get(4), &Value::Absent);
    assert_eq!(fields.get(5), &Value::Bool(true));
    assert_eq!(fields.get(6), &Value::Absent);
    assert_eq!(
        fields.get(7),
        &Value::Object(r#"{"id":"7","other":{"id":8}, "n" : -12 }"#.into())
    );
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    let (fields, vector) = fields_of(
        r#"{"v":[1,null],"m":{"id":1,"n":2},"m":{"n":3},"v":[5]}"#,
        &["m.id", "m.n"],
    )
    .unwrap();
    assert_eq!(vector.get("v").unwrap(), [5.0]);
    assert_eq!(
        (fields.get(1), fields.get(2)),
        (&Value::Absent, &Value::Integer(3))
    );
    let (fields, _) = fields_of(r#"{"m":{"id":1},"m":null,"v":[1],"v":null}"#, &["m.id"]).unwrap();
    assert_eq!((fields.get(0), fields.get(1)), (&Value::Null, &Value::Absent));
}

#[test]
fn strings_and_keys_are_unescaped() {
    let (fields, _) = fields_of(
        r#"{"\u0069d":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000z","p":"plain é"}"#,
        &["id", "p"],
    )
    .unwrap();
    assert_eq!(fields.get(1), &Value::Text("a\"\\/\u{8}\u{c}\n\r\té😀\0z".into()));
    assert_eq!(fields.get(2), &Value::Text("plain é".into()));
}

#[test]
fn an_element_that_is_no_float_is_named() {
    let error = |text: &str| {
        let (_, vector) = fields_of(text, &[]).unwrap();
        vector.get("v").unwrap_err().to_string()
    };
    assert_eq!(error(r#"{"v":[1,null,"x"]}"#), "vector element 1 is null");
    assert_eq!(
        error(r#"{"v":[1,2,"3"]}"#),
        r#"field "v[2]" is a text, expected a number"#
    );
    assert_eq!(
        error(r#"{"v":[[1,2],3]}"#),
        r#"field "v[0]" is an array, expected a number"#
    );
    assert_eq!(
        error(r#"{"v":[1e39]}"#),
        "vector element 0 is 1e39, too large for a 32-bit float"
    );
}

#[test]
fn malformed_texts_say_where() {
    for (text, message) in [
        (
            "",
            "invalid JSON at byte 0: the text ends where a value should be",
        ),
        (
            r#"{"v":[1,2}"#,
            "invalid JSON at byte 9: expected a comma or a bracket",
        ),
        (r#"{"v":[1,]}"#, "invalid JSON at byte 8: expected a value"),
        (r#"{"v":[NaN]}"#, "invalid JSON at byte 6: expected a value"),
        (r#"{"v":[1.]}"#, "invalid JSON at byte 6: expected a number"),
        (
            r#"{"v":[01]}"#,
            "invalid JSON at byte 7: expected a comma or a bracket",
        ),
        (r#"{} x"#, "invalid JSON at byte 3: something follows the value"),
        (
            "\"a\nb\"",
            "invalid JSON at byte 2: a control character in a string",
        ),
        (r#""\ud800""#, "invalid JSON at byte 1: half of a surrogate pair"),
        (
            r#""\ud800\u0041""#,
            "invalid JSON at byte 1: half of a surrogate pair",
        ),
        (r#""\x""#, "invalid JSON at byte 1: unknown escape"),
        (r#"{"a" 1}"#, "invalid JSON at byte 5: expected a colon"),
        (r#"{a:1}"#, "invalid JSON at byte 1: expected a key"),
        (r#""abc"#, "invalid JSON at byte 4: the text ends in a string"),
        ("tru", "invalid JSON at byte 0: expected a value"),
    ] {
        assert_eq!(fields_of(text, &[]).unwrap_err().to_string(), message, "{text}");
    }
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert!(fields_of(&deep(100), &[]).is_ok());
    assert!(fields_of(&deep(200_000), &[]).is_err());
}

/// A text is taken exactly where serde_json takes it, and the fields have its values.
#[test]
fn damaged_texts_agree_with_serde_json() {
    let seeds = [
        r#"{"id":"a\u00e9\ud83d\ude00b","v":[0.25,-1e-3,3,4.5E+2],"m":{"id":12,"x":[{},[],"",null]},"t":true}"#,
        r#"{"v":"AACAPw==","m":{"id":1.5e3,"v":[1]},"id":false,"n":-0,"big":123456789012345678901234567890}"#,
        r#"[{"a":[1,2,{"b":"\"\\\/\b\f\n\r\t"}]},null,-0.0,1e5]"#,
    ];
    let alphabet = br#"{}[]",:\u0123456789abcdefnrtE+-. xd8D"#;
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below
    };
    let (mut taken, mut refused) = (0, 0);
    for round in 0..400_000 {
        let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..random(4).min(bytes.len()) {
            let (at, new) = (random(bytes.len()), alphabet[random(alphabet.len())]);
            match random(4) {
                0 => bytes[at] = new,
                1 => bytes.insert(at, new),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            continue;
        };
        let ours = fields_of(text, &["id", "m.id", "n"]);
        match serde_json::from_str::<Json>(text) {
            Ok(json) => {
                let (fields, vector) = ours.unwrap_or_else(|error| panic!("{text}: {error}"));
                compare(text, &json, &fields, &vector);
                taken += 1;
            }
            Err(error) if error.to_string().contains("out of range") => {}
            Err(error) => {
                assert!(ours.is_err(), "{text}: {error}");
                refused += 1;
            }
        }
    }
    assert!(taken > 100_000 && refused > 100_000, "{taken} {refused}");
}

fn compare(text: &str, json: &Json, fields: &Fields<'_>, vector: &Vector) {
    let same = |ours: &Value<'_>, theirs: Option<&Json>| match (ours, theirs) {
        (Value::Absent, None) | (Value::Null, Some(Json::Null)) => true,
        (Value::Bool(a), Some(Json::Bool(b))) => a == b,
        (Value::Text(a), Some(Json::String(b))) => a == b,
        (Value::Integer(a), Some(Json::Number(b))) => b.as_i64() == Some(*a),
        (Value::Number(a), Some(Json::Number(b))) => {
            a.parse::<f64>().ok().map(f64::to_bits) == b.as_f64().map(f64::to_bits)
                || (a.parse::<f64>().unwrap() - b.as_f64().unwrap()).abs()
                    <= 1e-15 * b.as_f64().unwrap().abs()
        }
        (Value::Object(a) | Value::Array(a), Some(b @ (Json::Object(_) | Json::Array(_)))) => {
            serde_json::from_str::<Json>(a).unwrap() == *b
        }
        _ => false,
    };
    for (slot, path) in [(0, "/v"), (1, "/id"), (2, "/m/id"), (3, "/n")] {
        // serde_json's pointers go through arrays too, by index: not these.
        let theirs = json.pointer(path);
        assert!(
            same(fields.get(slot), theirs),
            "{text}: {path} is {:?}",
            fields.get(slot)
        );
    }
    if let Some(Json::Array(elements)) = json.pointer("/v") {
        let theirs: Option<Vec<f32>> = elements
            .iter()
            .map(|x| x.as_number()?.to_string().parse().ok())
            .collect();
        match (vector.get("v"), theirs) {
            (Ok(ours), Some(theirs)) => {
                // The text of a double is one rounding more than ours.
                let close = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= f32::EPSILON * b.abs();
                assert!(
                    ours.len() == theirs.len() && ours.iter().zip(&theirs).all(close),
                    "{text}"
                );
            }
            (Err(_), None) => {}
            (Err(RejectReason::ElementOverflow { .. }), _) => {}
            (ours, theirs) => panic!("{text}: {ours:?} {theirs:?}"),
        }
    }
}
