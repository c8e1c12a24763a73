//! The tree of categories.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{
        categories::{CategoryCount, CategoryPath},
        ids::CategoryId,
    },
    error::Result,
};

pub async fn find(conn: &mut PgConnection, path: &CategoryPath) -> Result<Option<CategoryId>> {
    let id = sqlx::query_scalar!(
        r#"select id as "id: CategoryId" from categories where path = $1"#,
        path.as_str(),
    );
    Ok(id.fetch_optional(conn).await?)
}

/// Those of `paths` that are there.
pub async fn find_all(
    conn: &mut PgConnection,
    paths: &[String],
) -> Result<Vec<(String, CategoryId)>> {
    let rows = sqlx::query!(
        r#"select path, id as "id: CategoryId" from categories where path = any($1)"#,
        paths,
    );
    let rows = rows.fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.path, row.id)).collect())
}

/// Makes those that are missing of one level of the tree, whose parents are there. Whoever makes
/// the same at the same time is waited for. Returns how many it made.
pub async fn insert_level(conn: &mut PgConnection, ids: &[Uuid], paths: &[String]) -> Result<u64> {
    let made = sqlx::query!(
        "insert into categories (id, path, parent_id)
         select n.id, n.path, parent.id
         from unnest($1::uuid[], $2::text[]) as n(id, path)
         left join categories parent on parent.path = substring(n.path from '^(.*)/[^/]*$')
         order by n.path
         on conflict (path) do nothing",
        ids,
        paths,
    );
    Ok(made.execute(conn).await?.rows_affected())
}

/// All of them, each with how many products it has itself.
pub async fn counts(conn: &mut PgConnection) -> Result<Vec<CategoryCount>> {
    Ok(sqlx::query_as!(
        CategoryCount,
        r#"select c.id as "id: CategoryId", c.path, coalesce(p.products, 0) as "products!",
                  c.created_at
           from categories c
           left join (
               select category_id, count(*) as products from products
               where archived_at is null group by category_id
           ) p on p.category_id = c.id"#,
    )
    .fetch_all(conn)
    .await?)
}
