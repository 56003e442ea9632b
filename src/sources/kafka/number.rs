//! JSON numbers to float32.
//!
//! A float32 has 24 bits, and 53 bits of precision are cheap: where the double computed from the digits is not near the
//! middle between two float32 (which is nearly always), rounding it gives what rounding the exact value gives. Else the
//! standard library's parser, which is exact, decides (Clinger, "How to read floating point numbers accurately", 1990, has
//! the idea of a fast path with a known error).

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Digits that fit a u64 whatever they are.
const MAX_DIGITS: usize = 19;

/// Reads the JSON number that starts at `at`: the nearest float32, ties to even, infinite when it is too large for
/// one; and where the number ends. None when there is no number, by JSON's grammar.
pub(super) fn parse_f32(bytes: &[u8], at: usize) -> Option<(f32, usize)> {
    let start = at;
    let negative = bytes.get(at) == Some(&b'-');
    let mut at = at + usize::from(negative);
    let mut digits = Digits::default();
    at = match bytes.get(at)? {
        b'0' => at + 1,
        b'1'..=b'9' => digits.read(bytes, at),
        _ => return None,
    };
    let mut exponent = 0;
    if bytes.get(at) == Some(&b'.') {
        let end = digits.read(bytes, at + 1);
        let places = end - (at + 1);
        if places == 0 {
            return None;
        }
        exponent = -i64::try_from(places).ok()?;
        at = end;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let (power, end) = power(bytes, at + 1)?;
        exponent += power;
        at = end;
    }
    let value = digits.near(exponent).or_else(|| {
        std::str::from_utf8(&bytes[start + usize::from(negative)..at])
            .ok()?
            .parse()
            .ok()
    })?;
    Some((if negative { -value } else { value }, at))
}

/// The number after an `e`, and where it ends. Saturates far outside what a float holds.
fn power(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
    let mut at = start;
    let mut power = 0_i64;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        power = (power * 10 + i64::from(digit - b'0')).min(1_000_000);
        at += 1;
    }
    (at > start).then_some((if negative { -power } else { power }, at))
}

/// The digits before and after the point, as one integer.
#[derive(Default)]
struct Digits {
    value: u64,
    count: usize,
}

impl Digits {
    /// Appends the digits that stand at `at`, and returns where they end.
    fn read(&mut self, bytes: &[u8], mut at: usize) -> usize {
        let start = at;
        while let Some(eight) = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()) {
            let Some(number) = eight_digits(u64::from_le_bytes(eight)) else {
                break;
            };
            self.value = self.value.wrapping_mul(100_000_000).wrapping_add(number);
            at += 8;
        }
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            self.value = self.value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            at += 1;
        }
        self.count += at - start;
        at
    }

    /// The digits times a power of ten, where the error of computing it in double cannot matter.
    fn near(&self, exponent: i64) -> Option<f32> {
        if self.count > MAX_DIGITS {
            return None;
        }
        if self.value == 0 {
            return Some(0.0);
        }
        let power = *POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
        // Two roundings of half a unit each: the value is within two units in the last place of the exact one.
        let double = self.value as f64;
        let double = if exponent < 0 {
            double / power
        } else {
            double * power
        };
        let to_middle = (double.to_bits() & 0x1fff_ffff).abs_diff(0x1000_0000);
        // From 1e-22 on, so never subnormal as a float32.
        (to_middle > 4 && double < f64::from(f32::MAX)).then_some(double as f32)
    }
}

/// The value of eight ASCII digits, the first in the lowest byte; None when one is no digit.
fn eight_digits(bytes: u64) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let digits = bytes.wrapping_sub(ZEROS);
    // A byte above '9' carries into its top bit when 0x46 is added, one below '0' borrows into it.
    if (bytes.wrapping_add(0x4646_4646_4646_4646) | digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    // Pairs, then fours, then all eight: each step multiplies the earlier half by its weight and adds the later.
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
#[path = "number_tests.rs"]
mod tests;
