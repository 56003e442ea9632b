//! Binary form: the bytes themselves, which are little endian on every machine.

use pgrx::datum::Internal;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::BocpdState;
use crate::error::Error;

#[pg_extern(sql = false)]
fn bocpd_state_recv(mut message: Internal) -> Result<BocpdState, ErrorReport> {
    // SAFETY: PostgreSQL passes the receive function a StringInfo whose bytes from cursor to len are the value.
    let bytes = unsafe {
        let Some(message) = message.get_mut::<pg_sys::StringInfoData>() else {
            return Err(Error::StateBinary {
                problem: String::from("no message"),
            }
            .into());
        };
        let start = usize::try_from(message.cursor).unwrap_or(0);
        let end = usize::try_from(message.len).unwrap_or(0);
        message.cursor = message.len;
        std::slice::from_raw_parts(message.data.cast::<u8>().add(start), end.saturating_sub(start))
    };
    Ok(BocpdState::read(bytes).map_err(|problem| Error::StateBinary { problem })?)
}

#[pg_extern(sql = false)]
fn bocpd_state_send(state: BocpdState) -> Vec<u8> {
    state.0.to_bytes()
}
