use std::ptr::NonNull;

use pgrx::pg_sys;

/// A varlena with a plain 4-byte header: the datum itself where it is stored so, else a private copy that is
/// freed when this goes out of scope.
pub(super) struct Detoasted {
    data: NonNull<pg_sys::varlena>,
    copied: bool,
}

impl Detoasted {
    /// # Safety
    /// `datum` is a valid, non-NULL varlena datum that outlives the result.
    pub unsafe fn new(datum: pg_sys::Datum) -> Self {
        let original = datum.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: the caller vouches for the datum; pg_detoast_datum returns it unchanged or a palloc'd copy,
        // never NULL.
        let data = unsafe { NonNull::new_unchecked(pg_sys::pg_detoast_datum(original)) };
        Detoasted {
            data,
            copied: data.as_ptr() != original,
        }
    }

    /// The whole value, header included.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a detoasted varlena owns as many bytes as its header says.
        unsafe {
            let size = pgrx::varsize_4b(self.data.as_ptr());
            std::slice::from_raw_parts(self.data.as_ptr().cast(), size)
        }
    }
}

impl Drop for Detoasted {
    fn drop(&mut self) {
        if self.copied {
            // SAFETY: pg_detoast_datum palloc'd this copy for us alone.
            unsafe { pg_sys::pfree(self.data.as_ptr().cast()) }
        }
    }
}

/// The `count` values of type `T` at `offset`, when they are there and aligned.
pub(super) fn view<T: Pod>(bytes: &[u8], offset: usize, count: usize) -> Option<&[T]> {
    let size = count.checked_mul(size_of::<T>())?;
    let part = bytes.get(offset..offset.checked_add(size)?)?;
    let start = part.as_ptr().cast::<T>();
    // SAFETY: the range was checked, alignment is checked here, and any bit pattern is a valid Pod.
    start
        .is_aligned()
        .then(|| unsafe { std::slice::from_raw_parts(start, count) })
}

/// Numbers for which every bit pattern is a value.
pub trait Pod: Copy {}
impl Pod for i64 {}
impl Pod for f32 {}
