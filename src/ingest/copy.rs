//! COPY FROM, fed from memory: the same code path, checks, triggers and speed as COPY in binary format from a file.

use std::cell::RefCell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use cvx_sources::Record;
use pgrx::prelude::*;

/// The columns a batch brings, in this order; the table's defaults fill the rest.
const COLUMNS: [&CStr; 10] = [
    c"entity_id",
    c"ts",
    c"vec",
    c"source",
    c"model_version",
    c"model_hash",
    c"input_hash",
    c"pipeline_hash",
    c"produced_at",
    c"attrs",
];
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const JSONB_VERSION: u8 = 1;
/// Rows are encoded ahead of the server's requests until this many bytes wait.
const BUFFER_BYTES: usize = 1 << 18;

/// Rows waiting to be read by COPY. Raw, since COPY's callback takes no argument: it is set for the time of one
/// call of `copy_from` only.
struct Feed {
    records: *const Record<'static>,
    remaining: usize,
    source: *const str,
    buffer: Vec<u8>,
    taken: usize,
    ended: bool,
}

thread_local! {
    static FEED: RefCell<Option<Feed>> = const { RefCell::new(None) };
}

/// Clears the feed however the call ends.
struct FeedGuard;

impl Drop for FeedGuard {
    fn drop(&mut self) {
        FEED.with_borrow_mut(|feed| *feed = None);
    }
}

/// COPY reads text in the client's encoding, and ours is UTF-8 whatever the client's: it is set for the time of the
/// copy.
struct EncodingGuard(c_int);

impl EncodingGuard {
    fn utf8() -> Self {
        let utf8 = pg_sys::pg_enc::PG_UTF8 as c_int;
        // SAFETY: plain calls inside a transaction; a prepared encoding can be set.
        unsafe {
            let before = pg_sys::pg_get_client_encoding();
            if before != utf8 && pg_sys::PrepareClientEncoding(utf8) == 0 {
                pg_sys::SetClientEncoding(utf8);
            }
            EncodingGuard(before)
        }
    }
}

impl Drop for EncodingGuard {
    fn drop(&mut self) {
        // SAFETY: the encoding was in use before, so that it is prepared.
        unsafe { pg_sys::SetClientEncoding(self.0) };
    }
}

/// Copies the records into a partition. Raises what COPY raises: a unique violation, a failed check, a cancel.
pub fn copy_from(partition: pg_sys::Oid, source: &str, records: &[Record<'_>]) {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES + (1 << 16));
    buffer.extend_from_slice(SIGNATURE);
    let feed = Feed {
        records: records.as_ptr().cast(),
        remaining: records.len(),
        source,
        buffer,
        taken: 0,
        ended: false,
    };
    FEED.with_borrow_mut(|current| *current = Some(feed));
    let _clear = FeedGuard;
    let _encoding = EncodingGuard::utf8();
    // SAFETY: the calls and their order are those of PostgreSQL's tablesync.c; everything is palloc'd and the
    // relation stays locked until the end of the transaction.
    unsafe {
        let relation = pg_sys::table_open(partition, pg_sys::RowExclusiveLock as c_int);
        let state = pg_sys::make_parsestate(ptr::null_mut());
        let lock = pg_sys::RowExclusiveLock as c_int;
        pg_sys::addRangeTableEntryForRelation(state, relation, lock, ptr::null_mut(), false, false);
        let string = |text: &CStr| pg_sys::makeString(pg_sys::pstrdup(text.as_ptr())).cast::<c_void>();
        let columns = COLUMNS
            .iter()
            .fold(ptr::null_mut(), |list, name| pg_sys::lappend(list, string(name)));
        let format = pg_sys::makeDefElem(pg_sys::pstrdup(c"format".as_ptr()), string(c"binary").cast(), -1);
        let options = pg_sys::lappend(ptr::null_mut(), format.cast());
        let copy = pg_sys::BeginCopyFrom(
            state,
            relation,
            ptr::null_mut(),
            ptr::null(),
            false,
            Some(read_feed),
            columns,
            options,
        );
        pg_sys::CopyFrom(copy);
        pg_sys::EndCopyFrom(copy);
        pg_sys::free_parsestate(state);
        pg_sys::table_close(relation, pg_sys::NoLock as c_int);
        pg_sys::CommandCounterIncrement();
    }
}

/// COPY's data source: fills `out` with up to `most` bytes; 0 ends the data.
#[pg_guard]
unsafe extern "C-unwind" fn read_feed(out: *mut c_void, _least: c_int, most: c_int) -> c_int {
    FEED.with_borrow_mut(|feed| {
        let Some(feed) = feed else { return 0 };
        if feed.taken == feed.buffer.len() {
            feed.refill();
        }
        let count = (feed.buffer.len() - feed.taken).min(usize::try_from(most).unwrap_or(0));
        // SAFETY: COPY's buffer holds `most` bytes, ours `count` unread ones.
        unsafe { ptr::copy_nonoverlapping(feed.buffer.as_ptr().add(feed.taken), out.cast(), count) };
        feed.taken += count;
        count as c_int
    })
}

impl Feed {
    fn refill(&mut self) {
        self.buffer.clear();
        self.taken = 0;
        while self.remaining > 0 && self.buffer.len() < BUFFER_BYTES {
            // SAFETY: `copy_from` outlives this call, and with it its slice of records and its source; the
            // pointer moves over `remaining` of them, one at a time.
            let (record, source) = unsafe { (&*self.records, &*self.source) };
            encode(&mut self.buffer, source, record);
            // SAFETY: one of `remaining` was there.
            self.records = unsafe { self.records.add(1) };
            self.remaining -= 1;
        }
        if self.remaining == 0 && !self.ended && self.buffer.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(&(-1i16).to_be_bytes());
            self.ended = true;
        }
    }
}

/// One row of COPY's binary format.
fn encode(out: &mut Vec<u8>, source: &str, record: &Record<'_>) {
    out.extend_from_slice(&(COLUMNS.len() as i16).to_be_bytes());
    field(out, Some(record.entity_id.as_bytes()));
    field(out, Some(&record.ts.to_be_bytes()));
    vector(out, record.vector);
    field(out, Some(source.as_bytes()));
    for text in [
        record.model_version,
        record.model_hash,
        record.input_hash,
        record.pipeline_hash,
    ] {
        field(out, text.map(str::as_bytes));
    }
    field(
        out,
        record
            .produced_at
            .map(i64::to_be_bytes)
            .as_ref()
            .map(|it| it.as_slice()),
    );
    match record.attrs {
        None => field(out, None),
        Some(attrs) => {
            out.extend_from_slice(&(attrs.len() as i32 + 1).to_be_bytes());
            out.push(JSONB_VERSION);
            out.extend_from_slice(attrs.as_bytes());
        }
    }
}

/// A length and its bytes; -1 is NULL. Lengths were bounded when the record was validated.
fn field(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(bytes) => {
            out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// pgvector's binary form: int16 dim, int16 unused, dim × float4.
fn vector(out: &mut Vec<u8>, values: &[f32]) {
    out.extend_from_slice(&(4 + 4 * values.len() as i32).to_be_bytes());
    out.extend_from_slice(&(values.len() as i16).to_be_bytes());
    out.extend_from_slice(&0i16.to_be_bytes());
    let start = out.len();
    out.resize(start + 4 * values.len(), 0);
    for (to, x) in out[start..].as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *to = x.to_be_bytes();
    }
}
