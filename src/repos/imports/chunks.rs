//! The text of a file, in pieces.

use sqlx::PgConnection;

use crate::{domain::ids::ImportId, error::Result};

/// Pieces removed by one statement.
pub const BITE: u64 = 40;

/// Stores the piece that begins at `at`; false when the upload was given up.
pub async fn append(conn: &mut PgConnection, id: ImportId, at: u64, data: &[u8]) -> Result<bool> {
    let stored = sqlx::query!(
        "with growing as (
             update imports
             set bytes_total = bytes_total + octet_length($3::bytea), updated_at = now()
             where id = $1 and state = 'uploading' and bytes_total = $2
             returning id
         )
         insert into import_chunks (import_id, at, data) select id, $2, $3 from growing",
        id.0,
        at as i64,
        data,
    );
    Ok(stored.execute(conn).await?.rows_affected() == 1)
}

/// What follows `at` in its piece; nothing at the end of the file.
pub async fn read(conn: &mut PgConnection, id: ImportId, at: u64) -> Result<Option<Vec<u8>>> {
    let piece = sqlx::query!(
        "select at, data from import_chunks where import_id = $1 and at <= $2
         order by at desc limit 1",
        id.0,
        at as i64,
    );
    let Some(piece) = piece.fetch_optional(conn).await? else { return Ok(None) };
    let skip = usize::try_from(at as i64 - piece.at).unwrap_or(usize::MAX);
    let mut data = piece.data;
    if skip >= data.len() {
        return Ok(None);
    }
    data.drain(..skip);
    Ok(Some(data))
}

/// Pieces of imports that have ended; how many were removed: [`BITE`] when there may be more.
pub async fn reap(conn: &mut PgConnection) -> Result<u64> {
    let removed = sqlx::query!(
        "delete from import_chunks where (import_id, at) in (
             select chunk.import_id, chunk.at from import_chunks chunk
             join imports on imports.id = chunk.import_id
             where imports.finished_at is not null limit 40)",
    );
    Ok(removed.execute(conn).await?.rows_affected())
}

/// Pieces of one import; how many were removed: [`BITE`] when there may be more.
pub async fn remove(conn: &mut PgConnection, id: ImportId) -> Result<u64> {
    let removed = sqlx::query!(
        "delete from import_chunks where import_id = $1 and at in (
             select at from import_chunks where import_id = $1 order by at limit 40)",
        id.0,
    );
    Ok(removed.execute(conn).await?.rows_affected())
}
