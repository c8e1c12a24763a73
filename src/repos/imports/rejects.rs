//! Rows that an import refused.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    domain::{
        ids::ImportId,
        imports::{KeptReject, Reject},
    },
    error::Result,
};

/// Adds bad rows as long as there is room; each line once.
pub async fn insert(
    conn: &mut PgConnection,
    id: ImportId,
    rejects: &[Reject],
    room: i64,
) -> Result<()> {
    let kept = &rejects[..rejects.len().min(usize::try_from(room).unwrap_or_default())];
    if kept.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = kept.iter().map(|reject| reject.line).collect();
    let columns: Vec<_> = kept.iter().map(|reject| reject.column.to_owned()).collect();
    let reasons: Vec<_> = kept.iter().map(|reject| reject.reason.clone()).collect();
    let originals: Vec<_> = kept.iter().map(|reject| reject.original.clone()).collect();
    sqlx::query!(
        "insert into import_rejects (import_id, line, column_name, reason, original)
         select $1, line, column_name, reason, original
         from unnest($2::bigint[], $3::text[], $4::text[], $5::text[])
              as reject(line, column_name, reason, original)
         on conflict (import_id, line) do nothing",
        id.0,
        &lines,
        &columns,
        &reasons,
        &originals,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn after(
    conn: &mut PgConnection,
    id: ImportId,
    line: i64,
    limit: i64,
) -> Result<Vec<KeptReject>> {
    Ok(sqlx::query_as!(
        KeptReject,
        "select line, column_name, reason, original from import_rejects
         where import_id = $1 and line > $2 order by line limit $3",
        id.0,
        line,
        limit,
    )
    .fetch_all(conn)
    .await?)
}

/// Rows of one bite of the reaper.
pub const BITE: u64 = 5_000;

/// Rejects of imports that ended long ago; how many were removed: [`BITE`] when there may be more.
pub async fn reap(conn: &mut PgConnection, keep: Duration) -> Result<u64> {
    let removed = sqlx::query!(
        "delete from import_rejects where (import_id, line) in (
             select reject.import_id, reject.line from import_rejects reject
             join imports on imports.id = reject.import_id
             where imports.finished_at < now() - make_interval(secs => $1) limit 5000)",
        keep.as_secs_f64(),
    );
    Ok(removed.execute(conn).await?.rows_affected())
}
