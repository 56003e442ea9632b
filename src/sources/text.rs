//! A column of optional texts in one buffer, so that a row costs no allocation.

/// Texts of a batch, one a row, each possibly absent.
#[derive(Debug, Clone, Default)]
pub struct TextColumn {
    text: String,
    ends: Vec<usize>,
    // Bit-packing would save a byte a row and cost a shift; rows are dominated by their vectors.
    present: Vec<bool>,
}

impl TextColumn {
    /// Appends the next row's text.
    pub fn push(&mut self, text: Option<&str>) {
        self.text.push_str(text.unwrap_or(""));
        self.ends.push(self.text.len());
        self.present.push(text.is_some());
    }

    /// The text of a row, counted from 0; None where it is absent or there is no such row.
    pub fn get(&self, row: usize) -> Option<&str> {
        if !*self.present.get(row)? {
            return None;
        }
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        Some(&self.text[start..self.ends[row]])
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * (size_of::<usize>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::TextColumn;

    #[test]
    fn absent_and_empty_texts_differ() {
        let mut column = TextColumn::default();
        for text in [Some("a"), None, Some(""), Some("é")] {
            column.push(text);
        }
        assert_eq!(column.len(), 4);
        let got: Vec<_> = (0..5).map(|row| column.get(row)).collect();
        assert_eq!(got, [Some("a"), None, Some(""), Some("é"), None]);
    }
}
