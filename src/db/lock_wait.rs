//! How long a transaction waits for the locks of others.

use std::time::Duration;

use sqlx::PgConnection;

use crate::error::Result;

/// Runs `work` with less patience than the transaction has otherwise.
pub async fn waiting_at_most<T>(
    tx: &mut PgConnection,
    most: Duration,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
) -> Result<T> {
    // Zero would be for ever.
    let most = i64::try_from(most.as_millis()).unwrap_or(i64::MAX).max(1);
    let shorter = sqlx::query_scalar(
        "with before as materialized (select current_setting('lock_timeout') as setting)
         select setting from before, set_config('lock_timeout', least($1, nullif(
             (extract(epoch from current_setting('lock_timeout')::interval) * 1000)::bigint, 0)
         )::text, true)",
    );
    let before: String = shorter.bind(most).fetch_one(&mut *tx).await?;
    let done = work(tx).await?;
    let again = sqlx::query("select set_config('lock_timeout', $1, true)");
    again.bind(before).execute(tx).await?;
    Ok(done)
}
