//! Throwing away what nobody needs any more, in small bites, on one instance at a time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    db::{Db, try_lock},
    error::Result,
    repos,
};

const EVERY: Duration = Duration::from_secs(60);
/// Any number of its own.
const LOCK: i64 = 0x7265_6170;

pub async fn run(db: Db, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = reap(&db).await {
            tracing::warn!(error = error.chain(), "old rows could not be removed");
        }
    }
}

pub async fn reap(db: &Db) -> Result<()> {
    db.tx("reaper.reap", async |tx| {
        if !try_lock(tx, LOCK).await? {
            return Ok(());
        }
        repos::feed::reap(tx).await?;
        repos::sessions::reap(tx).await?;
        repos::login_failures::reap(tx).await
    })
    .await
}
