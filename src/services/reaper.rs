//! Throwing away what nobody needs any more, in small bites, on one instance at a time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{db::Db, error::Result, repos};

const EVERY: Duration = Duration::from_secs(60);

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
    db.tx("reaper.feed", async |tx| repos::feed::reap(tx).await).await?;
    db.tx("reaper.sessions", async |tx| repos::sessions::reap(tx).await).await?;
    db.tx("reaper.login_failures", async |tx| repos::login_failures::reap(tx).await).await
}
