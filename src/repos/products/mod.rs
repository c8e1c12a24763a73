//! Products and their stock.

use sqlx::PgConnection;
use uuid::Uuid;

pub mod books;
pub mod export;
mod list;
mod search;
pub mod seed;

pub use list::{count, list, page_query};
pub use search::forget_words;

use crate::{
    db::OnConstraint,
    domain::{
        ids::{CategoryId, ProductId, UserId},
        products::{Adjustment, MovementKind, NewProduct, Product},
    },
    error::{Code, Error, Result},
};

/// With its first stock as a movement. Fails with `SKU_TAKEN` when another product has the SKU.
pub async fn insert(
    conn: &mut PgConnection,
    id: ProductId,
    new: &NewProduct,
    category: CategoryId,
    movement: Uuid,
    actor: Option<UserId>,
) -> Result<Product> {
    sqlx::query_as!(
        Product,
        r#"with made as (
               insert into products (id, sku, name, description, category_id, price, currency,
                                     attributes, stock)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *
           ), moved as (
               insert into stock_movements (id, product_id, delta, kind, reason, actor_id)
               select $10, id, stock, $11, 'initial stock', $12 from made where stock > 0
           )
           select made.id as "id!: ProductId", sku as "sku!", name as "name!",
                  description as "description!", $13 as "category!", price as "price!",
                  currency as "currency!", attributes as "attributes!", stock as "stock!",
                  version as "version!", stock_version as "stock_version!",
                  archived_at is not null as "archived!", created_at as "created_at!",
                  updated_at as "updated_at!"
           from made"#,
        id.0,
        new.sku.as_str(),
        new.name.as_str(),
        new.description.as_str(),
        category.0,
        new.price.amount,
        new.price.currency.as_str(),
        new.attributes.to_value(),
        new.stock.get(),
        movement,
        MovementKind::Initial.as_str(),
        actor.map(|actor| actor.0),
        new.category.as_str(),
    )
    .fetch_one(conn)
    .await
    .on_constraint("products_sku_key", || Error::of(Code::SkuTaken))
}

/// Archived or not.
pub async fn find(conn: &mut PgConnection, id: ProductId) -> Result<Option<Product>> {
    Ok(sqlx::query_as!(
        Product,
        r#"select p.id as "id: ProductId", sku, name, description, c.path as category, price,
                  currency, attributes, stock, version, stock_version,
                  archived_at is not null as "archived!", p.created_at, updated_at
           from products p join categories c on c.id = p.category_id where p.id = $1"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?)
}

/// As [`find`], and nobody else changes the row until the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: ProductId) -> Result<Option<Product>> {
    // No join: who waited here while the product moved to another category would not find it.
    let locked = sqlx::query_as!(
        Product,
        r#"select id as "id: ProductId", sku, name, description, price, currency, attributes,
                  coalesce((select path from categories where id = category_id), '') as "category!",
                  stock, version, stock_version, archived_at is not null as "archived!",
                  created_at, updated_at
           from products where id = $1 for no key update"#,
        id.0,
    );
    let locked = locked.fetch_optional(&mut *conn).await?;
    with_path(conn, locked).await
}

/// A statement that waited for somebody does not see the category that they made: the next one does.
async fn with_path(conn: &mut PgConnection, product: Option<Product>) -> Result<Option<Product>> {
    match product {
        Some(product) if product.category.is_empty() => find(conn, product.id).await,
        product => Ok(product),
    }
}

/// Writes all but stock; `category` is the id of the product's path. Fails with `SKU_TAKEN` when
/// another product has the SKU.
pub async fn update(
    conn: &mut PgConnection,
    product: &Product,
    category: Option<CategoryId>,
) -> Result<Product> {
    sqlx::query_as!(
        Product,
        r#"update products
           set sku = $2, name = $3, description = $4, category_id = coalesce($5, category_id),
               price = $6, currency = $7, attributes = $8, version = version + 1, updated_at = now()
           where id = $1
           returning id as "id: ProductId", sku, name, description, $9 as "category!", price,
                     currency, attributes, stock, version, stock_version,
                     archived_at is not null as "archived!", created_at, updated_at"#,
        product.id.0,
        product.sku,
        product.name,
        product.description,
        category.map(|id| id.0),
        product.price,
        product.currency,
        product.attributes,
        product.category,
    )
    .fetch_one(conn)
    .await
    .on_constraint("products_sku_key", || Error::of(Code::SkuTaken))
}

/// Returns the raised version and the version of its stock.
pub async fn archive(conn: &mut PgConnection, id: ProductId) -> Result<(i64, i64)> {
    let row = sqlx::query!(
        "update products set archived_at = now(), version = version + 1, updated_at = now()
         where id = $1 returning version, stock_version",
        id.0,
    );
    let row = row.fetch_one(conn).await?;
    Ok((row.version, row.stock_version))
}

/// Moves stock and writes the movement down; `None` when there is no such product that is sold.
/// Fails with `OUT_OF_STOCK` when less than nothing would be left.
pub async fn adjust(
    conn: &mut PgConnection,
    id: ProductId,
    adjustment: &Adjustment,
    movement: Uuid,
    actor: Option<UserId>,
) -> Result<Option<Product>> {
    let adjusted = sqlx::query_as!(
        Product,
        r#"with now_has as (
               update products
               set stock = stock + $2, stock_version = stock_version + 1, updated_at = now()
               where id = $1 and archived_at is null returning *
           ), moved as (
               insert into stock_movements (id, product_id, delta, kind, reason, actor_id)
               select $3, id, $2, $4, $5, $6 from now_has
           )
           select p.id as "id!: ProductId", sku as "sku!", name as "name!",
                  description as "description!", coalesce(c.path, '') as "category!",
                  price as "price!", currency as "currency!", attributes as "attributes!",
                  stock as "stock!", version as "version!", stock_version as "stock_version!",
                  false as "archived!", p.created_at as "created_at!", updated_at as "updated_at!"
           from now_has p left join categories c on c.id = p.category_id"#,
        id.0,
        adjustment.delta,
        movement,
        MovementKind::Adjustment.as_str(),
        adjustment.reason.as_str(),
        actor.map(|actor| actor.0),
    )
    .fetch_optional(&mut *conn)
    .await
    .map_err(|error| match error.as_database_error().and_then(|error| error.constraint()) {
        Some("products_stock_never_below_zero") => Error::of(Code::OutOfStock),
        Some("products_stock_bounded") => {
            Error::invalid_field("delta", "range", "would make more than a product can have")
        }
        _ => error.into(),
    })?;
    with_path(conn, adjusted).await
}
