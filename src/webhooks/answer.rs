//! What a receiver's answer means.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// What became of a request. An error's text holds no secret, no address that a name resolved to, and nothing of the
/// URL but its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Delivered {
        status: u16,
    },
    /// It may succeed later; not before `after`, if the receiver says so.
    Retry {
        status: Option<u16>,
        error: String,
        after: Option<Duration>,
    },
    /// It would fail again.
    Failed {
        status: Option<u16>,
        error: String,
    },
}

/// What a status says.
pub(crate) enum Verdict {
    Delivered,
    Retry,
    Failed,
}

pub(crate) fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => Verdict::Retry,
        _ => Verdict::Failed,
    }
}

/// A receiver may ask for this much patience and no more.
const MOST_PATIENCE: Duration = Duration::from_secs(3600);

/// The value of Retry-After: seconds, or a date.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let is_number = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
    if is_number {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MOST_PATIENCE));
    }
    let date = rfc2822::parse(value).ok()?.timestamp();
    let seconds = u64::try_from(date.as_second().saturating_sub(now.as_second())).unwrap_or_default();
    Some(Duration::from_secs(seconds).min(MOST_PATIENCE))
}

/// As much of an answer's body as is worth keeping: one line.
pub(crate) fn excerpt(body: &str) -> String {
    const MOST_CHARS: usize = 400;
    let words: Vec<&str> = body
        .split(|it: char| it.is_whitespace() || it.is_control())
        .filter(|it| !it.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_seconds_or_date() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        let seconds = |value: &str| retry_after(value, now).map(|it| it.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("99999999999999999999999"), Some(3600));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
        assert_eq!(seconds("Sat, 06 Nov 2094 08:49:37 GMT"), Some(3600));
        for none in ["", "-1", "1.5", "soon", "\u{7f}"] {
            assert_eq!(seconds(none), None, "{none:?}");
        }
    }

    #[test]
    fn excerpts() {
        assert_eq!(excerpt(" a\r\n\tb\u{0}c\u{1b}[1m "), "a b c [1m");
        assert_eq!(excerpt(&"ä".repeat(500)), format!("{} ...", "ä".repeat(400)));
    }
}
