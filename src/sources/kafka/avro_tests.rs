use super::*;
use apache_avro::types::Value as Avro;
use apache_avro::{Schema, to_avro_datum};

const SCHEMA: &str = r#"{"type":"record","name":"E","namespace":"n.s","fields":[
    {"name":"id","type":"string"},
    {"name":"v","type":{"type":"array","items":"float"}},
    {"name":"w","type":["null",{"type":"array","items":["null","double"]}]},
    {"name":"raw","type":"bytes"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"day","type":{"type":"int","logicalType":"date"}},
    {"name":"color","type":{"type":"enum","name":"C","symbols":["RED","BLUE"]}},
    {"name":"m","type":{"type":"map","values":"long"}},
    {"name":"next","type":["null","E"]},
    {"name":"other","type":"C"}
]}"#;

fn record(id: &str, next: Avro) -> Avro {
    let fields = [
        ("id", Avro::String(id.into())),
        ("v", Avro::Array([1.5, -2.0, 3.0].map(Avro::Float).into())),
        (
            "w",
            Avro::Union(
                1,
                Box::new(Avro::Array(vec![Avro::Union(1, Box::new(Avro::Double(0.1)))])),
            ),
        ),
        ("raw", Avro::Bytes(1.0_f32.to_le_bytes().into())),
        ("at", Avro::TimestampMicros(1_767_225_600_000_001)),
        ("day", Avro::Date(20_454)),
        ("color", Avro::Enum(1, "BLUE".into())),
        ("m", Avro::Map([("k".to_owned(), Avro::Long(-7))].into())),
        ("next", next),
        ("other", Avro::Enum(0, "RED".into())),
    ];
    Avro::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

fn encoded() -> Vec<u8> {
    let inner = record("inner", Avro::Union(0, Box::new(Avro::Null)));
    let outer = record("outer", Avro::Union(1, Box::new(inner)));
    to_avro_datum(&Schema::parse_str(SCHEMA).unwrap(), outer).unwrap()
}

fn fields_of<'a>(bytes: &'a [u8], vector_path: &str, paths: &[&str]) -> Result<(Fields<'a>, Vector), String> {
    let (mut root, mut slots) = (Node::default(), 0);
    root.add_vector(vector_path, &mut slots);
    for path in paths {
        root.add(path, &mut slots);
    }
    let (mut fields, mut vector) = (Fields::new(slots), Vector::default());
    read(bytes, &Types::parse(SCHEMA)?, &root, &mut fields, &mut vector)?;
    Ok((fields, vector))
}

#[test]
fn fields_of_every_type() {
    let bytes = encoded();
    let paths = [
        "id",
        "at",
        "day",
        "color",
        "m",
        "m.k",
        "next.id",
        "raw",
        "next.next",
        "none",
        "next.other",
    ];
    let (fields, vector) = fields_of(&bytes, "v", &paths).unwrap();
    assert_eq!(vector.get("v").unwrap(), [1.5, -2.0, 3.0]);
    let expected = [
        Value::Text("outer".into()),
        Value::Time(1_767_225_600_000_001, EpochUnit::Micros),
        Value::Time(1_767_225_600, EpochUnit::Seconds),
        Value::Text("BLUE".into()),
        Value::Object(r#"{"k":-7}"#.into()),
        Value::Integer(-7),
        Value::Text("inner".into()),
        Value::Bytes(&[0, 0, 128, 63]),
        Value::Null,
        Value::Absent,
        Value::Text("RED".into()),
    ];
    for (slot, value) in expected.iter().enumerate() {
        assert_eq!(fields.get(slot + 1), value, "{}", paths[slot]);
    }
    let (fields, vector) = fields_of(&bytes, "next.w", &["next"]).unwrap();
    assert_eq!(vector.get("w").unwrap(), [0.1_f32]);
    let Value::Object(text) = fields.get(1) else {
        panic!()
    };
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(json["id"], "inner");
    assert_eq!(json["at"], "2026-01-01T00:00:00.000001Z");
}

/// Nothing that is cut or changed panics, asks for memory, or runs for long.
#[test]
fn damaged_messages_are_errors_or_values() {
    let bytes = encoded();
    for end in 0..bytes.len() {
        assert!(fields_of(&bytes[..end], "v", &["next"]).is_err(), "{end}");
    }
    let mut refused = 0;
    for at in 0..bytes.len() {
        for new in 0..=255 {
            let mut damaged = bytes.clone();
            damaged[at] = new;
            refused += usize::from(fields_of(&damaged, "v", &["m", "next", "w"]).is_err());
        }
    }
    assert!(refused > 10_000, "{refused}");
    let nulls = Types::parse(r#"{"type":"array","items":"null"}"#).unwrap();
    let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
    let error = read(
        &endless,
        &nulls,
        &Node::default(),
        &mut Fields::new(0),
        &mut Vector::default(),
    );
    assert!(error.unwrap_err().contains("too many values"));
    assert!(Types::parse("{}").is_err());
}
