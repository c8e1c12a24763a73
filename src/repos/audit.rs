//! The audit trail.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::{
    domain::{
        audit::{AuditEvent, AuditFilter, NewAuditEvent, Origin},
        ids::AuditEventId,
        page::PageRequest,
    },
    error::Result,
};

pub async fn insert(
    conn: &mut PgConnection,
    id: AuditEventId,
    event: &NewAuditEvent,
    origin: &Origin,
) -> Result<()> {
    sqlx::query!(
        "insert into audit_events (id, actor_id, action, target_type, target_id, address,
                                   user_agent, request_id, details)
         values ($1, $2, $3, $4, $5, $6::text::inet, $7, $8, $9)",
        id.0,
        event.actor.map(|actor| actor.0),
        event.action.as_str(),
        event.target.kind,
        event.target.id,
        origin.address_text(),
        origin.user_agent,
        origin.request_id,
        event.details,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn list(
    conn: &mut PgConnection,
    filter: &AuditFilter,
    page: &PageRequest,
) -> Result<Vec<AuditEvent>> {
    let mut query = QueryBuilder::new(
        "select id, at, actor_id, action, target_type, target_id, host(address) as address,
                user_agent, request_id, details
         from audit_events",
    );
    push_filter(&mut query, filter);
    if let Some(after) = page.after {
        query.push(" and (at, id) < (").push_bind(after.at);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" order by at desc, id desc limit ").push_bind(page.limit + 1);
    Ok(query.build_query_as().fetch_all(conn).await?)
}

pub async fn count(conn: &mut PgConnection, filter: &AuditFilter) -> Result<i64> {
    let mut query = QueryBuilder::new("select count(*) from audit_events");
    push_filter(&mut query, filter);
    Ok(query.build_query_scalar().fetch_one(conn).await?)
}

fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &AuditFilter) {
    query.push(" where true");
    if let Some(actor) = filter.actor_id {
        query.push(" and actor_id = ").push_bind(actor);
    }
    if let Some(action) = &filter.action {
        query.push(" and action = ").push_bind(action.clone());
    }
    if let Some(target) = filter.target_id {
        query.push(" and target_id = ").push_bind(target);
    }
}
