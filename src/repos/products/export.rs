//! All products that match, through a cursor: one picture of the catalogue, however long it takes,
//! and never more rows in memory than are fetched at once.

use sqlx::{PgConnection, QueryBuilder};

use super::{list::push_prices, search::push_words};

use crate::{
    domain::products::{Product, ProductFilter},
    error::Result,
};

/// In the order in which they were made. Part of the caller's transaction.
pub async fn open(conn: &mut PgConnection, filter: &ProductFilter) -> Result<()> {
    // All of it will be read, not only the beginning, and as slowly as the client takes it.
    let settings = "select set_config('cursor_tuple_fraction', '1', true),
                           set_config('idle_in_transaction_session_timeout', '0', true)";
    sqlx::query(settings).execute(&mut *conn).await?;
    let mut query = QueryBuilder::new(
        "declare export no scroll cursor for
         select p.id, p.sku, p.name, p.description, c.path as category, p.price, p.currency,
                p.attributes, p.stock, p.version, p.stock_version, false as archived,
                p.created_at, p.updated_at
         from products p join categories c on c.id = p.category_id
         where p.archived_at is null",
    );
    if let Some(path) = &filter.category {
        query.push(" and (c.path = ").push_bind(path.as_str().to_owned());
        query.push(" or (c.path > ").push_bind(format!("{}/", path.as_str()));
        query.push(" and c.path < ").push_bind(format!("{}0", path.as_str())).push("))");
    }
    if let Some(q) = &filter.q {
        query.push(" and p.search @@ ");
        push_words(&mut query, q, "");
    }
    if let Some(in_stock) = filter.in_stock {
        query.push(" and p.in_stock = ").push_bind(in_stock);
    }
    push_prices(&mut query, filter);
    query.push(" order by p.id");
    query.build().persistent(false).execute(conn).await?;
    Ok(())
}

pub async fn fetch(conn: &mut PgConnection, rows: i64) -> Result<Vec<Product>> {
    // FETCH takes no parameters.
    let mut query = QueryBuilder::new(format!("fetch forward {rows} from export"));
    Ok(query.build_query_as().persistent(false).fetch_all(conn).await?)
}
