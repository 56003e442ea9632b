//! JSON, read once and in place: mapped fields are found, vectors become float32, and everything else is checked to be
//! JSON, so that a message is either valid as a whole or malformed.

use super::number::parse_f32;
use super::paths::Node;
use super::value::{Fields, Value};
use super::vector::{Element, Vector};
use std::borrow::Cow;
use std::fmt;

/// Deepest nesting, as PostgreSQL's and serde_json's.
const MAX_DEPTH: usize = 128;

/// What is wrong, and at which byte.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Syntax {
    what: &'static str,
    at: usize,
}

impl fmt::Display for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid JSON at byte {}: {}", self.at, self.what)
    }
}

/// Finds the fields of a message. Where a key stands twice in an object the last one counts, as in jsonb.
///
/// # Errors
/// The text is not one JSON value.
pub(super) fn read<'a>(
    text: &'a str,
    root: &Node,
    fields: &mut Fields<'a>,
    vector: &mut Vector,
) -> Result<(), Syntax> {
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        fields,
        vector,
    };
    scanner.space();
    scanner.value(Some(root), 0)?;
    scanner.space();
    if scanner.at < scanner.bytes.len() {
        return Err(scanner.error("something follows the value"));
    }
    Ok(())
}

struct Scanner<'a, 's> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    fields: &'s mut Fields<'a>,
    vector: &'s mut Vector,
}

impl<'a> Scanner<'a, '_> {
    fn error(&self, what: &'static str) -> Syntax {
        Syntax { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads a value; with a node it is one that was asked for, or holds some.
    fn value(&mut self, node: Option<&Node>, depth: usize) -> Result<(), Syntax> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let start = self.at;
        let is_vector = node.is_some_and(|node| node.is_vector);
        match self.peek() {
            Some(b'{') => self.object(node, depth)?,
            Some(b'[') if is_vector => self.elements(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => drop(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => self.word("null")?,
            Some(_) => return Err(self.error("expected a value")),
            None => return Err(self.error("the text ends where a value should be")),
        }
        if let Some(slot) = node.and_then(|node| node.slot) {
            self.fields.set(slot, value_of(&self.text[start..self.at]));
        }
        Ok(())
    }

    fn object(&mut self, node: Option<&Node>, depth: usize) -> Result<(), Syntax> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a key"));
            }
            let key = unescaped(self.string()?);
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.error("expected a colon"));
            }
            self.at += 1;
            self.space();
            let child = node.and_then(|node| node.child(&key));
            if let Some(child) = child {
                child.forget(self.fields);
            }
            self.value(child, depth + 1)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected a comma or a brace")),
            }
            self.space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Syntax> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(None, depth + 1)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected a comma or a bracket")),
            }
            self.space();
        }
    }

    /// An array that is to be a vector: numbers by the short way, anything else is noted and read past.
    fn elements(&mut self, depth: usize) -> Result<(), Syntax> {
        self.vector.clear();
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let start = self.at;
            match parse_f32(self.bytes, start) {
                Some((x, end)) => {
                    self.at = end;
                    if x.is_finite() {
                        self.vector.push(x);
                    } else {
                        let text = &self.text[start..end];
                        self.vector
                            .note(Element::Overflow(text.parse().unwrap_or(f64::INFINITY)));
                    }
                }
                None => {
                    self.value(None, depth + 1)?;
                    let element = match value_of(&self.text[start..self.at]) {
                        Value::Null => Element::Null,
                        other => Element::Wrong(other.kind()),
                    };
                    self.vector.note(element);
                }
            }
            if self.peek() != Some(b',') {
                self.space();
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected a comma or a bracket")),
            }
            self.space();
        }
    }

    fn number(&mut self) -> Result<(), Syntax> {
        let (_, end) = parse_f32(self.bytes, self.at).ok_or_else(|| self.error("expected a number"))?;
        self.at = end;
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<(), Syntax> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads a string and returns what stands between its quotes, with its escapes.
    fn string(&mut self) -> Result<&'a str, Syntax> {
        self.at += 1;
        let start = self.at;
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().position(|&c| c == b'"' || c == b'\\' || c < b' ');
            let Some(plain) = plain else {
                self.at = self.bytes.len();
                return Err(self.error("the text ends in a string"));
            };
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                b'\\' => self.escape()?,
                _ => return Err(self.error("a control character in a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Syntax> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit =
                    hex(self.bytes, self.at + 2).ok_or_else(|| self.error("expected four hex digits"))?;
                let low = match unit {
                    0xd800..=0xdbff if self.bytes[self.at + 6..].starts_with(b"\\u") => {
                        hex(self.bytes, self.at + 8)
                    }
                    _ => None,
                };
                self.at += match (unit, low) {
                    (0xd800..=0xdbff, Some(0xdc00..=0xdfff)) => 12,
                    (0xd800..=0xdfff, _) => return Err(self.error("half of a surrogate pair")),
                    _ => 6,
                };
            }
            _ => return Err(self.error("unknown escape")),
        }
        Ok(())
    }
}

fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |number, &digit| {
        char::from(digit).to_digit(16).map(|digit| number << 4 | digit)
    })
}

/// The value of a text that was read as one.
fn value_of(text: &str) -> Value<'_> {
    match text.as_bytes().first() {
        Some(b'"') => Value::Text(unescaped(&text[1..text.len() - 1])),
        Some(b'{') => Value::Object(Cow::Borrowed(text)),
        Some(b'[') => Value::Array(Cow::Borrowed(text)),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') | None => Value::Null,
        Some(_) => match text.parse() {
            Ok(integer) if text != "-0" => Value::Integer(integer),
            _ => Value::Number(Cow::Borrowed(text)),
        },
    }
}

/// A string's value, of what stands between its quotes and was read as a string.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.as_bytes().contains(&b'\\') {
        return Cow::Borrowed(text);
    }
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        value.push_str(&rest[..at]);
        let bytes = rest.as_bytes();
        let (character, length) = match bytes.get(at + 1) {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => match (hex(bytes, at + 2), hex(bytes, at + 8)) {
                (Some(high @ 0xd800..=0xdbff), Some(low)) => {
                    let code = 0x1_0000 + ((high - 0xd800) << 10) + (low & 0x3ff);
                    (char::from_u32(code).unwrap_or('\u{fffd}'), 12)
                }
                (unit, _) => (unit.and_then(char::from_u32).unwrap_or('\u{fffd}'), 6),
            },
            Some(&other) => (char::from(other), 2),
            None => break,
        };
        value.push(character);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    value.push_str(rest);
    Cow::Owned(value)
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
