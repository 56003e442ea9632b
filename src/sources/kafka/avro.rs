//! Avro's binary form, read in place by the schema that wrote it: the same fields and vectors as of JSON, without a tree.

use super::paths::Node;
use super::value::{Fields, Value, write_text};
use super::vector::{Element, Vector};
use crate::time::EpochUnit;
use apache_avro::Schema;
use std::borrow::Cow;
use std::collections::HashMap;

/// Deepest nesting of values: a schema may refer to itself.
const MAX_DEPTH: usize = 128;
/// Most values of a message: items of an array may have no bytes at all.
const MAX_VALUES: usize = 4 << 20;
const SECONDS_A_DAY: i64 = 86_400;

/// A schema, its types numbered, so that those that refer to each other do so by number.
#[derive(Debug)]
pub(super) struct Types(Vec<Type>);

#[derive(Debug)]
enum Type {
    Null,
    Bool,
    /// 32 or 64 bits, which are written alike.
    Integer,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Days,
    Time(EpochUnit),
    Symbols(Vec<String>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<(String, usize)>),
}

impl Types {
    /// # Errors
    /// What is no schema, as a text.
    pub(super) fn parse(schema: &str) -> Result<Self, String> {
        let schema = Schema::parse_str(schema).map_err(|error| error.to_string())?;
        let mut types = Self(Vec::new());
        types.add(&schema, &None, &mut HashMap::new())?;
        Ok(types)
    }

    fn add(
        &mut self,
        schema: &Schema,
        namespace: &Option<String>,
        names: &mut HashMap<String, usize>,
    ) -> Result<usize, String> {
        if let Schema::Ref { name } = schema {
            let name = name.fully_qualified_name(namespace).fullname(None);
            return names
                .get(&name)
                .copied()
                .ok_or_else(|| format!("unknown type {name}"));
        }
        let at = self.0.len();
        self.0.push(Type::Null);
        let mut inside = namespace.clone();
        if let Some(name) = schema.name() {
            let name = name.fully_qualified_name(namespace);
            names.insert(name.fullname(None), at);
            inside.clone_from(&name.namespace);
        }
        self.0[at] = match schema {
            Schema::Null => Type::Null,
            Schema::Boolean => Type::Bool,
            Schema::Int | Schema::Long | Schema::TimeMillis | Schema::TimeMicros => Type::Integer,
            Schema::Float => Type::Float,
            Schema::Double => Type::Double,
            Schema::Bytes | Schema::BigDecimal => Type::Bytes,
            Schema::String | Schema::Uuid => Type::Text,
            Schema::Date => Type::Days,
            Schema::TimestampMillis | Schema::LocalTimestampMillis => Type::Time(EpochUnit::Millis),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => Type::Time(EpochUnit::Micros),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Type::Time(EpochUnit::Nanos),
            Schema::Duration => Type::Fixed(12),
            Schema::Fixed(fixed) => Type::Fixed(fixed.size),
            Schema::Enum(it) => Type::Symbols(it.symbols.clone()),
            Schema::Decimal(decimal) => match &*decimal.inner {
                Schema::Fixed(fixed) => Type::Fixed(fixed.size),
                _ => Type::Bytes,
            },
            Schema::Array(array) => Type::Array(self.add(&array.items, &inside, names)?),
            Schema::Map(map) => Type::Map(self.add(&map.types, &inside, names)?),
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|it| self.add(it, &inside, names));
                Type::Union(variants.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => {
                let fields = record.fields.iter();
                let fields = fields.map(|it| Ok((it.name.clone(), self.add(&it.schema, &inside, names)?)));
                Type::Record(fields.collect::<Result<_, String>>()?)
            }
            Schema::Ref { .. } => Type::Null,
        };
        Ok(at)
    }
}

/// Finds the fields of a message.
///
/// # Errors
/// What is wrong with it, as a text.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    types: &Types,
    root: &Node,
    fields: &mut Fields<'a>,
    vector: &mut Vector,
) -> Result<(), String> {
    let mut reader = Reader {
        bytes,
        at: 0,
        values: 0,
        types,
    };
    reader.value(0, Some(root), fields, vector, 0)?;
    if reader.at < bytes.len() {
        return Err(format!("{} bytes follow the value", bytes.len() - reader.at));
    }
    Ok(())
}

struct Reader<'a, 't> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
    types: &'t Types,
}

impl<'a, 't> Reader<'a, 't> {
    /// The type of the next value, with the branch of a union taken.
    fn type_of(&mut self, mut number: usize) -> Result<&'t Type, String> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err("too many values".into());
        }
        // A union does not directly hold another.
        if let Some(Type::Union(variants)) = self.types.0.get(number) {
            let branch = self.integer()?;
            let variant = usize::try_from(branch)
                .ok()
                .and_then(|branch| variants.get(branch));
            number = *variant.ok_or_else(|| format!("branch {branch} of a union at byte {}", self.at))?;
        }
        self.types.0.get(number).ok_or_else(|| "unknown type".into())
    }

    fn value(
        &mut self,
        number: usize,
        node: Option<&Node>,
        fields: &mut Fields<'a>,
        vector: &mut Vector,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply".into());
        }
        let (start, values) = (self.at, self.values);
        let found = match self.type_of(number)? {
            Type::Record(members) => {
                for (name, member) in members {
                    let child = node.and_then(|node| node.child(name));
                    self.value(*member, child, fields, vector, depth + 1)?;
                }
                None
            }
            Type::Map(items) => {
                while let Some(count) = self.block()? {
                    for _ in 0..count {
                        let key = self.text()?;
                        let child = node.and_then(|node| node.child(key));
                        if let Some(child) = child {
                            child.forget(fields);
                        }
                        self.value(*items, child, fields, vector, depth + 1)?;
                    }
                }
                None
            }
            Type::Array(items) if node.is_some_and(|node| node.is_vector) => {
                self.elements(*items, fields, depth, vector)?;
                Some(Value::Array(Cow::Borrowed("")))
            }
            Type::Array(items) => {
                while let Some(count) = self.block()? {
                    for _ in 0..count {
                        self.value(*items, None, fields, vector, depth + 1)?;
                    }
                }
                None
            }
            plain => Some(self.plain(plain)?),
        };
        let Some(slot) = node.and_then(|node| node.slot) else {
            return Ok(());
        };
        let value = match found {
            Some(value) => value,
            None => {
                // Rare enough, and short: read once more, as JSON.
                (self.at, self.values) = (start, values);
                let mut text = String::new();
                self.json(number, &mut text, depth)?;
                if text.starts_with('{') {
                    Value::Object(Cow::Owned(text))
                } else {
                    Value::Array(Cow::Owned(text))
                }
            }
        };
        fields.set(slot, value);
        Ok(())
    }

    /// A value that has no parts.
    fn plain(&mut self, of: &'t Type) -> Result<Value<'a>, String> {
        Ok(match of {
            Type::Bool => Value::Bool(self.take(1)? == [1]),
            Type::Integer => Value::Integer(self.integer()?),
            Type::Float => Value::Double(self.float()?.into()),
            Type::Double => Value::Double(self.double()?),
            Type::Bytes => Value::Bytes(self.counted()?),
            Type::Text => Value::Text(Cow::Borrowed(self.text()?)),
            Type::Fixed(size) => Value::Bytes(self.take(*size)?),
            Type::Days => Value::Time(self.integer()?.saturating_mul(SECONDS_A_DAY), EpochUnit::Seconds),
            Type::Time(unit) => Value::Time(self.integer()?, *unit),
            Type::Symbols(symbols) => {
                let symbol = usize::try_from(self.integer()?)
                    .ok()
                    .and_then(|at| symbols.get(at));
                let symbol = symbol.ok_or_else(|| format!("unknown symbol at byte {}", self.at))?;
                Value::Text(Cow::Owned(symbol.clone()))
            }
            Type::Null | Type::Array(_) | Type::Map(_) | Type::Union(_) | Type::Record(_) => Value::Null,
        })
    }

    fn elements(
        &mut self,
        items: usize,
        fields: &mut Fields<'a>,
        depth: usize,
        vector: &mut Vector,
    ) -> Result<(), String> {
        vector.clear();
        while let Some(count) = self.block()? {
            for _ in 0..count {
                let start = (self.at, self.values);
                match self.type_of(items)? {
                    Type::Float => vector.push(self.float()?),
                    Type::Double => push_double(self.double()?, vector),
                    Type::Integer => push_double(self.integer()? as f64, vector),
                    Type::Null => vector.note(Element::Null),
                    _ => {
                        (self.at, self.values) = start;
                        self.value(items, None, fields, &mut Vector::default(), depth + 1)?;
                        vector.note(Element::Wrong("no number"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a value and appends it as JSON.
    fn json(&mut self, number: usize, out: &mut String, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply".into());
        }
        let mut separator = "";
        match self.type_of(number)? {
            Type::Record(members) => {
                out.push('{');
                for (name, member) in members {
                    out.push_str(separator);
                    separator = ",";
                    write_text(name, out);
                    out.push(':');
                    self.json(*member, out, depth + 1)?;
                }
                out.push('}');
            }
            Type::Map(items) => {
                out.push('{');
                while let Some(count) = self.block()? {
                    for _ in 0..count {
                        out.push_str(separator);
                        separator = ",";
                        write_text(self.text()?, out);
                        out.push(':');
                        self.json(*items, out, depth + 1)?;
                    }
                }
                out.push('}');
            }
            Type::Array(items) => {
                out.push('[');
                while let Some(count) = self.block()? {
                    for _ in 0..count {
                        out.push_str(separator);
                        separator = ",";
                        self.json(*items, out, depth + 1)?;
                    }
                }
                out.push(']');
            }
            plain => self.plain(plain)?.write_json(out),
        }
        Ok(())
    }

    /// How many items follow in a block of an array or map; None at its end.
    fn block(&mut self) -> Result<Option<u64>, String> {
        let count = self.integer()?;
        if count < 0 {
            // The block's size in bytes, for readers that skip it.
            self.integer()?;
        }
        Ok((count != 0).then_some(count.unsigned_abs()))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or_else(|| {
            format!(
                "{length} bytes are wanted at byte {}, {} are left",
                self.at,
                rest.len()
            )
        })?;
        self.at += length;
        Ok(taken)
    }

    /// Zigzag, seven bits a byte, the lowest first.
    fn integer(&mut self) -> Result<i64, String> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            bits |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err(format!("an integer of more than 64 bits before byte {}", self.at))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "a value is cut".to_owned())
    }

    fn float(&mut self) -> Result<f32, String> {
        self.array().map(f32::from_le_bytes)
    }

    fn double(&mut self) -> Result<f64, String> {
        self.array().map(f64::from_le_bytes)
    }

    fn counted(&mut self) -> Result<&'a [u8], String> {
        let length = self.integer()?;
        let length =
            usize::try_from(length).map_err(|_| format!("a length of {length} at byte {}", self.at))?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let end = self.at;
        std::str::from_utf8(self.counted()?).map_err(|_| format!("invalid UTF-8 after byte {end}"))
    }
}

fn push_double(x: f64, vector: &mut Vector) {
    let float = x as f32;
    if float.is_infinite() && x.is_finite() {
        vector.note(Element::Overflow(x));
    } else {
        vector.push(float);
    }
}

#[cfg(test)]
#[path = "avro_tests.rs"]
mod tests;
