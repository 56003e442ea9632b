//! Just enough of Thrift's compact protocol to see, before the parquet crate allocates for it, how much a
//! footer or a page header claims. The crate reserves memory for the number of children of a schema element
//! and for a page's uncompressed size as they are declared, and an allocation that fails ends the whole
//! server, not the query.

const BOOL_TRUE: u8 = 1;
const BOOL_FALSE: u8 = 2;
const I32: u8 = 5;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
/// Structs within structs that a Parquet footer needs: about six.
const MAX_NESTING: u32 = 32;

/// Deepest nesting of a schema: the crate walks it by recursion.
const MAX_SCHEMA_DEPTH: usize = 64;

/// The uncompressed size that a page header declares (its field 2), from the header's first bytes.
pub(super) fn uncompressed_page_size(header: &[u8]) -> Option<i64> {
    let mut reader = Reader { bytes: header };
    let mut last = 0;
    while let Some((id, kind)) = reader.field(&mut last)? {
        if (id, kind) == (2, I32) {
            return reader.zigzag();
        }
        reader.skip(kind, 0)?;
    }
    None
}

/// Checks the schema tree of a footer (field 2 of FileMetaData): as many elements as the groups claim
/// children, and no deeper than [`MAX_SCHEMA_DEPTH`].
pub(super) fn check_schema(footer: &[u8]) -> Result<(), &'static str> {
    let children = schema_children(footer).ok_or("its footer does not hold a schema")?;
    let mut open: Vec<i64> = Vec::new();
    for (i, &count) in children.iter().enumerate() {
        if !(0..children.len() as i64).contains(&count) {
            return Err("its schema declares more columns than it has");
        }
        if i > 0 {
            let parent = open.last_mut().ok_or("its schema has more than one root")?;
            *parent -= 1;
        }
        if count > 0 {
            open.push(count);
        } else {
            while open.last() == Some(&0) {
                open.pop();
            }
        }
        if open.len() > MAX_SCHEMA_DEPTH {
            return Err("its schema is nested deeper than 64 levels");
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err("its schema declares more columns than it has")
    }
}

/// The num_children (field 5) of every schema element, 0 where there is none.
fn schema_children(footer: &[u8]) -> Option<Vec<i64>> {
    let mut reader = Reader { bytes: footer };
    let mut last = 0;
    while let Some((id, kind)) = reader.field(&mut last)? {
        if (id, kind) != (2, LIST) {
            reader.skip(kind, 0)?;
            continue;
        }
        let (size, element) = reader.list()?;
        if element != STRUCT {
            return None;
        }
        let mut children = Vec::new();
        for _ in 0..size {
            let (mut last, mut count) = (0, 0);
            while let Some((id, kind)) = reader.field(&mut last)? {
                match (id, kind) {
                    (5, I32) => count = reader.zigzag()?,
                    _ => reader.skip(kind, 0)?,
                }
            }
            children.push(count);
        }
        return Some(children);
    }
    None
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    fn take(&mut self, n: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(usize::try_from(n).ok()?)?;
        self.bytes = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The next field's id and type: None inside when the struct ends, None outside when the bytes do.
    fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let byte = self.byte()?;
        if byte & 0x0f == 0 {
            return Some(None);
        }
        *last = match byte >> 4 {
            0 => self.zigzag()?,
            delta => last.checked_add(delta.into())?,
        };
        Some(Some((*last, byte & 0x0f)))
    }

    fn list(&mut self) -> Option<(u64, u8)> {
        let byte = self.byte()?;
        let size = match byte >> 4 {
            15 => self.varint()?,
            size => size.into(),
        };
        Some((size, byte & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        if depth > MAX_NESTING {
            return None;
        }
        match kind {
            BOOL_TRUE | BOOL_FALSE => {}
            3 => self.take(1).map(drop)?,
            4..=6 => self.varint().map(drop)?,
            7 => self.take(8).map(drop)?,
            BINARY => {
                let length = self.varint()?;
                self.take(length)?;
            }
            LIST | SET => {
                let (size, element) = self.list()?;
                for _ in 0..size {
                    self.skip_element(element, depth)?;
                }
            }
            MAP => {
                let size = self.varint()?;
                let kinds = if size > 0 { self.byte()? } else { 0 };
                for _ in 0..size {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0x0f, depth)?;
                }
            }
            STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// In a collection a boolean takes a byte; as a field it is in its type.
    fn skip_element(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            BOOL_TRUE | BOOL_FALSE => self.take(1).map(drop),
            kind => self.skip(kind, depth + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer whose schema elements have the given numbers of children.
    fn footer(children: &[i32]) -> Vec<u8> {
        let zigzag = |n: i32| ((n << 1) ^ (n >> 31)) as u32;
        let varint = |mut n: u32, out: &mut Vec<u8>| {
            while n > 0x7f {
                out.push(n as u8 | 0x80);
                n >>= 7;
            }
            out.push(n as u8);
        };
        let mut out = vec![0x15, 2, 0x19, 0xfc];
        varint(children.len() as u32, &mut out);
        for &count in children {
            out.extend([0x48, 1, b'a', 0x15]);
            varint(zigzag(count), &mut out);
            out.push(0);
        }
        out.push(0);
        out
    }

    #[test]
    fn schemas_must_add_up() {
        assert_eq!(check_schema(&footer(&[2, 0, 1, 0])), Ok(()));
        assert_eq!(check_schema(&footer(&[0])), Ok(()));
        for bad in [&[i32::MAX, 0][..], &[2, 0], &[1, 0, 0], &[-1, 0], &[0, 0]] {
            assert!(check_schema(&footer(bad)).is_err(), "{bad:?}");
        }
        let mut deep = vec![1; 100];
        deep.push(0);
        assert!(check_schema(&footer(&deep)).is_err());
        let whole = footer(&[1, 0]);
        for cut in 0..whole.len() - 2 {
            assert!(check_schema(&whole[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn page_size_is_field_two() {
        assert_eq!(
            uncompressed_page_size(&[0x15, 0, 0x15, 0x80, 0x01, 0x15, 2]),
            Some(64)
        );
        assert_eq!(uncompressed_page_size(&[0x25, 0x0f]), Some(-8));
        assert_eq!(uncompressed_page_size(&[0x15, 0, 0x00]), None);
        assert_eq!(uncompressed_page_size(&[]), None);
    }
}
