//! Throwing away what nobody needs any more, in small bites, on one instance at a time.

use std::time::Duration;

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::{
    db::{Db, try_lock},
    error::Result,
    repos,
};

const EVERY: Duration = Duration::from_secs(60);
/// Any number of its own.
const LOCK: i64 = 0x7265_6170;
/// Bites of one table that grows fast.
const BITES: usize = 50;
/// Words of search that are looked at in one turn.
pub const WORDS: i64 = 100;

pub async fn run(db: Db, outbox_keep: Duration, stop: CancellationToken) {
    let (mut word, mut words) = (String::new(), WORDS);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = reap(&db, outbox_keep).await {
            tracing::warn!(error = error.chain(), "old rows could not be removed");
        }
        match forget_words(&db, &word, words).await {
            Ok(Turn::Taken(last)) => {
                word = last.unwrap_or_default();
                words = (2 * words).min(WORDS);
            }
            Ok(Turn::OfAnother) => {}
            Err(error) => {
                // Perhaps these were too many for a statement.
                words = (words / 2).max(1);
                tracing::warn!(error = error.chain(), "words of search could not be forgotten");
            }
        }
    }
}

/// A transaction each, so that one that is slow or fails does not keep the others: what is told is
/// the last failure.
pub async fn reap(db: &Db, outbox_keep: Duration) -> Result<()> {
    use repos::{devices, feed, idempotency, login_failures, mail_tokens, refresh_tokens};
    let mut ended = [
        reap_all(db, "reaper.idempotency", idempotency::BITE, idempotency::reap).await,
        reap_outbox(db, outbox_keep).await,
        reap_all(db, "reaper.feed", feed::BITE, feed::reap).await,
        reap_one(db, "reaper.login_failures", login_failures::reap).await,
        reap_one(db, "reaper.devices", devices::reap).await,
        reap_one(db, "reaper.mail_tokens", mail_tokens::reap).await,
        reap_one(db, "reaper.tokens", refresh_tokens::reap).await,
        reap_one(db, "reaper.sessions", repos::sessions::reap).await,
    ];
    ended.sort_by_key(Result::is_err);
    ended.into_iter().next_back().unwrap_or(Ok(()))
}

/// Of a table that grows fast: bite after bite, as long as there are some.
async fn reap_all(
    db: &Db,
    name: &'static str,
    bite: u64,
    reap: impl AsyncFn(&mut PgConnection) -> Result<u64>,
) -> Result<()> {
    for _ in 0..BITES {
        if reap_one(db, name, &reap).await? < bite {
            break;
        }
    }
    Ok(())
}

async fn reap_outbox(db: &Db, keep: Duration) -> Result<()> {
    for _ in 0..BITES {
        let reap = async |tx: &mut PgConnection| repos::outbox::reap(tx, keep).await;
        if reap_one(db, "reaper.outbox", reap).await? < repos::outbox::BITE {
            break;
        }
    }
    Ok(())
}

/// Whether this instance had its turn.
#[derive(Default)]
pub enum Turn<T> {
    Taken(T),
    #[default]
    OfAnother,
}

/// Looks at the next words of search after one, and tells the last; nothing at the end.
pub async fn forget_words(db: &Db, after: &str, most: i64) -> Result<Turn<Option<String>>> {
    let forget = async |tx: &mut PgConnection| {
        Ok(Turn::Taken(repos::products::forget_words(tx, after, most).await?))
    };
    reap_one(db, "reaper.search_words", forget).await
}

async fn reap_one<T: Default>(
    db: &Db,
    name: &'static str,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
) -> Result<T> {
    let reap = async |tx: &mut PgConnection| match try_lock(tx, LOCK).await? {
        true => work(tx).await,
        false => Ok(T::default()),
    };
    db.tx(name, reap).await
}
