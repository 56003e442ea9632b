//! Repetition levels: how long the rows of a list column are, told before their values take memory.

use super::pages::varint;
use ::parquet::errors::{ParquetError, Result};

/// Most elements of a row: longer ones end the reading of the file. A row between pgvector's 16 000
/// dimensions and this is merely rejected. Some hundred bytes of a file can claim a row of billions.
pub(super) const MAX_ROW_ELEMENTS: u64 = 1 << 16;

/// Follows the length of the current row through the pages of a column chunk. A level of 0 starts a row, 1
/// goes on.
#[derive(Debug, Default)]
pub(super) struct RowLengths {
    current: u64,
}

impl RowLengths {
    /// Takes the levels of a page of `values` values: runs and bit-packed groups as Parquet's RLE hybrid has
    /// them, one bit a level. What is malformed beyond that is left for the decoder to say.
    pub(super) fn add_page(&mut self, levels: &[u8], values: u32) -> Result<()> {
        let mut rest = levels;
        let mut left = u64::from(values);
        while left > 0 {
            let Some(header) = varint(&mut rest) else { break };
            if header & 1 == 0 {
                let run = (header >> 1).min(left);
                let Some((&level, tail)) = rest.split_first() else {
                    break;
                };
                rest = tail;
                self.add_run(level, run)?;
                left -= run;
            } else {
                let groups = usize::try_from(header >> 1).unwrap_or(usize::MAX).min(rest.len());
                let (packed, tail) = rest.split_at(groups);
                rest = tail;
                for &bits in packed {
                    self.add_bits(bits, left.min(8) as u32)?;
                    left = left.saturating_sub(8);
                }
                if groups == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn add_run(&mut self, level: u8, run: u64) -> Result<()> {
        if level == 0 && run > 0 {
            self.current = 1;
            return Ok(());
        }
        self.current += run;
        self.check()
    }

    fn add_bits(&mut self, bits: u8, count: u32) -> Result<()> {
        if bits == 0xff {
            self.current += u64::from(count);
        } else {
            for i in 0..count {
                self.current = if bits >> i & 1 == 0 { 1 } else { self.current + 1 };
            }
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        if self.current > MAX_ROW_ELEMENTS {
            return Err(ParquetError::General(format!(
                "a row's list has more than {MAX_ROW_ELEMENTS} elements"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_followed_across_runs_groups_and_pages() {
        let mut lengths = RowLengths::default();
        // A run of one 0, a run of 9 ones; then a packed group 1 1 1 1 0 1 1 1.
        lengths.add_page(&[2, 0, 18, 1], 10).unwrap();
        assert_eq!(lengths.current, 10);
        lengths.add_page(&[3, 0b1110_1111], 8).unwrap();
        assert_eq!(lengths.current, 4);
        lengths.add_page(&[3, 0xff], 3).unwrap();
        assert_eq!(lengths.current, 7);
    }

    #[test]
    fn a_row_of_a_billion_is_refused_and_garbage_is_not_followed() {
        let billion = [0x80, 0xa8, 0xd6, 0xb9, 0x07, 1];
        assert!(RowLengths::default().add_page(&billion, u32::MAX).is_err());
        assert!(RowLengths::default().add_page(&billion, 5).is_ok());
        for garbage in [
            &[][..],
            &[0x80],
            &[1],
            &[2],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0, 0, 0, 0],
        ] {
            assert!(
                RowLengths::default().add_page(garbage, 1000).is_ok(),
                "{garbage:?}"
            );
        }
    }
}
