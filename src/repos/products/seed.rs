//! Many products at once, without what each would tell.

use sqlx::PgConnection;

use crate::{
    domain::{
        ids::CategoryId,
        products::{MovementKind, NewProduct, sample::Sample},
    },
    error::Result,
};

/// A sample that was checked, and where it belongs.
pub struct Row {
    pub sample: Sample,
    pub product: NewProduct,
    pub category: CategoryId,
}

/// Those whose SKU is free, with their stock as movements; returns how many.
pub async fn insert_samples(conn: &mut PgConnection, rows: &[Row]) -> Result<u64> {
    let of = |text: fn(&Row) -> &str| -> Vec<String> {
        rows.iter().map(|row| text(row).to_owned()).collect()
    };
    let attributes: Vec<_> = rows.iter().map(|row| row.product.attributes.to_value()).collect();
    let created_at: Vec<_> = rows.iter().map(|row| row.sample.created_at).collect();
    let made = sqlx::query_scalar!(
        r#"with made as (
               insert into products (id, sku, name, description, category_id, price, currency,
                                     attributes, stock, created_at, updated_at)
               select id, sku, name, description, category_id, price, currency, attributes, stock,
                      created_at, created_at
               from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::bigint[],
                           $7::text[], $8::jsonb[], $9::bigint[], $10::timestamptz[])
                    as n(id, sku, name, description, category_id, price, currency, attributes,
                         stock, created_at)
               on conflict (sku) do nothing
               returning id, stock, created_at
           ), moved as (
               insert into stock_movements (id, product_id, delta, kind, reason, at)
               select n.movement, made.id, made.stock, $12, 'initial stock', made.created_at
               from made join unnest($1::uuid[], $11::uuid[]) as n(id, movement) on n.id = made.id
               where made.stock > 0
           )
           select count(*) as "made!" from made"#,
        &rows.iter().map(|row| row.sample.id).collect::<Vec<_>>(),
        &of(|row| row.product.sku.as_str()),
        &of(|row| row.product.name.as_str()),
        &of(|row| row.product.description.as_str()),
        &rows.iter().map(|row| row.category.0).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.product.price.amount).collect::<Vec<_>>(),
        &of(|row| row.product.price.currency.as_str()),
        &attributes,
        &rows.iter().map(|row| row.product.stock.get()).collect::<Vec<_>>(),
        &created_at,
        &rows.iter().map(|row| row.sample.movement).collect::<Vec<_>>(),
        MovementKind::Initial.as_str(),
    );
    Ok(made.fetch_one(conn).await?.cast_unsigned())
}

/// Makes the statistics and the visibility map fit for what was written. Only the owner of the
/// table may: for others Postgres warns and does nothing. The connection is not for other use.
pub async fn tidy(conn: &mut PgConnection) -> Result<()> {
    sqlx::query("set statement_timeout = 0").execute(&mut *conn).await?;
    sqlx::query("vacuum (analyze) products").execute(conn).await?;
    Ok(())
}
