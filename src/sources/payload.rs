//! What a dead letter keeps of a refused row: enough to find and understand it, never megabytes.

use crate::Record;
use crate::time::to_text;
use serde_json::{Map, Value};

/// Texts are cut to this many bytes.
const MAX_PAYLOAD_TEXT: usize = 1024;
/// Vectors are cut to this many elements; their true length stands beside them.
const MAX_PAYLOAD_ELEMENTS: usize = 8;

/// A JSON object of the record's fields, built from whatever could be read. It always fits jsonb: NUL
/// characters and bytes that are no UTF-8 become U+FFFD, numbers that JSON lacks become the strings NaN and
/// Infinity.
#[derive(Debug, Default)]
pub struct Payload(Map<String, Value>);

impl Payload {
    /// All fields of a record.
    pub fn of(record: &Record<'_>) -> Self {
        let mut payload = Self::default();
        payload
            .text("entity_id", Some(record.entity_id.as_bytes()))
            .text("ts", Some(to_text(record.ts).as_bytes()));
        payload.vector(record.vector.iter().map(|&x| Some(x.into())), record.vector.len());
        let texts = [
            ("model_version", record.model_version),
            ("model_hash", record.model_hash),
            ("input_hash", record.input_hash),
            ("pipeline_hash", record.pipeline_hash),
            ("attrs", record.attrs),
        ];
        for (field, text) in texts.into_iter().filter(|(_, text)| text.is_some()) {
            payload.text(field, text.map(str::as_bytes));
        }
        if let Some(produced_at) = record.produced_at {
            payload.text("produced_at", Some(to_text(produced_at).as_bytes()));
        }
        payload
    }

    /// A text field, null where the row had none.
    pub fn text(&mut self, field: &str, text: Option<&[u8]>) -> &mut Self {
        let value = text.map_or(Value::Null, |bytes| {
            let shown = &bytes[..bytes.len().min(MAX_PAYLOAD_TEXT + 1)];
            Value::String(cut(&String::from_utf8_lossy(shown), MAX_PAYLOAD_TEXT).replace('\0', "\u{fffd}"))
        });
        self.0.insert(field.into(), value);
        self
    }

    /// The first elements of the vector as `vector`, and its length as `dims`.
    pub fn vector(&mut self, elements: impl Iterator<Item = Option<f64>>, dims: usize) -> &mut Self {
        let shown = elements
            .take(MAX_PAYLOAD_ELEMENTS)
            .map(|x| x.map_or(Value::Null, number))
            .collect();
        self.0.insert("vector".into(), Value::Array(shown));
        self.0.insert("dims".into(), dims.into());
        self
    }

    /// The object as JSON text.
    pub fn finish(self) -> String {
        Value::Object(self.0).to_string()
    }
}

/// A float as JSON; what JSON lacks is a string, as PostgreSQL's to_json has it.
pub(crate) fn number(x: f64) -> Value {
    serde_json::Number::from_f64(x).map_or_else(
        || {
            let name = if x.is_nan() {
                "NaN"
            } else if x > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            name.into()
        },
        Value::Number,
    )
}

/// At most `bytes` bytes of a text, cut between characters, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.into();
    }
    let end = (0..=bytes)
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_bounded_and_fits_jsonb() {
        let mut payload = Payload::default();
        payload
            .text("entity_id", Some(&[b'a', 0, 0xff]))
            .text("attrs", Some("é".repeat(4000).as_bytes()));
        payload.vector(
            (0..16_000).map(|i| (i != 1).then_some(if i == 2 { f64::NAN } else { 0.5 })),
            16_000,
        );
        let text = payload.finish();
        assert!(text.len() < 1300, "{}", text.len());
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["entity_id"], "a\u{fffd}\u{fffd}");
        assert_eq!(json["dims"], 16_000);
        assert_eq!(
            json["vector"],
            serde_json::json!([0.5, null, "NaN", 0.5, 0.5, 0.5, 0.5, 0.5])
        );
        assert!(!text.contains("\\u0000"));
    }
}
