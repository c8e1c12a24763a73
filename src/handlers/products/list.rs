//! Lists of products.

use axum::{extract::State, response::Response};
use http::header;
use serde::Deserialize;
use utoipa::IntoParams;
use validator::Validate;

use super::{FOR_EVERYBODY, ProductBody, X_CACHE, schema::CategoryPathSchema};
use crate::{
    domain::{
        categories::CategoryPath,
        products::{Listed, MAX_AMOUNT, ProductFilter, Sort},
    },
    error::{Error, Result},
    handlers::{
        extract::Target,
        page::{Count, List, Scope},
        query::Query,
    },
    services::Services,
};

#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProductsQuery {
    /// Only products of this category, or of one below it.
    #[param(value_type = Option<CategoryPathSchema>)]
    category: Option<String>,
    /// Words that all have to occur in name, SKU, attributes or description, in any order; the last
    /// may be the beginning of one. A word that no product has stands for those that are like it.
    #[validate(length(max = 200, message = "must have at most 200 characters"))]
    #[param(max_length = 200, pattern = r"^[^\u0000]*$", example = "chef knife")]
    q: Option<String>,
    /// In minor units.
    #[validate(range(min = 0, max = MAX_AMOUNT, message = "must be from 0 to 1000000000000"))]
    #[param(minimum = 0, maximum = 1_000_000_000_000_i64)]
    min_price: Option<i64>,
    /// In minor units.
    #[validate(range(min = 0, max = MAX_AMOUNT, message = "must be from 0 to 1000000000000"))]
    #[param(minimum = 0, maximum = 1_000_000_000_000_i64)]
    max_price: Option<i64>,
    /// Only products of which there are some, or none.
    in_stock: Option<bool>,
    /// `relevance` goes with `q`, and is the order then unless another is named; else it is `newest`.
    #[param(inline)]
    sort: Option<Sort>,
    /// How many rows a page has at most.
    #[validate(range(min = 1, max = 100, message = "must be from 1 to 100"))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the page before; everything else in the query stays as it was.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// `exact` adds `total`; of a search, at most 1000.
    #[param(inline)]
    count: Option<Count>,
}

impl ProductsQuery {
    fn filter(&self) -> Result<(ProductFilter, Sort)> {
        let category = self.category.as_deref().map(CategoryPath::parse).transpose()?;
        let q = self.q.as_deref().map(str::trim).filter(|q| !q.is_empty()).map(str::to_owned);
        let sort = match (self.sort, &q) {
            (Some(Sort::Relevance), None) => {
                let message = "relevance needs words in q";
                return Err(Error::invalid_field("sort", "needs_q", message));
            }
            (Some(sort), _) => sort,
            (None, Some(_)) => Sort::Relevance,
            (None, None) => Sort::Newest,
        };
        let Self { min_price, max_price, in_stock, .. } = *self;
        Ok((ProductFilter { category, q, min_price, max_price, in_stock }, sort))
    }
}

/// Named, so that the API description has a name for it.
type ProductList = List<ProductBody>;

/// The catalogue, a page at a time.
///
/// Of a search, at most the best thousand are listed.
#[utoipa::path(get, path = "/api/v1/products", tag = "products", operation_id = "list_products",
    params(ProductsQuery),
    responses((status = 200, description = "A page of products", body = ProductList,
        headers(("Cache-Control"), ("X-Cache")), links(
        ("get_product" = (operation_id = "get_product",
            parameters(("id" = "$response.body#/data/0/id")),
            description = "The first product of the page.")),
    ))))]
pub async fn list(
    State(services): State<Services>,
    Target(uri): Target,
    Query(query): Query<ProductsQuery>,
) -> Result<Response> {
    let (filter, sort) = query.filter()?;
    let name = format!("products/{sort:?}/{filter:?}");
    let scope = Scope { key: &services.cursors, name };
    let page = scope.request(query.limit, query.cursor.as_deref(), query.count)?;
    let page = services.products.list(&filter, sort, page).await?;
    let mut response = scope.respond(&uri, page, |row: Listed| ProductBody::from(row.product))?;
    response.headers_mut().insert(header::CACHE_CONTROL, FOR_EVERYBODY);
    response.headers_mut().insert(X_CACHE, super::BYPASS);
    Ok(response)
}
