//! Deliveries as staff sees them.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::{
    domain::{
        events::{DeliveryFilter, DeliveryReport},
        ids::DeliveryId,
        page::PageRequest,
    },
    error::Result,
};

/// Locked until the transaction ends.
pub async fn state(conn: &mut PgConnection, id: DeliveryId) -> Result<Option<String>> {
    let state = sqlx::query_scalar!(
        "select state from outbox_deliveries where id = $1 for no key update",
        id.0,
    );
    Ok(state.fetch_optional(conn).await?)
}

/// Makes it as new.
pub async fn replay(conn: &mut PgConnection, id: DeliveryId) -> Result<()> {
    sqlx::query!(
        "update outbox_deliveries
         set state = 'pending', attempts = 0, next_at = clock_timestamp(),
             updated_at = clock_timestamp()
         where id = $1",
        id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

const REPORT: &str = "select d.id, d.consumer, d.state, d.attempts, d.next_at, d.last_error,
        d.created_at, d.updated_at, d.event_id, e.type as event_type, e.version as event_version,
        e.aggregate_kind, e.aggregate_id, e.sequence, e.actor_id, e.request_id, e.payload
     from outbox_deliveries d join outbox_events e on e.id = d.event_id";

pub async fn find(conn: &mut PgConnection, id: DeliveryId) -> Result<Option<DeliveryReport>> {
    let mut query = QueryBuilder::new(REPORT);
    query.push(" where d.id = ").push_bind(id);
    Ok(query.build_query_as().fetch_optional(conn).await?)
}

pub async fn list(
    conn: &mut PgConnection,
    filter: &DeliveryFilter,
    page: &PageRequest,
) -> Result<Vec<DeliveryReport>> {
    let mut query = QueryBuilder::new(REPORT);
    push_filter(&mut query, filter);
    if let Some(after) = page.after {
        query.push(" and (d.created_at, d.id) < (").push_bind(after.at);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" order by d.created_at desc, d.id desc limit ").push_bind(page.limit + 1);
    Ok(query.build_query_as().fetch_all(conn).await?)
}

pub async fn count(conn: &mut PgConnection, filter: &DeliveryFilter) -> Result<i64> {
    let mut query = QueryBuilder::new("select count(*) from outbox_deliveries d");
    push_filter(&mut query, filter);
    Ok(query.build_query_scalar().fetch_one(conn).await?)
}

fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &DeliveryFilter) {
    query.push(" where true");
    if let Some(state) = filter.state {
        query.push(" and d.state = ").push_bind(state.as_str());
    }
    if let Some(consumer) = &filter.consumer {
        query.push(" and d.consumer = ").push_bind(consumer.clone());
    }
}
