use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Statements, internal, prepared};
use crate::error::Error;

thread_local! {
    static BY_NAME: Statements<()> = Statements::default();
}

/// A row of cvx.space.
pub struct Space {
    pub space_id: i32,
    pub name: String,
    pub dims: usize,
}

impl Space {
    /// The space with this name, or the error that it does not exist.
    pub fn by_name(name: &str) -> Result<Space, ErrorReport> {
        let query = "SELECT s.space_id, s.dims FROM cvx.space s WHERE s.name OPERATOR(pg_catalog.=) $1";
        let found = Spi::connect(|client| {
            let statement = prepared(&BY_NAME, (), || {
                Ok(client.prepare(query, &[PgOid::from(pg_sys::TEXTOID)])?.keep())
            })?;
            let rows = client.select(&*statement, Some(1), &[name.into()])?;
            if rows.is_empty() {
                Ok((None, None))
            } else {
                rows.first().get_two::<i32, i32>()
            }
        });
        let (space_id, dims) = found.map_err(internal)?;
        let (Some(space_id), Some(dims)) = (space_id, dims) else {
            return Err(Error::UnknownSpace {
                name: name.to_owned(),
            }
            .into());
        };
        Ok(Space {
            space_id,
            name: name.to_owned(),
            dims: dims.unsigned_abs() as usize,
        })
    }
}
