//! A part of a transaction that can be undone alone.

use sqlx::PgConnection;

use super::{execute, on_commit};
use crate::error::{Error, Result};

/// Runs `work` behind a savepoint. When it fails with what `forgiven` accepts, only what it did is
/// undone, its hooks included, and the transaction goes on; every other error ends the transaction.
pub async fn undoable<T>(
    tx: &mut PgConnection,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
    forgiven: impl FnOnce(&Error) -> bool,
) -> Result<Result<T>> {
    execute(tx, "SAVEPOINT undoable").await?;
    let hooks = on_commit::count();
    match work(tx).await {
        Err(error) if forgiven(&error) => {
            execute(tx, "ROLLBACK TO SAVEPOINT undoable").await?;
            on_commit::forget_after(hooks);
            Ok(Err(error))
        }
        result => result.map(Ok),
    }
}
