//! Events, their deliveries, and the lease of the one that relays them.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{
        events::{Delivery, DeliveryState, Event, NewEvent},
        ids::{DeliveryId, EventId, UserId},
    },
    error::Result,
};

pub mod admin;

/// Rows of one bite of the reaper.
pub const BITE: u64 = 1_000;

/// Appends the event with the next sequence of its aggregate, and a delivery for each of
/// `consumers`, whose ids stand in `deliveries`. Holds back whoever emits for the same aggregate
/// until the transaction ends.
pub async fn append(
    conn: &mut PgConnection,
    id: EventId,
    event: &NewEvent,
    request_id: &str,
    traceparent: Option<&str>,
    deliveries: &[Uuid],
    consumers: &[String],
) -> Result<()> {
    sqlx::query!(
        "with next as (
             insert into outbox_sequences as s (aggregate_kind, aggregate_id, last) values ($4, $5, 1)
             on conflict (aggregate_kind, aggregate_id) do update set last = s.last + 1
             returning last
         ), event as (
             insert into outbox_events (id, type, version, aggregate_kind, aggregate_id, sequence,
                                        actor_id, request_id, traceparent, payload)
             select $1, $2, $3, $4, $5, next.last, $6, $7, $8, $9 from next
             returning id, position, sequence
         )
         insert into outbox_deliveries (id, event_id, consumer, position, aggregate_kind,
                                        aggregate_id, sequence)
         select d.id, event.id, d.consumer, event.position, $4, $5, event.sequence
         from event cross join unnest($10::uuid[], $11::text[]) as d(id, consumer)",
        id.0,
        event.kind.as_str(),
        event.kind.version(),
        event.aggregate.kind,
        event.aggregate.id,
        event.actor.map(|actor| actor.0),
        request_id,
        traceparent,
        event.payload,
        deliveries,
        consumers,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The deliveries of a consumer that may be handed over now, in order per aggregate: those
/// aggregates whose next delivery is due, each with some that follow. With `blocking` nothing
/// passes a dead one.
pub async fn due(
    conn: &mut PgConnection,
    consumer: &str,
    blocking: bool,
    aggregates: i64,
    following: i32,
) -> Result<Vec<Delivery>> {
    let rows = sqlx::query!(
        r#"with near as (
             select aggregate_kind, aggregate_id, next_at, position from outbox_deliveries
             where consumer = $1 and state = 'pending' and next_at <= now()
             order by next_at, position limit 2000
           ), aggregates as (
             select aggregate_kind, aggregate_id, min(next_at) as next_at, min(position) as position
             from near group by aggregate_kind, aggregate_id
           ), heads as (
             select a.aggregate_kind, a.aggregate_id
             from aggregates a cross join lateral (
                 select d.state, d.next_at from outbox_deliveries d
                 where d.consumer = $1 and d.aggregate_kind = a.aggregate_kind
                   and d.aggregate_id = a.aggregate_id
                   and d.state <> 'done' and ($2 or d.state = 'pending')
                 order by d.sequence limit 1
             ) first
             where first.state = 'pending' and first.next_at <= now()
             order by a.next_at, a.position limit $3
           )
           select chain.id as "delivery: DeliveryId", chain.attempts, e.id as "id: EventId", e.at,
                  e.type as kind, e.version, e.aggregate_kind, e.aggregate_id, e.sequence,
                  e.actor_id as "actor_id: UserId", e.request_id, e.traceparent, e.payload
           from heads h cross join lateral (
               select d.id, d.attempts, d.event_id, d.position from outbox_deliveries d
               where d.consumer = $1 and d.state = 'pending'
                 and d.aggregate_kind = h.aggregate_kind and d.aggregate_id = h.aggregate_id
               order by d.sequence limit case when $2 then 1 else $4 end
           ) chain join outbox_events e on e.id = chain.event_id
           order by chain.position"#,
        consumer,
        blocking,
        aggregates,
        following,
    );
    let rows = rows.fetch_all(conn).await?;
    Ok(rows
        .into_iter()
        .map(|row| Delivery {
            id: row.delivery,
            attempts: row.attempts,
            event: Event {
                id: row.id,
                at: row.at,
                kind: row.kind,
                version: row.version,
                aggregate_kind: row.aggregate_kind,
                aggregate_id: row.aggregate_id,
                sequence: row.sequence,
                actor_id: row.actor_id,
                request_id: row.request_id,
                traceparent: row.traceparent,
                payload: row.payload,
            },
        })
        .collect())
}

/// Events that came after one that waits, or that nothing passes, wait as well: else they would
/// fill what [`due`] looks at. A replay takes those that follow with it whenever they are due.
pub async fn defer_blocked(conn: &mut PgConnection, consumer: &str, blocking: bool) -> Result<u64> {
    let deferred = sqlx::query!(
        "with near as (
             select aggregate_kind, aggregate_id from outbox_deliveries
             where consumer = $1 and state = 'pending' and next_at <= now()
             order by next_at, position limit 2000
         ), blocked as (
             select a.aggregate_kind, a.aggregate_id, first.next_at
             from (select distinct aggregate_kind, aggregate_id from near) a cross join lateral (
                 select d.state, d.next_at from outbox_deliveries d
                 where d.consumer = $1 and d.aggregate_kind = a.aggregate_kind
                   and d.aggregate_id = a.aggregate_id
                   and d.state <> 'done' and ($2 or d.state = 'pending')
                 order by d.sequence limit 1
             ) first
             where first.state = 'dead' or first.next_at > now()
         )
         update outbox_deliveries d
         set next_at = greatest(blocked.next_at, now() + interval '10 seconds')
         from blocked
         where d.consumer = $1 and d.state = 'pending' and d.next_at <= now()
           and d.aggregate_kind = blocked.aggregate_kind and d.aggregate_id = blocked.aggregate_id",
        consumer,
        blocking,
    );
    Ok(deferred.execute(conn).await?.rows_affected())
}

/// Marks those that are still pending, and only for the holder of the lease; returns which.
pub async fn mark_done(
    conn: &mut PgConnection,
    token: i64,
    ids: &[Uuid],
) -> Result<Vec<DeliveryId>> {
    let marked = sqlx::query_scalar!(
        r#"update outbox_deliveries set state = 'done', updated_at = clock_timestamp()
           where id = any($2) and state = 'pending'
             and exists (select from outbox_lease
                         where token = $1 and expires_at > clock_timestamp())
           returning id as "id: DeliveryId""#,
        token,
        ids,
    );
    Ok(marked.fetch_all(conn).await?)
}

pub struct Failure<'a> {
    pub id: DeliveryId,
    pub error: &'a str,
    /// Until the next attempt.
    pub pause: Duration,
    pub max_attempts: i32,
}

/// Counts a failure, for the holder of the lease. The delivery and all that follow it in its
/// aggregate wait for `pause`, unless it is given up. `None` when there was nothing to count.
pub async fn mark_failed(
    conn: &mut PgConnection,
    token: i64,
    failure: &Failure<'_>,
) -> Result<Option<DeliveryState>> {
    let dead = sqlx::query_scalar!(
        r#"with failed as (
             update outbox_deliveries
             set attempts = attempts + 1, last_error = $3, updated_at = clock_timestamp(),
                 next_at = clock_timestamp() + make_interval(secs => $4),
                 state = case when attempts + 1 < $5 then 'pending' else 'dead' end
             where id = $2 and state = 'pending'
               and exists (select from outbox_lease
                           where token = $1 and expires_at > clock_timestamp())
             returning consumer, aggregate_kind, aggregate_id, sequence, next_at, state
           ), pushed as (
             update outbox_deliveries d set next_at = greatest(d.next_at, f.next_at)
             from failed f
             where f.state = 'pending' and d.state = 'pending' and d.consumer = f.consumer
               and d.aggregate_kind = f.aggregate_kind and d.aggregate_id = f.aggregate_id
               and d.sequence > f.sequence
           )
           select state = 'dead' as "dead!" from failed"#,
        token,
        failure.id.0,
        failure.error,
        failure.pause.as_secs_f64(),
        failure.max_attempts,
    );
    let dead = dead.fetch_optional(conn).await?;
    Ok(dead.map(|dead| if dead { DeliveryState::Dead } else { DeliveryState::Pending }))
}

/// Takes the lease if nobody holds it; its token.
pub async fn acquire(
    conn: &mut PgConnection,
    holder: &str,
    lease: Duration,
) -> Result<Option<i64>> {
    let token = sqlx::query_scalar!(
        "update outbox_lease
         set holder = $1, token = token + 1,
             expires_at = clock_timestamp() + make_interval(secs => $2)
         where expires_at <= clock_timestamp()
         returning token",
        holder,
        lease.as_secs_f64(),
    );
    Ok(token.fetch_optional(conn).await?)
}

/// False when it has been lost.
pub async fn renew(conn: &mut PgConnection, token: i64, lease: Duration) -> Result<bool> {
    let renewed = sqlx::query!(
        "update outbox_lease set expires_at = clock_timestamp() + make_interval(secs => $2)
         where token = $1 and expires_at > clock_timestamp()",
        token,
        lease.as_secs_f64(),
    );
    Ok(renewed.execute(conn).await?.rows_affected() > 0)
}

pub async fn release(conn: &mut PgConnection, token: i64) -> Result<()> {
    sqlx::query!("update outbox_lease set expires_at = '-infinity' where token = $1", token)
        .execute(conn)
        .await?;
    Ok(())
}

/// What waits and what was given up.
pub struct Standing {
    /// Age of the oldest that waits for one of the consumers.
    pub lag_secs: f64,
    pub dead: i64,
}

/// What a consumer left behind that is there no more waits for nobody.
pub async fn standing(conn: &mut PgConnection, consumers: &[String]) -> Result<Standing> {
    Ok(sqlx::query_as!(
        Standing,
        r#"with outbox_standing as (
             select (select min(created_at) from outbox_deliveries
                     where state = 'pending' and consumer = any($1)) as oldest,
                    (select count(*) from outbox_deliveries where state = 'dead') as dead
           )
           select coalesce(extract(epoch from clock_timestamp() - oldest), 0)::float8 as "lag_secs!",
                  dead as "dead!"
           from outbox_standing"#,
        consumers,
    )
    .fetch_one(conn)
    .await?)
}

/// Removes what everybody was told of; what is pending or dead stays. How many: [`BITE`] when
/// there may be more.
pub async fn reap(conn: &mut PgConnection, keep: Duration) -> Result<u64> {
    let removed = sqlx::query!(
        "delete from outbox_events where id in (
             select e.id from outbox_events e
             where e.at < now() - make_interval(secs => $1)
               and not exists (select from outbox_deliveries d
                               where d.event_id = e.id and d.state <> 'done')
             order by e.at limit 1000)",
        keep.as_secs_f64(),
    );
    Ok(removed.execute(conn).await?.rows_affected())
}
