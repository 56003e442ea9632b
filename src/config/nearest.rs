//! What a misspelt word was probably meant to be.

/// Words longer than this are not compared.
const MAX_CHARS: usize = 64;

/// The candidate nearest to `word` by letters changed, left out, added or swapped with the next one; none
/// when more than a third of them differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word
        .chars()
        .flat_map(char::to_lowercase)
        .take(MAX_CHARS + 1)
        .collect();
    if word.len() > MAX_CHARS {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|&(distance, candidate)| 3 * distance <= word.len().max(candidate.len()))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The optimal string alignment distance: Levenshtein's, with neighbours swapped as one step.
fn distance(word: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate
        .chars()
        .flat_map(char::to_lowercase)
        .take(MAX_CHARS)
        .collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=candidate.len()).collect();
    for (i, &a) in word.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in candidate.iter().enumerate() {
            let mut least = (above[j] + usize::from(a != b))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a == candidate[j - 1] && b == word[i - 1] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[candidate.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_and_another_word_is_not() {
        let keys = ["topic", "brokers", "group_id"];
        for (word, expected) in [
            ("tpoic", Some("topic")),
            ("Broker", Some("brokers")),
            ("groupid", Some("group_id")),
            ("vector", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), keys), None);
    }

    #[test]
    fn distances_counted_by_hand() {
        for (a, b, expected) in [
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("", "abc", 3),
            ("abc", "", 3),
        ] {
            let word: Vec<char> = a.chars().collect();
            assert_eq!(distance(&word, b), expected, "{a} {b}");
        }
    }
}
