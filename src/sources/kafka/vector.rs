//! A vector being read: its elements, and what is wrong with the first that is none.

use crate::{MAX_DIMS, RejectReason};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_ENGINE: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const URL_ENGINE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// An element that is no float32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Element {
    Null,
    /// Finite as it was sent, and too large.
    Overflow(f64),
    /// Something else, which is so called.
    Wrong(&'static str),
}

/// Buffers that are kept from one message to the next.
#[derive(Debug, Default)]
pub(super) struct Vector {
    values: Vec<f32>,
    /// Elements seen, of which only so many are kept as a vector may have.
    count: usize,
    wrong: Option<(usize, Element)>,
    bytes: Vec<u8>,
}

impl Vector {
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.count = 0;
        self.wrong = None;
    }

    #[inline]
    pub(super) fn push(&mut self, x: f32) {
        if self.count < MAX_DIMS {
            self.values.push(x);
        }
        self.count += 1;
    }

    /// Counts an element that is none; the first is remembered.
    pub(super) fn note(&mut self, element: Element) {
        self.wrong.get_or_insert((self.count, element));
        self.push(f32::NAN);
    }

    /// The vector, as it was read last.
    ///
    /// # Errors
    /// An element is null, too large, or no number (then `field` and the element's index name it); there are too many.
    pub(super) fn get(&self, field: &str) -> Result<&[f32], RejectReason> {
        match self.wrong {
            Some((index, Element::Null)) => Err(RejectReason::NullElement { index }),
            Some((index, Element::Overflow(value))) => Err(RejectReason::ElementOverflow { index, value }),
            Some((index, Element::Wrong(found))) => Err(RejectReason::WrongType {
                field: format!("{field}[{index}]"),
                found: found.into(),
                expected: "a number",
            }),
            None if self.count > MAX_DIMS => Err(RejectReason::TooManyDimensions { found: self.count }),
            None => Ok(&self.values),
        }
    }

    /// Reads little-endian float32.
    ///
    /// # Errors
    /// Their bytes are no multiple of four.
    pub(super) fn read_bytes(&mut self, bytes: &[u8], field: &str) -> Result<(), RejectReason> {
        self.clear();
        let (chunks, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(RejectReason::WrongType {
                field: field.into(),
                found: format!("{} bytes", bytes.len()),
                expected: "little-endian float32, four bytes each",
            });
        }
        self.count = chunks.len();
        let kept = chunks.iter().take(MAX_DIMS);
        self.values.extend(kept.map(|&chunk| f32::from_le_bytes(chunk)));
        Ok(())
    }

    /// Reads base64 (of either alphabet, padded or not) of little-endian float32.
    ///
    /// # Errors
    /// It is no base64, or not of float32.
    pub(super) fn read_base64(&mut self, text: &str, field: &str) -> Result<(), RejectReason> {
        let url = text.bytes().any(|c| c == b'-' || c == b'_');
        let engine = if url { &URL_ENGINE } else { &STANDARD_ENGINE };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let read = match engine.decode_vec(text, &mut bytes) {
            Ok(()) => self.read_bytes(&bytes, field),
            Err(error) => Err(RejectReason::WrongType {
                field: field.into(),
                found: format!("text that is no base64 ({error})"),
                expected: "an array of numbers or base64",
            }),
        };
        self.bytes = bytes;
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_both_alphabets_with_and_without_padding() {
        let values = [1.0_f32, -2.5, f32::from_bits(0xfb3e_fbff), 1e-40];
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut vector = Vector::default();
        let padded = STANDARD_ENGINE.encode(&bytes);
        let url = URL_ENGINE.encode(&bytes);
        assert!(padded.ends_with('=') && padded != url);
        for text in [
            &padded,
            &url,
            padded.trim_end_matches('='),
            url.trim_end_matches('='),
        ] {
            vector.read_base64(text, "v").unwrap();
            assert_eq!(vector.get("v").unwrap(), values);
        }
        for (text, found) in [("AAAA", "3 bytes"), ("AAA$", "no base64"), ("A", "no base64")] {
            let error = vector.read_base64(text, "v").unwrap_err();
            assert_eq!(error.code(), "wrong_type");
            assert!(error.to_string().contains(found), "{error}");
        }
        vector.read_base64("", "v").unwrap();
        assert!(vector.get("v").unwrap().is_empty());
    }

    #[test]
    fn too_many_elements_are_counted_and_not_kept() {
        let mut vector = Vector::default();
        vector.read_bytes(&vec![0; 4 * (MAX_DIMS + 5)], "v").unwrap();
        assert_eq!(
            vector.get("v"),
            Err(RejectReason::TooManyDimensions { found: MAX_DIMS + 5 })
        );
        assert_eq!(vector.values.len(), MAX_DIMS);
    }
}
