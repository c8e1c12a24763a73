//! The one command that the limiter sends to Redis.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use deadpool_redis::redis::Script;

use super::lease::Tokens;
use super::table::Claim;
use crate::redis::{Redis, RedisError};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("refill.lua")));

/// What one client wants under one policy.
pub(super) struct Order {
    pub limit: u64,
    /// Milliseconds.
    pub window: u64,
    /// Requests that wait for this. None: only give back.
    pub need: u64,
    /// What to lease on top of that, if the rest is large enough.
    pub extra: u64,
    /// Requests admitted without asking, while Redis was away.
    pub debt: u64,
    pub back: Tokens,
}

/// An order, and whose it is.
pub(super) struct Addressed {
    pub slot: u64,
    pub key: Arc<str>,
    pub order: Order,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub tokens: Tokens,
    /// Requests still possible besides, for all instances.
    pub left: u64,
    /// Milliseconds until more are.
    pub next_release: u64,
}

/// The log's key. Who the client is cannot be read from it.
pub(super) fn log_key(redis: &Redis, claim: &Claim<'_>) -> Arc<str> {
    let hash = digest(&SHA256, claim.key.as_bytes());
    let short = hash.as_ref().iter().take(16);
    let short = short.fold(0u128, |all, byte| (all << 8) | u128::from(*byte));
    let id = format!("{}:{short:032x}", claim.policy.name);
    redis.key("rate", &id).into()
}

/// One answer per order, in their order. At most one in `spread` of what is left is leased.
pub(super) async fn send(
    redis: &Redis,
    spread: u64,
    orders: &[Addressed],
) -> Result<Vec<Grant>, RedisError> {
    let mut call = SCRIPT.prepare_invoke();
    call.arg(spread);
    for Addressed { key, order, .. } in orders {
        call.key(&**key);
        call.arg(order.limit).arg(order.window);
        call.arg(order.need).arg(order.extra).arg(order.debt);
        call.arg(order.back.count).arg(order.back.granted_at);
    }
    let answer: Vec<u64> = redis.run_script("rate_limit", &call).await?;
    let (now, rows) = answer.split_first().unwrap_or((&0, &[]));
    let grants = rows.chunks_exact(3).map(|row| Grant {
        tokens: Tokens { count: row[0], granted_at: *now },
        left: row[1],
        next_release: row[2],
    });
    Ok(grants.collect())
}
