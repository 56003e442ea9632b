//! What the aggregates' states are made of: growing arrays in a memory context, where PostgreSQL counts them
//! against work_mem, and their bytes on the way between parallel workers.

use std::ptr;

use pgrx::{IntoDatum, pg_sys};

use crate::error::{Error, MAX_DATUM_BYTES};
use crate::types::detoast::Pod;
use crate::types::{sql_name, sql_result};

/// A growing array of numbers. Never dropped: it goes with its context.
pub struct Buffer<T> {
    context: pg_sys::MemoryContext,
    data: *mut T,
    len: usize,
    capacity: usize,
}

impl<T: Pod> Buffer<T> {
    /// An empty one; `context` has to outlive it.
    pub fn new(context: pg_sys::MemoryContext) -> Self {
        Buffer {
            context,
            data: ptr::null_mut(),
            len: 0,
            capacity: 0,
        }
    }

    /// An empty one with room for exactly `capacity`.
    pub fn with_capacity(context: pg_sys::MemoryContext, capacity: usize) -> Self {
        let mut buffer = Self::new(context);
        buffer.grow_to(capacity);
        buffer
    }

    pub fn as_slice(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `data` holds `capacity >= len` elements, the first `len` of them written.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: as in as_slice; &mut self makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }

    pub fn extend_from_slice(&mut self, values: &[T]) {
        self.extend_from_bytes(bytes_of(values));
    }

    /// Appends values given as their bytes, of any alignment; a rest that fills no value is left out.
    pub fn extend_from_bytes(&mut self, bytes: &[u8]) {
        let more = bytes.len() / size_of::<T>();
        self.reserve(more);
        // SAFETY: reserve() made room for `more` elements; any bytes are a value of a Pod.
        unsafe {
            ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.data.add(self.len).cast(),
                more * size_of::<T>(),
            )
        };
        self.len += more;
    }

    /// Makes room, doubling; the first room is for a few times as much as comes.
    fn reserve(&mut self, more: usize) {
        let needed = self.len + more;
        if needed <= self.capacity {
            return;
        }
        let more = if self.capacity == 0 {
            4 * needed
        } else {
            2 * self.capacity
        };
        self.grow_to(needed.max(more));
    }

    fn grow_to(&mut self, capacity: usize) {
        let bytes = capacity * size_of::<T>();
        // SAFETY: the block belongs to `context`. Either call raises when it fails, leaving the old block as it was.
        self.data = unsafe {
            if self.capacity == 0 {
                pg_sys::MemoryContextAllocHuge(self.context, bytes).cast()
            } else {
                pg_sys::repalloc_huge(self.data.cast(), bytes).cast()
            }
        };
        self.capacity = capacity;
    }
}

/// The context in which an aggregate's state has to live.
pub fn aggregate_context(fcinfo: pg_sys::FunctionCallInfo) -> Result<pg_sys::MemoryContext, Error> {
    let mut context = ptr::null_mut();
    // SAFETY: fcinfo is the one of the running call.
    let kind = unsafe { pg_sys::AggCheckCallContext(fcinfo, &mut context) };
    if kind == 0 {
        Err(Error::NotAnAggregate)
    } else {
        Ok(context)
    }
}

/// A `bytea` of several parts one after the other, or None when it would be too large.
pub fn serialize(parts: &[&[u8]]) -> Option<Bytea> {
    let size = parts.iter().map(|part| part.len()).sum::<usize>() + size_of::<u32>();
    if size > MAX_DATUM_BYTES {
        return None;
    }
    // SAFETY: palloc returns `size` bytes or raises; the header and the parts fill exactly those.
    unsafe {
        let data = pg_sys::palloc(size).cast::<u8>();
        pgrx::set_varsize_4b(data.cast(), size as i32);
        let mut to = data.add(size_of::<u32>());
        for part in parts {
            ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
            to = to.add(part.len());
        }
        Some(Bytea(data))
    }
}

/// The bytes of numbers.
pub fn bytes_of<T: Pod>(values: &[T]) -> &[u8] {
    // SAFETY: a slice of Pod is readable for its own size in bytes.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// A palloc'd `bytea`, complete with its header.
pub struct Bytea(*mut u8);

impl IntoDatum for Bytea {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.0))
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::BYTEAOID
    }
}

sql_name!(Bytea, "bytea");
sql_result!(Bytea);

/// A state as the `internal` datum that PostgreSQL passes between the functions of one aggregate.
macro_rules! state_datum {
    ($name:ident, $state:ty) => {
        struct $name(std::ptr::NonNull<$state>);

        impl $name {
            /// Moves a state into a memory context.
            fn new(context: pgrx::pg_sys::MemoryContext, state: $state) -> Self {
                // SAFETY: the allocation holds a state and raises when it fails; write() initialises it.
                unsafe {
                    let size = size_of::<$state>();
                    let place = pgrx::pg_sys::MemoryContextAlloc(context, size).cast::<$state>();
                    place.write(state);
                    $name(std::ptr::NonNull::new_unchecked(place))
                }
            }

            fn get(&self) -> &$state {
                // SAFETY: the DDL gives these functions no datum but those of new(), in a context that is alive.
                unsafe { self.0.as_ref() }
            }

            fn get_mut(&mut self) -> &mut $state {
                // SAFETY: as above; PostgreSQL hands a state to one call at a time.
                unsafe { self.0.as_mut() }
            }
        }

        impl pgrx::FromDatum for $name {
            unsafe fn from_polymorphic_datum(
                datum: pgrx::pg_sys::Datum,
                is_null: bool,
                _: pgrx::pg_sys::Oid,
            ) -> Option<Self> {
                if is_null {
                    None
                } else {
                    std::ptr::NonNull::new(datum.cast_mut_ptr()).map($name)
                }
            }
        }

        impl pgrx::IntoDatum for $name {
            fn into_datum(self) -> Option<pgrx::pg_sys::Datum> {
                Some(pgrx::pg_sys::Datum::from(self.0.as_ptr()))
            }

            fn type_oid() -> pgrx::pg_sys::Oid {
                pgrx::pg_sys::INTERNALOID
            }
        }

        crate::types::sql_name!($name, "internal");
        crate::types::sql_argument!($name, "internal");
        crate::types::sql_result!($name);
    };
}

pub(super) use state_datum;
