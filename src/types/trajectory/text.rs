//! Text form: `{[0.1,0.2]@2026-01-01 00:00:00+00, [0.3,0.1]@2026-01-02 00:00:00+00}`; `{}` is empty.
//!
//! Numbers are the shortest that read back as the same float4, timestamps ISO 8601 with the session's offset.

use std::ffi::{CStr, CString, c_char, c_int};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Trajectory, TrajectoryResult, check_order, check_point};
use crate::error::{Error, MAX_DIMS};
use crate::types::timestamp;

/// Longest text that is tried as a timestamp.
const MAX_TIMESTAMP_BYTES: usize = 128;
/// Longest part of the input that an error repeats.
const MAX_SHOWN_CHARS: usize = 80;

unsafe extern "C" {
    /// PostgreSQL's own shortest-round-trip printer (common/shortest_dec.h), as float4out uses it.
    fn float_to_shortest_decimal_bufn(value: f32, buffer: *mut c_char) -> c_int;
}

#[pg_extern(sql = false)]
fn trajectory_in(input: &CStr) -> Result<TrajectoryResult, ErrorReport> {
    let mut parser = Parser {
        text: input.to_bytes(),
        at: 0,
    };
    let (times, values, dims) = parser.trajectory()?;
    check_order(&times)?;
    Ok(TrajectoryResult::from_parts(&times, &values, dims)?)
}

#[pg_extern(sql = false)]
fn trajectory_out(t: Trajectory) -> Result<CString, ErrorReport> {
    let path = t.path();
    let mut out = Vec::new();
    // 12 bytes a number and 30 a timestamp are typical; growth covers the rest.
    let guess = path.values.len() * 12 + path.len() * 36 + 2;
    out.try_reserve(guess)
        .map_err(|_| Error::OutOfMemory { bytes: guess })?;
    out.push(b'{');
    for (i, (&ts, point)) in path.times.iter().zip(path.points()).enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        out.push(b'[');
        for (j, &value) in point.iter().enumerate() {
            if j > 0 {
                out.push(b',');
            }
            push_number(&mut out, value);
        }
        out.extend_from_slice(b"]@");
        out.extend_from_slice(timestamp::to_text(ts).as_bytes());
        if out.len() > crate::error::MAX_DATUM_BYTES {
            return Err(Error::TooLarge {
                points: path.len(),
                dims: path.dims,
            }
            .into());
        }
        pgrx::check_for_interrupts!();
    }
    out.push(b'}');
    // SAFETY: digits, punctuation and ISO timestamps hold no NUL.
    Ok(unsafe { CString::from_vec_unchecked(out) })
}

fn push_number(out: &mut Vec<u8>, value: f32) {
    let mut buffer = [0u8; 32];
    // SAFETY: FLOAT_SHORTEST_DECIMAL_LEN is 16; the buffer holds twice that.
    let length = unsafe { float_to_shortest_decimal_bufn(value, buffer.as_mut_ptr().cast()) };
    out.extend_from_slice(&buffer[..usize::try_from(length).unwrap_or(0).min(buffer.len())]);
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn trajectory(&mut self) -> Result<(Vec<i64>, Vec<f32>, usize), Error> {
        let (mut times, mut values, mut dims) = (Vec::new(), Vec::new(), 0);
        self.expect(b'{', "expected \"{\"")?;
        if !self.accept(b'}') {
            loop {
                let before = values.len();
                self.vector(&mut values)?;
                self.expect(b'@', "expected \"@\" and a timestamp")?;
                let ts = self.timestamp()?;
                check_point(ts, &values[before..])?;
                let found = values.len() - before;
                if times.is_empty() {
                    dims = found;
                } else if found != dims {
                    return Err(Error::MixedDimensions {
                        expected: dims,
                        found,
                        ts,
                    });
                }
                times.push(ts);
                pgrx::check_for_interrupts!();
                if self.accept(b'}') {
                    break;
                }
                self.expect(b',', "expected \",\" or \"}\"")?;
            }
        }
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.problem("expected the end of the input"));
        }
        Ok((times, values, dims))
    }

    fn vector(&mut self, values: &mut Vec<f32>) -> Result<(), Error> {
        let before = values.len();
        self.expect(b'[', "expected \"[\"")?;
        loop {
            values.push(self.number()?);
            if values.len() - before > MAX_DIMS {
                return Err(self.problem("a vector has at most 16000 dimensions"));
            }
            if self.accept(b']') {
                return Ok(());
            }
            self.expect(b',', "expected \",\" or \"]\"")?;
        }
    }

    fn number(&mut self) -> Result<f32, Error> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let length = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
            .count();
        let parsed = std::str::from_utf8(&rest[..length])
            .ok()
            .and_then(|it| it.parse::<f32>().ok());
        match parsed {
            Some(value) if value.is_finite() => {
                self.at += length;
                Ok(value)
            }
            Some(_) => {
                Err(self.problem("NaN, infinity and numbers beyond the range of float4 are not allowed"))
            }
            None => Err(self.problem("expected a number")),
        }
    }

    fn timestamp(&mut self) -> Result<i64, Error> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|b| b",}".contains(b)).unwrap_or(rest.len());
        if length == 0 || length > MAX_TIMESTAMP_BYTES {
            return Err(self.problem("expected a timestamp"));
        }
        let text = CString::new(&rest[..length]).map_err(|_| self.problem("expected a timestamp"))?;
        let ts = timestamp::from_text(&text);
        self.at += length;
        Ok(ts)
    }

    fn skip_space(&mut self) {
        self.at += self.text[self.at..]
            .iter()
            .take_while(|b| b.is_ascii_whitespace())
            .count();
    }

    fn accept(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let found = self.text.get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8, problem: &str) -> Result<(), Error> {
        if self.accept(wanted) {
            Ok(())
        } else {
            Err(self.problem(problem))
        }
    }

    fn problem(&self, problem: &str) -> Error {
        let text = String::from_utf8_lossy(self.text);
        let mut input: String = text.chars().take(MAX_SHOWN_CHARS).collect();
        if input.len() < text.len() {
            input.push_str("...");
        }
        Error::TrajectoryText {
            input,
            position: self.at,
            problem: problem.to_owned(),
        }
    }
}
