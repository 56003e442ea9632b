//! The triggers on what views read: what a statement changed is appended to the log, an entry for each entity.
//!
//! Rows are written to the log as PostgreSQL writes its own catalogs, past privileges: whoever may change the source
//! marks what depends on it. Nothing is looked up that another session could hold a lock on.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, c_char, c_int};

use pgrx::prelude::*;
use pgrx::{PgSqlErrorCode, pg_sys};

use crate::types::TimestampTz;
use crate::workers::poke;

/// So many entities, or bytes of their ids, are gathered before they are written.
const MOST_ENTITIES: usize = 100_000;
const MOST_BYTES: usize = 32 << 20;
/// Rows of the log written in one go.
const ROWS: usize = 60;
/// Longer ids do not fit into an index: all of the source is marked instead.
const MOST_ID_BYTES: usize = 2000;

/// Entities that a statement touched: by source and id, with the least event time.
#[derive(Default)]
struct Touched {
    entities: HashMap<(i32, Vec<u8>), TimestampTz>,
    bytes: usize,
    /// Sources of which all is touched.
    whole: BTreeSet<i32>,
}

/// Where the trigger finds what it needs in a row.
#[derive(Clone, Copy)]
struct Places {
    /// The column of the source, when rows are of several.
    source: Option<c_int>,
    fixed_source: i32,
    entity: c_int,
    ts: c_int,
    entity_type: pg_sys::Oid,
}

macro_rules! trigger {
    ($wrapper:ident, $info:ident, $body:ident) => {
        #[pg_guard]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $wrapper(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: PostgreSQL calls it as a function of the version that $info states.
            unsafe {
                let context = (*fcinfo).context;
                if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                    ereport!(
                        PgLogLevel::ERROR,
                        PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                        "this function can only be called as a trigger"
                    );
                }
                $body(&*context.cast::<pg_sys::TriggerData>());
            }
            pg_sys::Datum::from(0usize)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pg_sys::Pg_finfo_record {
            const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }
    };
}

trigger!(invalidate_wrapper, pg_finfo_invalidate_wrapper, invalidate);
trigger!(
    invalidate_all_wrapper,
    pg_finfo_invalidate_all_wrapper,
    invalidate_all
);

/// # Safety
/// `data` is that of a trigger in progress.
unsafe fn invalidate(data: &pg_sys::TriggerData) {
    // SAFETY: fields as PostgreSQL fills them in; tuplestores and tuples live as long as the call.
    unsafe {
        let arguments = arguments(data);
        let source = arguments.first().and_then(|it| it.parse::<i32>().ok());
        let Some(source) = source else {
            ereport!(
                PgLogLevel::ERROR,
                PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "a trigger of cvx._invalidate() names its source, its entity column and its time column"
            );
            return;
        };
        let now = pg_sys::GetCurrentTimestamp();
        let event = data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK;
        if event == pg_sys::TRIGGER_EVENT_TRUNCATE {
            // Of a partitioned table each partition has a trigger of its own, which fires too.
            if source != 0 {
                write_all(source, now);
            }
            return;
        }
        let Some(places) = places(data, source, &arguments) else {
            // A column of that name is no more: anything may have changed.
            write_all(source, now);
            return;
        };
        let mut touched = Touched::default();
        if data.tg_event & pg_sys::TRIGGER_EVENT_ROW != 0 {
            for tuple in [data.tg_trigtuple, data.tg_newtuple] {
                if !tuple.is_null() {
                    touch_tuple(tuple, (*data.tg_relation).rd_att, places, &mut touched);
                }
            }
        } else {
            for rows in [data.tg_oldtable, data.tg_newtable] {
                if !rows.is_null() {
                    touch_rows(rows, (*data.tg_relation).rd_att, places, now, &mut touched);
                }
            }
        }
        touched.write(now);
    }
}

/// # Safety
/// As [`invalidate`].
unsafe fn invalidate_all(data: &pg_sys::TriggerData) {
    // SAFETY: as above.
    unsafe {
        let now = pg_sys::GetCurrentTimestamp();
        let log = Log::open(c"stale");
        for view_id in arguments(data).iter().filter_map(|it| it.parse::<i32>().ok()) {
            log.write(&[Some(view_id.into()), None, Some(now.into()), None, None, None]);
        }
        log.close();
    }
    poke::refresh();
}

unsafe fn arguments(data: &pg_sys::TriggerData) -> Vec<String> {
    // SAFETY: a trigger has so many C strings.
    unsafe {
        let trigger = &*data.tg_trigger;
        (0..trigger.tgnargs as usize)
            .map(|i| {
                CStr::from_ptr(*trigger.tgargs.add(i))
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }
}

/// The columns that the trigger's arguments name; None when one is not there.
unsafe fn places(data: &pg_sys::TriggerData, source: i32, arguments: &[String]) -> Option<Places> {
    // SAFETY: the descriptor of an open relation.
    unsafe {
        let descriptor = (*data.tg_relation).rd_att;
        let place = |name: &str| {
            (1..=(*descriptor).natts).find(|&i| {
                let attribute = &*attribute(descriptor, i);
                !attribute.attisdropped && pgrx::name_data_to_str(&attribute.attname) == name
            })
        };
        let entity = place(arguments.get(1).map_or("entity_id", String::as_str))?;
        Some(Places {
            source: if source == 0 {
                Some(place("space_id")?)
            } else {
                None
            },
            fixed_source: source,
            entity,
            ts: place(arguments.get(2).map_or("ts", String::as_str))?,
            entity_type: (*attribute(descriptor, entity)).atttypid,
        })
    }
}

unsafe fn attribute(descriptor: pg_sys::TupleDesc, number: c_int) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: numbers are from 1 to natts.
    unsafe {
        #[cfg(feature = "pg18")]
        let found = pg_sys::TupleDescAttr(descriptor, number - 1);
        #[cfg(not(feature = "pg18"))]
        let found = (*descriptor).attrs.as_ptr().add((number - 1) as usize);
        found
    }
}

unsafe fn touch_tuple(
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    places: Places,
    touched: &mut Touched,
) {
    let value = |number: c_int| {
        let mut is_null = false;
        // SAFETY: a tuple of the relation with this descriptor.
        let datum = unsafe { pg_sys::heap_getattr(tuple, number, descriptor, &mut is_null) };
        (!is_null).then_some(datum)
    };
    // SAFETY: datums of the types that the columns have.
    unsafe { touched.add(places, &value) }
}

/// All rows of a transition table, read apart from the other triggers that do so.
unsafe fn touch_rows(
    rows: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    places: Places,
    now: TimestampTz,
    touched: &mut Touched,
) {
    // SAFETY: a tuplestore of the relation's rows; the slot is dropped, and the read position put back, below. Both go
    // with the query when an error is raised in between.
    unsafe {
        let place = pg_sys::tuplestore_alloc_read_pointer(rows, pg_sys::EXEC_FLAG_REWIND as c_int);
        pg_sys::tuplestore_select_read_pointer(rows, place);
        pg_sys::tuplestore_rescan(rows);
        let slot = pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsMinimalTuple);
        let last = places.entity.max(places.ts).max(places.source.unwrap_or(0));
        while pg_sys::tuplestore_gettupleslot(rows, true, false, slot) {
            if c_int::from((*slot).tts_nvalid) < last {
                pg_sys::slot_getsomeattrs_int(slot, last);
            }
            let value = |number: c_int| {
                let i = (number - 1) as usize;
                (!*(*slot).tts_isnull.add(i)).then(|| *(*slot).tts_values.add(i))
            };
            touched.add(places, &value);
            if touched.entities.len() >= MOST_ENTITIES || touched.bytes >= MOST_BYTES {
                std::mem::take(touched).write(now);
            }
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::tuplestore_select_read_pointer(rows, 0);
    }
}

impl Touched {
    /// # Safety
    /// `value` gives the datums of a row whose columns are of the types of `places`.
    unsafe fn add(&mut self, places: Places, value: &dyn Fn(c_int) -> Option<pg_sys::Datum>) {
        // Without an id or a time a row is no point.
        let (Some(entity), Some(ts)) = (value(places.entity), value(places.ts)) else {
            return;
        };
        let source = match places.source {
            None => places.fixed_source,
            Some(place) => match value(place) {
                Some(datum) => datum.value() as i32,
                None => return,
            },
        };
        let ts = ts.value() as TimestampTz;
        // SAFETY: a datum of that type.
        let id = unsafe { id_text(entity, places.entity_type) };
        let len = id.len();
        if len > MOST_ID_BYTES {
            self.whole.insert(source);
            return;
        }
        match self.entities.entry((source, id)) {
            std::collections::hash_map::Entry::Occupied(mut it) => *it.get_mut() = ts.min(*it.get()),
            std::collections::hash_map::Entry::Vacant(it) => {
                it.insert(ts);
                self.bytes += len;
            }
        }
    }

    fn write(self, now: TimestampTz) {
        for source in self.whole {
            // SAFETY: the log is open to every statement.
            unsafe { write_all(source, now) };
        }
        if self.entities.is_empty() {
            return;
        }
        let mut rows: Vec<((i32, Vec<u8>), TimestampTz)> = self.entities.into_iter().collect();
        // Neighbours in the index are written one after the other.
        rows.sort_unstable();
        // SAFETY: datums of the log's columns, made here.
        unsafe {
            let log = Log::open(c"invalidation");
            let text = |id: &[u8]| {
                let text = pg_sys::cstring_to_text_with_len(id.as_ptr().cast::<c_char>(), id.len() as c_int);
                pg_sys::Datum::from(text)
            };
            let row = |((source, id), ts): &((i32, Vec<u8>), TimestampTz)| {
                [
                    Some((*source).into()),
                    Some(text(id)),
                    Some(now.into()),
                    Some((*ts).into()),
                ]
            };
            match rows.as_slice() {
                [one] => log.write(&row(one)),
                many => log.write_many(many.iter().map(row), many.len()),
            }
            log.close();
        }
        poke::refresh();
    }
}

/// All of a source.
unsafe fn write_all(source: i32, now: TimestampTz) {
    // SAFETY: datums of the log's columns.
    unsafe {
        let log = Log::open(c"invalidation");
        log.write(&[Some(source.into()), None, Some(now.into()), None]);
        log.close();
    }
    poke::refresh();
}

/// An id as its type writes it.
unsafe fn id_text(datum: pg_sys::Datum, type_oid: pg_sys::Oid) -> Vec<u8> {
    // SAFETY: a datum of that type; what is detoasted or written is copied and freed.
    unsafe {
        if type_oid == pg_sys::TEXTOID || type_oid == pg_sys::VARCHAROID {
            let original = datum.cast_mut_ptr::<pg_sys::varlena>();
            let plain = pg_sys::pg_detoast_datum_packed(original);
            let bytes = std::slice::from_raw_parts(
                pgrx::vardata_any(plain).cast::<u8>(),
                pgrx::varsize_any_exhdr(plain),
            )
            .to_vec();
            if plain != original {
                pg_sys::pfree(plain.cast());
            }
            return bytes;
        }
        let (mut output, mut is_varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(type_oid, &mut output, &mut is_varlena);
        let text = pg_sys::OidOutputFunctionCall(output, datum);
        let bytes = CStr::from_ptr(text).to_bytes().to_vec();
        pg_sys::pfree(text.cast());
        bytes
    }
}

/// A table of cvx that is appended to.
struct Log {
    relation: pg_sys::Relation,
    indexes: pg_sys::CatalogIndexState,
}

impl Log {
    unsafe fn open(name: &CStr) -> Log {
        // SAFETY: look-ups by C strings; a table that is not there raises an error.
        unsafe {
            let schema = pg_sys::get_namespace_oid(c"cvx".as_ptr(), false);
            let oid = pg_sys::get_relname_relid(name.as_ptr(), schema);
            let relation = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            Log {
                relation,
                indexes: pg_sys::CatalogOpenIndexes(relation),
            }
        }
    }

    /// # Safety
    /// One value for each column, of its type.
    unsafe fn write(&self, values: &[Option<pg_sys::Datum>]) {
        let mut datums: Vec<pg_sys::Datum> = Vec::with_capacity(values.len());
        let mut nulls: Vec<bool> = Vec::with_capacity(values.len());
        for value in values {
            datums.push(value.unwrap_or(pg_sys::Datum::from(0usize)));
            nulls.push(value.is_none());
        }
        // SAFETY: as many values as columns; the tuple is freed here.
        unsafe {
            let tuple =
                pg_sys::heap_form_tuple((*self.relation).rd_att, datums.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::CatalogTupleInsertWithInfo(self.relation, tuple, self.indexes);
            pg_sys::heap_freetuple(tuple);
        }
    }

    /// # Safety
    /// As [`Log::write`]; texts are freed here.
    unsafe fn write_many(&self, rows: impl Iterator<Item = [Option<pg_sys::Datum>; 4]>, count: usize) {
        // SAFETY: slots of the relation's descriptor, each filled with as many values as it has columns before it is
        // written; dropped here, the last one first, as the resource owner finds them quickest.
        unsafe {
            let descriptor = (*self.relation).rd_att;
            let mut slots: Vec<*mut pg_sys::TupleTableSlot> = (0..count.min(ROWS))
                .map(|_| pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsHeapTuple))
                .collect();
            let flush = |slots: &mut [*mut pg_sys::TupleTableSlot]| {
                let (first, count) = (slots.as_mut_ptr(), slots.len() as c_int);
                pg_sys::CatalogTuplesMultiInsertWithInfo(self.relation, first, count, self.indexes);
            };
            let mut filled = 0;
            for row in rows {
                let mut datums = row.map(|it| it.unwrap_or(pg_sys::Datum::from(0usize)));
                let mut nulls = row.map(|it| it.is_none());
                let tuple = pg_sys::heap_form_tuple(descriptor, datums.as_mut_ptr(), nulls.as_mut_ptr());
                pg_sys::ExecStoreHeapTuple(tuple, slots[filled], true);
                if let Some(text) = row[1] {
                    pg_sys::pfree(text.cast_mut_ptr());
                }
                filled += 1;
                if filled == slots.len() {
                    flush(&mut slots);
                    filled = 0;
                }
            }
            if filled > 0 {
                flush(&mut slots[..filled]);
            }
            for slot in slots.into_iter().rev() {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
        }
    }

    /// The lock stays until the transaction ends.
    unsafe fn close(self) {
        // SAFETY: opened by this value.
        unsafe {
            pg_sys::CatalogCloseIndexes(self.indexes);
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}
