//! Pages of products. A page is merged from the heads of a few branches of an index, each of which
//! is already in order: of the two halves (in stock or not), or of every category of a subtree.
//! The inner query asks for nothing that does not stand in the index.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::search;
use crate::{
    domain::{
        page::{DEFAULT_LIMIT, MAX_LIMIT, PageRequest},
        products::{Listed, ProductAfter, ProductFilter, Sort, SortKey},
    },
    error::Result,
};

/// What the order of a list is called in SQL.
pub(super) struct Order {
    /// Of `products`, or of what was found.
    pub key: &'static str,
    /// After the key and after the id.
    pub direction: &'static str,
    /// What follows a row.
    pub beyond: &'static str,
}

impl Order {
    pub fn of(sort: Sort) -> Self {
        let (key, falls) = match sort {
            Sort::Newest => ("created_at", true),
            Sort::Price => ("price", false),
            Sort::PriceDescending => ("price", true),
            Sort::Name => ("name", false),
            Sort::Relevance => ("rank", true),
        };
        let (direction, beyond) = if falls { (" desc", " < ") } else { ("", " > ") };
        Self { key, direction, beyond }
    }
}

/// One row more than the page holds tells whether another page follows.
pub async fn list(
    conn: &mut PgConnection,
    filter: &ProductFilter,
    sort: Sort,
    page: &PageRequest<ProductAfter>,
) -> Result<Vec<Listed>> {
    let mut query = page_query("", filter, sort, page);
    // Which index is best for a range of prices depends on how wide it is: it is planned anew.
    let is_range = filter.min_price.is_some() || filter.max_price.is_some();
    Ok(query.build_query_as().persistent(!is_range).fetch_all(conn).await?)
}

/// Behind `prefix`, which may be `explain`.
pub fn page_query(
    prefix: &'static str,
    filter: &ProductFilter,
    sort: Sort,
    page: &PageRequest<ProductAfter>,
) -> QueryBuilder<Postgres> {
    let order = Order::of(sort);
    let mut query = match &filter.q {
        Some(q) => search::found(prefix, filter, q, &order, page),
        None => branches(prefix, filter, &order, page),
    };
    query.push(
        ") select p.id, p.sku, p.name, p.description, c.path as category, p.price, p.currency,
                  p.attributes, p.stock, p.version, p.stock_version, false as archived,
                  p.created_at, p.updated_at, page.rank
           from page join products p on p.id = page.id join categories c on c.id = p.category_id",
    );
    push_order(&mut query, &order, "page.key", "page.id");
    query
}

fn branches(
    prefix: &'static str,
    filter: &ProductFilter,
    order: &Order,
    page: &PageRequest<ProductAfter>,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(prefix);
    query.push("with page as (select top.id, top.key, 0::bigint as rank from ");
    push_branches(&mut query, filter);
    query.push(" cross join lateral (select p.id, p.").push(order.key);
    query.push(" as key from products p where p.archived_at is null");
    push_filter(&mut query, filter);
    push_after(&mut query, order, page);
    push_order(&mut query, order, &format!("p.{}", order.key), "p.id");
    // A constant, so that every plan knows that it is few; two, so that there are few plans.
    query.push(format!(
        " limit {}",
        if page.limit <= DEFAULT_LIMIT { DEFAULT_LIMIT } else { MAX_LIMIT } + 1
    ));
    query.push(") top");
    push_order(&mut query, order, "top.key", "top.id");
    query.push(" limit ").push_bind(page.limit + 1);
    query
}

/// All matching rows.
pub async fn count(conn: &mut PgConnection, filter: &ProductFilter) -> Result<i64> {
    let mut query = match &filter.q {
        Some(q) => search::counted(filter, q),
        None => {
            let mut query = QueryBuilder::new("select count(*) from ");
            push_branches(&mut query, filter);
            query.push(" join products p on p.archived_at is null");
            push_filter(&mut query, filter);
            query
        }
    };
    Ok(query.build_query_scalar().persistent(false).fetch_one(conn).await?)
}

fn push_branches(query: &mut QueryBuilder<Postgres>, filter: &ProductFilter) {
    match &filter.category {
        Some(path) => {
            // '0' is what follows '/': between them is all that is below.
            query
                .push("(select id from categories where path = ")
                .push_bind(path.as_str().to_owned());
            query.push(" or (path > ").push_bind(format!("{}/", path.as_str()));
            query.push(" and path < ").push_bind(format!("{}0", path.as_str())).push(")) branch");
        }
        None => {
            let halves = filter.in_stock.map_or(vec![true, false], |half| vec![half]);
            query.push("unnest(").push_bind(halves).push("::bool[]) branch(in_stock)");
        }
    }
}

fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &ProductFilter) {
    match filter.category {
        Some(_) => {
            query.push(" and p.category_id = branch.id");
            if let Some(in_stock) = filter.in_stock {
                query.push(" and p.in_stock = ").push_bind(in_stock);
            }
        }
        None => {
            query.push(" and p.in_stock = branch.in_stock");
        }
    }
    push_prices(query, filter);
}

pub(super) fn push_prices(query: &mut QueryBuilder<Postgres>, filter: &ProductFilter) {
    if let Some(least) = filter.min_price {
        query.push(" and p.price >= ").push_bind(least);
    }
    if let Some(most) = filter.max_price {
        query.push(" and p.price <= ").push_bind(most);
    }
}

pub(super) fn push_after(
    query: &mut QueryBuilder<Postgres>,
    order: &Order,
    page: &PageRequest<ProductAfter>,
) {
    let Some(after) = &page.after else { return };
    query.push(format!(" and (p.{}, p.id){}(", order.key, order.beyond));
    match &after.key {
        SortKey::Newest(at) => query.push_bind(*at),
        SortKey::Price(price) => query.push_bind(*price),
        SortKey::Name(name) => query.push_bind(name.clone()),
        SortKey::Relevance(rank) => query.push_bind(*rank),
    };
    query.push(", ").push_bind(after.id).push(")");
}

pub(super) fn push_order(query: &mut QueryBuilder<Postgres>, order: &Order, key: &str, id: &str) {
    let direction = order.direction;
    query.push(format!(" order by {key}{direction}, {id}{direction}"));
}
