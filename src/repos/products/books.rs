//! Whether the ledger of stock adds up.

use sqlx::PgConnection;

use crate::{domain::ids::ProductId, error::Result};

/// So many products are looked at, about; of more, as many at random.
const SAMPLE: f32 = 50_000.0;

pub struct Books {
    pub products: i64,
    pub off: i64,
    /// One that is off.
    pub example: Option<ProductId>,
}

pub async fn audit(conn: &mut PgConnection) -> Result<Books> {
    let known = sqlx::query_scalar!(
        r#"select reltuples as "rows!" from pg_class where oid = 'products'::regclass"#,
    );
    let percent = 100.0 * SAMPLE / known.fetch_one(&mut *conn).await?.max(SAMPLE);
    Ok(sqlx::query_as!(
        Books,
        r#"select count(*) as "products!", count(*) filter (where stock <> moved) as "off!",
                  (array_agg(id) filter (where stock <> moved))[1] as "example: ProductId"
           from (
               select p.id, p.stock,
                      (select coalesce(sum(delta), 0) from stock_movements where product_id = p.id)
                          as moved
               from products p tablesample system ($1)
           ) looked_at"#,
        percent,
    )
    .fetch_one(conn)
    .await?)
}
