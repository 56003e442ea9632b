//! In which pieces a file is fetched, in which order, and when each can be let go.
//!
//! The columns of a row group are read side by side and each from its start to its end. So pieces are ordered
//! by the row group, then by how far into its column a piece begins: what is fetched ahead is what will be
//! asked for next.

use crate::parquet::Error;
use bytes::Bytes;
use std::ops::Range;
use tokio::task::AbortHandle;

/// What is not asked for between two columns is fetched with them when it is at most this long, and at most
/// an eighth of what stands before it.
const MAX_GAP: u64 = 64 << 10;

pub(super) enum Slot {
    Waiting,
    Fetching(AbortHandle),
    Here(Bytes),
    Failed(Error),
    /// Read by all who planned to; whoever comes again fetches again.
    Done,
}

pub(super) struct Piece {
    pub range: Range<u64>,
    pub slot: Slot,
    /// Columns that have not read past it.
    users: usize,
}

impl Piece {
    pub(super) fn len(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }
}

/// A column of a row group, and how far it was read.
struct Column {
    range: Range<u64>,
    group: usize,
    read: u64,
}

#[derive(Default)]
pub(super) struct Pieces {
    /// By their start; they do not overlap.
    pieces: Vec<Piece>,
    /// Indexes of pieces in the order of fetching, and how many of them were looked at.
    order: Vec<usize>,
    next: usize,
    /// Row group by row group.
    columns: Vec<Column>,
    /// Indexes of columns by their start.
    sorted: Vec<usize>,
    /// Columns of earlier row groups than the one being read.
    finished: usize,
}

impl Pieces {
    /// Cuts what is planned and stands before `end`, where the part of the file begins that is there already.
    /// Pieces have at most `size` bytes.
    pub(super) fn cut(groups: Vec<Vec<Range<u64>>>, end: u64, size: u64) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        for (group, ranges) in groups.into_iter().enumerate() {
            columns.extend(
                ranges
                    .into_iter()
                    .filter(|it| it.start < it.end)
                    .map(|range| Column {
                        read: range.start,
                        range,
                        group,
                    }),
            );
        }
        let mut sorted: Vec<usize> = (0..columns.len()).collect();
        sorted.sort_by_key(|&i| columns[i].range.start);
        let spans = spans(
            sorted
                .iter()
                .map(|&i| columns[i].range.start..columns[i].range.end.min(end)),
        );
        let mut pieces = Vec::new();
        for span in spans {
            let length = span.end - span.start;
            let count = length.div_ceil(size.max(1));
            for i in 0..count {
                let at =
                    |i: u64| span.start + (u128::from(length) * u128::from(i) / u128::from(count)) as u64;
                pieces.push(Piece {
                    range: at(i)..at(i + 1),
                    slot: Slot::Waiting,
                    users: 0,
                });
            }
        }
        let mut this = Self {
            pieces,
            columns,
            sorted,
            order: Vec::new(),
            next: 0,
            finished: 0,
        };
        this.put_in_order();
        this
    }

    fn put_in_order(&mut self) {
        let mut keys = vec![(usize::MAX, 1.0f64); self.pieces.len()];
        for column in &self.columns {
            let length = (column.range.end - column.range.start) as f64;
            for i in overlapping(&self.pieces, &column.range) {
                let into = self.pieces[i].range.start.saturating_sub(column.range.start) as f64;
                let key = (column.group, into / length);
                if key < keys[i] {
                    keys[i] = key;
                }
                self.pieces[i].users += 1;
            }
        }
        self.order = (0..self.pieces.len()).collect();
        self.order
            .sort_by(|&a, &b| keys[a].0.cmp(&keys[b].0).then(keys[a].1.total_cmp(&keys[b].1)));
    }

    /// The piece that holds a byte.
    pub(super) fn at(&self, at: u64) -> Option<usize> {
        let i = self.pieces.partition_point(|piece| piece.range.end <= at);
        self.pieces
            .get(i)
            .filter(|piece| piece.range.contains(&at))
            .map(|_| i)
    }

    /// Where the next piece after a byte begins.
    pub(super) fn next_start(&self, at: u64) -> Option<u64> {
        let i = self.pieces.partition_point(|piece| piece.range.start <= at);
        self.pieces.get(i).map(|piece| piece.range.start)
    }

    pub(super) fn get(&self, i: usize) -> &Piece {
        &self.pieces[i]
    }

    pub(super) fn get_mut(&mut self, i: usize) -> &mut Piece {
        &mut self.pieces[i]
    }

    /// The piece to fetch next, and past it the following ones.
    pub(super) fn next_waiting(&mut self) -> Option<usize> {
        while let Some(&i) = self.order.get(self.next) {
            if matches!(self.pieces[i].slot, Slot::Waiting) {
                return Some(i);
            }
            self.next += 1;
        }
        None
    }

    /// Where the column ends that a byte is planned to be read for.
    pub(super) fn column_end(&self, at: u64) -> Option<u64> {
        self.column(at).map(|i| self.columns[i].range.end)
    }

    fn column(&self, at: u64) -> Option<usize> {
        let next = self
            .sorted
            .partition_point(|&i| self.columns[i].range.start <= at);
        let i = *self.sorted.get(next.checked_sub(1)?)?;
        self.columns[i].range.contains(&at).then_some(i)
    }

    /// Notes that a column was read from `start` to `end`. Returns how many bytes are let go.
    pub(super) fn read(&mut self, start: u64, end: u64) -> usize {
        let Some(column) = self.column(start) else {
            return 0;
        };
        let mut freed = 0;
        // The row groups before this one are behind all columns, also behind those that ended before their
        // range.
        while self.finished < self.columns.len()
            && self.columns[self.finished].group < self.columns[column].group
        {
            freed += self.advance(self.finished, u64::MAX);
            self.finished += 1;
        }
        freed + self.advance(column, end)
    }

    fn advance(&mut self, column: usize, to: u64) -> usize {
        let Column { range, read, .. } = &mut self.columns[column];
        let to = to.min(range.end);
        if to <= *read {
            return 0;
        }
        let (from, end) = (std::mem::replace(read, to), range.end);
        let mut freed = 0;
        for i in overlapping(&self.pieces, &(from..to)) {
            let piece = &mut self.pieces[i];
            if to >= piece.range.end.min(end) {
                piece.users = piece.users.saturating_sub(1);
                if piece.users == 0 {
                    freed += piece.let_go();
                }
            }
        }
        freed
    }
}

impl Piece {
    /// Returns the bytes that this frees.
    fn let_go(&mut self) -> usize {
        match std::mem::replace(&mut self.slot, Slot::Done) {
            Slot::Here(_) | Slot::Fetching(_) => self.len(),
            _ => 0,
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        for piece in &self.pieces {
            if let Slot::Fetching(task) = &piece.slot {
                task.abort();
            }
        }
    }
}

fn overlapping(pieces: &[Piece], range: &Range<u64>) -> Range<usize> {
    let first = pieces.partition_point(|piece| piece.range.end <= range.start);
    let last = pieces.partition_point(|piece| piece.range.start < range.end);
    first..last.max(first)
}

/// Ranges, sorted by their start, joined where they touch or nearly do.
fn spans(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in ranges.filter(|range| range.start < range.end) {
        match spans.last_mut() {
            Some(last) if range.start <= last.end + MAX_GAP.min((last.end - last.start) / 8) => {
                last.end = last.end.max(range.end);
            }
            _ => spans.push(range),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    /// Two row groups of a small and a large column each.
    fn groups() -> Vec<Vec<Range<u64>>> {
        vec![
            vec![4..2 * MB, 2 * MB..12 * MB],
            vec![12 * MB..14 * MB, 14 * MB..24 * MB],
        ]
    }

    fn fetch_all(pieces: &mut Pieces) -> Vec<Range<u64>> {
        let mut ranges = Vec::new();
        while let Some(i) = pieces.next_waiting() {
            let piece = pieces.get_mut(i);
            piece.slot = Slot::Here(Bytes::from(vec![0; piece.len()]));
            ranges.push(piece.range.clone());
        }
        ranges
    }

    #[test]
    fn pieces_cover_what_is_planned_and_no_more() {
        let mut pieces = Pieces::cut(groups(), 23 * MB, 4 * MB);
        let mut ranges = fetch_all(&mut pieces);
        assert!(ranges.iter().all(|it| it.end - it.start <= 4 * MB));
        // The first piece holds the beginnings of both columns, those of the second row group come last.
        assert!(ranges[0].contains(&4) && ranges[0].contains(&(2 * MB)));
        assert!(ranges.last().unwrap().start >= 14 * MB);
        ranges.sort_by_key(|it| it.start);
        assert_eq!((ranges[0].start, ranges.last().unwrap().end), (4, 23 * MB));
        assert!(ranges.windows(2).all(|it| it[0].end == it[1].start));
        assert_eq!(pieces.at(24 * MB), None);
        assert_eq!(pieces.column_end(3 * MB), Some(12 * MB));
    }

    #[test]
    fn columns_are_fetched_side_by_side() {
        let mut pieces = Pieces::cut(vec![vec![0..10 * MB, 50 * MB..60 * MB]], 100 * MB, 5 * MB);
        let starts: Vec<u64> = fetch_all(&mut pieces).iter().map(|it| it.start / MB).collect();
        assert_eq!(starts, [0, 50, 5, 55]);
        assert_eq!(
            spans([0..100, 110..200, 300..400].into_iter()),
            [0..200, 300..400]
        );
    }

    #[test]
    fn what_every_column_has_read_is_let_go() {
        let mut pieces = Pieces::cut(groups(), 24 * MB, 4 * MB);
        let total: u64 = fetch_all(&mut pieces).iter().map(|it| it.end - it.start).sum();
        assert_eq!(pieces.read(4, MB), 0);
        // The first piece is kept for the small column, which never says that it is at its end; the next row
        // group does.
        let of_large = pieces.read(2 * MB, 12 * MB) as u64;
        assert!((4 * MB - 1..8 * MB).contains(&of_large), "{of_large}");
        let of_next = pieces.read(12 * MB, 14 * MB) as u64;
        assert!(
            (12 * MB - 4..12 * MB + 4).contains(&(of_large + of_next)),
            "{of_next}"
        );
        assert_eq!(pieces.read(14 * MB, 24 * MB) as u64 + of_large + of_next, total);
        assert_eq!(pieces.read(14 * MB, 24 * MB), 0);
        // Columns that overlap, as only a damaged file has them, are no more than read twice.
        let mut pieces = Pieces::cut(vec![vec![0..10, 5..20, 5..5, 7..u64::MAX]], 100, 8);
        fetch_all(&mut pieces);
        pieces.read(0, 10);
        pieces.read(7, u64::MAX);
        pieces.read(99, 3);
        assert!(pieces.at(99).is_some());
    }
}
