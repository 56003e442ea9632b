//! PostgreSQL's binary COPY: tuples cut out of the bytes as they come, vectors and values out of their fields.

use super::columns::{FIELDS, INCREMENTAL, ValueKind, VectorKind};
use super::guard::MAX_MESSAGE;
use super::quote;
use crate::time::{TimeError, from_text};
use crate::{MAX_DIMS, RejectReason};
use half::f16;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// No text longer than this is a time.
const MAX_TIME_TEXT: usize = 256;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;

/// The fields of a row, None where NULL.
pub(super) type Fields<'a> = [Option<&'a [u8]>; FIELDS];

/// Bytes that are no COPY of the rows that were asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Malformed(pub &'static str);

/// What is left of the bytes that came, until the rest of a tuple comes.
#[derive(Debug, Default)]
pub(super) struct Tuples {
    carry: Vec<u8>,
    header_read: bool,
    /// The trailer was read.
    ended: bool,
}

impl Tuples {
    /// Takes the next bytes of the COPY and hands out each tuple that is whole. In practice each piece is a row.
    pub(super) fn feed<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        fields: usize,
        mut take: impl FnMut(&Fields<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut carry = std::mem::take(&mut self.carry);
        let used = if carry.is_empty() {
            let used = self.cut(bytes, fields, &mut take)?;
            keep(&mut carry, &bytes[used..])?;
            0
        } else {
            keep(&mut carry, bytes)?;
            self.cut(&carry, fields, &mut take)?
        };
        carry.drain(..used);
        self.carry = carry;
        Ok(())
    }

    /// Whether the COPY came to its proper end.
    pub(super) fn is_complete(&self) -> bool {
        self.ended && self.carry.is_empty()
    }

    /// Cuts tuples off the front. Returns how many bytes they have.
    fn cut<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        fields: usize,
        take: &mut impl FnMut(&Fields<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut at = 0;
        if !self.header_read {
            let Some(size) = header(bytes)? else { return Ok(0) };
            self.header_read = true;
            at = size;
        }
        while at < bytes.len() {
            if self.ended {
                return Err(Malformed("bytes follow the trailer").into());
            }
            let mut row = Fields::default();
            match tuple(&bytes[at..], fields, &mut row)? {
                Tuple::Row(size) => {
                    take(&row)?;
                    at += size;
                }
                Tuple::Trailer => {
                    self.ended = true;
                    at += 2;
                }
                Tuple::Partial => break,
            }
        }
        Ok(at)
    }
}

fn keep(carry: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Malformed> {
    if carry.len() + bytes.len() > MAX_MESSAGE || carry.try_reserve(bytes.len()).is_err() {
        return Err(Malformed("a row is larger than 64 MB"));
    }
    carry.extend_from_slice(bytes);
    Ok(())
}

/// The size of the header, None when it is not there yet.
fn header(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(Malformed("it does not begin with the signature of a binary COPY"));
    }
    let Some(extension) = u32_at(bytes, 15) else {
        return Ok(None);
    };
    let size = 19 + extension as usize;
    if size > MAX_MESSAGE {
        return Err(Malformed("the header is larger than 64 MB"));
    }
    Ok((bytes.len() >= size).then_some(size))
}

enum Tuple {
    Row(usize),
    Trailer,
    Partial,
}

fn tuple<'a>(bytes: &'a [u8], fields: usize, row: &mut Fields<'a>) -> Result<Tuple, Malformed> {
    let Some((count, mut rest)) = bytes.split_first_chunk::<2>() else {
        return Ok(Tuple::Partial);
    };
    match i16::from_be_bytes(*count) {
        -1 => return Ok(Tuple::Trailer),
        count if usize::try_from(count) != Ok(fields) => return Err(Malformed("a row has other columns")),
        _ => {}
    }
    for field in &mut row[..fields] {
        let Some((size, after)) = rest.split_first_chunk::<4>() else {
            return Ok(Tuple::Partial);
        };
        rest = after;
        let size = i32::from_be_bytes(*size);
        if size == -1 {
            *field = None;
            continue;
        }
        let Ok(size) = usize::try_from(size) else {
            return Err(Malformed("a field has a negative length"));
        };
        let Some((value, after)) = rest.split_at_checked(size) else {
            return Ok(Tuple::Partial);
        };
        *field = Some(value);
        rest = after;
    }
    Ok(Tuple::Row(bytes.len() - rest.len()))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The elements of a vector, into a buffer that is used again and again.
///
/// # Errors
/// What is wrong with the row; [`RejectReason::Malformed`] for bytes that are none of the column's type.
pub(super) fn vector(bytes: &[u8], kind: VectorKind, into: &mut Vec<f32>) -> Result<(), RejectReason> {
    into.clear();
    match kind {
        VectorKind::Vector => {
            let body = dense(bytes, 4)?;
            into.extend(body.chunks_exact(4).map(|x| f32::from_bits(u32_of(x))));
        }
        VectorKind::Half => {
            let body = dense(bytes, 2)?;
            into.extend(
                body.chunks_exact(2)
                    .map(|x| f16::from_bits(u16::from_be_bytes([x[0], x[1]])).to_f32()),
            );
        }
        VectorKind::Real => array(bytes, FLOAT4, 4, |_, x| {
            into.push(f32::from_bits(u32_of(x)));
            Ok(())
        })?,
        VectorKind::Double => array(bytes, FLOAT8, 8, |index, x| {
            let value = f64::from_bits(u64::from(u32_of(x)) << 32 | u64::from(u32_of(&x[4..])));
            let narrow = value as f32;
            if narrow.is_infinite() && value.is_finite() {
                return Err(RejectReason::ElementOverflow { index, value });
            }
            into.push(narrow);
            Ok(())
        })?,
    }
    Ok(())
}

fn u32_of(x: &[u8]) -> u32 {
    u32::from_be_bytes([x[0], x[1], x[2], x[3]])
}

/// The body of pgvector's vector or halfvec, after its dimensions and an unused field.
fn dense(bytes: &[u8], width: usize) -> Result<&[u8], RejectReason> {
    let Some((&[a, b, _, _], body)) = bytes.split_first_chunk::<4>() else {
        return Err(malformed("the vector ends within its header"));
    };
    let dims = usize::from(u16::from_be_bytes([a, b]));
    if dims > MAX_DIMS {
        return Err(RejectReason::TooManyDimensions { found: dims });
    }
    if body.len() != dims * width {
        return Err(malformed(
            "the vector has not as many bytes as its dimensions say",
        ));
    }
    Ok(body)
}

/// Each element of an array of one dimension.
fn array(
    bytes: &[u8],
    element: u32,
    width: usize,
    mut each: impl FnMut(usize, &[u8]) -> Result<(), RejectReason>,
) -> Result<(), RejectReason> {
    let header = || malformed("the array ends within its header");
    let dimensions = u32_at(bytes, 0).ok_or_else(header)?;
    if u32_at(bytes, 8).ok_or_else(header)? != element {
        return Err(malformed("the array is of another type than its column"));
    }
    let count = match dimensions {
        0 => return Ok(()),
        1 => u32_at(bytes, 12).ok_or_else(header)? as usize,
        _ => {
            return Err(RejectReason::WrongType {
                field: "vector".into(),
                found: format!("an array of {dimensions} dimensions"),
                expected: "an array of one",
            });
        }
    };
    if count > MAX_DIMS {
        return Err(RejectReason::TooManyDimensions { found: count });
    }
    let mut rest = bytes.get(20..).ok_or_else(header)?;
    for index in 0..count {
        let ends = || malformed("the array ends within an element");
        let (size, after) = rest.split_first_chunk::<4>().ok_or_else(ends)?;
        match i32::from_be_bytes(*size) {
            -1 => return Err(RejectReason::NullElement { index }),
            size if usize::try_from(size) != Ok(width) => return Err(ends()),
            _ => {}
        }
        let (value, after) = after.split_at_checked(width).ok_or_else(ends)?;
        each(index, value)?;
        rest = after;
    }
    Ok(())
}

fn malformed(error: &str) -> RejectReason {
    RejectReason::Malformed { error: error.into() }
}

/// A time as PostgreSQL's microseconds; infinity is left to the check that all records pass.
pub(super) fn time(bytes: &[u8], kind: ValueKind) -> Result<i64, TimeError> {
    match kind {
        ValueKind::Text => from_text(&String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TIME_TEXT)])),
        ValueKind::Days => match int(bytes) {
            days if days == i64::from(i32::MAX) => Ok(i64::MAX),
            days if days == i64::from(i32::MIN) => Ok(i64::MIN),
            days => days
                .checked_mul(86_400_000_000)
                .ok_or_else(|| TimeError::OutOfRange(quote::date(days as i32))),
        },
        ValueKind::Micros | ValueKind::Int => Ok(int(bytes)),
    }
}

/// A big-endian integer of four or eight bytes.
pub(super) fn int(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b, c, d] => i32::from_be_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

/// Whether a fixed-size value has the size of its kind.
pub(super) fn sized(bytes: Option<&[u8]>, kind: ValueKind) -> bool {
    bytes.is_none_or(|bytes| match kind {
        ValueKind::Micros | ValueKind::Int => bytes.len() == 8,
        ValueKind::Days => bytes.len() == 4,
        ValueKind::Text => true,
    })
}

/// A value as the text that PostgreSQL reads back as the same value.
pub(super) fn value_text(bytes: &[u8], kind: ValueKind) -> String {
    match kind {
        ValueKind::Micros => quote::timestamp(int(bytes)),
        ValueKind::Days => quote::date(int(bytes) as i32),
        ValueKind::Int => int(bytes).to_string(),
        ValueKind::Text => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The value by which rows are read on, None where it is NULL or infinite and tells nothing.
pub(super) fn incremental<'a>(fields: &Fields<'a>, kind: ValueKind) -> Option<&'a [u8]> {
    let bytes = fields[INCREMENTAL]?;
    let infinite = match kind {
        ValueKind::Micros => [i64::MAX, i64::MIN].contains(&int(bytes)),
        ValueKind::Days => [i64::from(i32::MAX), i64::from(i32::MIN)].contains(&int(bytes)),
        ValueKind::Int => false,
        // Of numeric.
        ValueKind::Text => [&b"NaN"[..], b"Infinity", b"-Infinity"].contains(&bytes),
    };
    (!infinite).then_some(bytes)
}
