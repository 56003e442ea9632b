//! Writing SVG: escaped text, short numbers, elements.

use std::fmt::{self, Write};

/// Text with what XML cannot hold left out, markup escaped, and line breaks and tabs as spaces.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            _ if is_plain(c) => out.push(c),
            _ => {}
        }
    }
    out
}

/// Whether XML 1.0 allows the character and a line of text can show it: no controls, no non-characters, no
/// overrides of the writing direction, which would turn the text after them.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFFE}' | '\u{FFFF}')
}

/// At most `limit` characters of a text, the last one an ellipsis where some were left out.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A pixel coordinate: a tenth of a pixel is finer than one sees.
#[derive(Clone, Copy)]
pub(crate) struct Px(pub(crate) f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        if tenths % 10 == 0 {
            return write!(f, "{}", tenths / 10);
        }
        write!(f, "{}", tenths as f64 / 10.0)
    }
}

/// A growing document. Formatting into a `String` cannot fail, so results of `write!` are dropped here once.
#[derive(Default)]
pub(crate) struct Svg(String);

impl Svg {
    pub(crate) fn put(&mut self, arguments: fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(arguments);
        self.0.push('\n');
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// Appends one formatted line to an [`Svg`].
macro_rules! put {
    ($svg:expr, $($format:tt)*) => { $svg.put(format_args!($($format)*)) };
}
pub(crate) use put;

/// A path through the points, `M x y L x y ...`.
pub(crate) fn polyline(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut d = String::new();
    for (i, (x, y)) in points.enumerate() {
        let _ = write!(d, "{}{} {}", if i == 0 { 'M' } else { 'L' }, Px(x), Px(y));
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped_and_what_xml_forbids_is_dropped() {
        assert_eq!(escape("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
        assert_eq!(
            escape("a\0\u{1}\u{b}\u{1f}\u{7f}\u{85}\u{FFFF}\u{FFFE}b\tc\r\nd"),
            "ab c  d"
        );
        assert_eq!(escape("\u{202E}evil\u{2066}"), "evil");
        assert_eq!(escape("größe 数 🙂"), "größe 数 🙂");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
        assert_eq!(shorten("ab", 0), "…");
    }

    #[test]
    fn pixels_are_short() {
        let shown = |x: f64| Px(x).to_string();
        assert_eq!(
            [shown(3.0), shown(3.04), shown(-0.04), shown(-1.25), shown(12.34)],
            ["3", "3", "0", "-1.3", "12.3"]
        );
    }
}
