//! Lists of products.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;
use validator::Validate;

use super::{ProductBody, schema::CategoryPathSchema};
use crate::{
    domain::{
        categories::CategoryPath,
        products::{Listed, MAX_AMOUNT, ProductFilter, Sort},
    },
    error::{Error, Result},
    handlers::{
        cached,
        extract::{MaybeActor, Target},
        page::{self, List, Scope},
        query::{PageQuery, Paged},
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
/// Of a search, at most the best thousand are listed, and counted.
#[utoipa::path(get, path = "/api/v1/products", tag = "products", operation_id = "list_products",
    params(ProductsQuery, PageQuery),
    responses((status = 200, description = "A page of products", body = ProductList,
        headers(("Cache-Control"), ("X-Cache")), links(
        ("get_product" = (operation_id = "get_product",
            parameters(("id" = "$response.body#/data/0/id")),
            description = "The first product of the page.")),
    ))))]
pub async fn list(
    State(services): State<Services>,
    MaybeActor(_actor): MaybeActor,
    Target(uri): Target,
    Paged(query, page): Paged<ProductsQuery>,
) -> Result<Response> {
    let (filter, sort) = query.filter()?;
    let name = format!("products/{sort:?}/{filter:?}");
    let scope = Scope { key: &services.cursors, name };
    let page = scope.request(&page)?;
    let render = {
        let (services, name) = (services.clone(), scope.name.clone());
        move |page| {
            let scope = Scope { key: &services.cursors, name };
            scope.render(page, |row: Listed| ProductBody::from(row.product))
        }
    };
    let served = services.products.list(filter, sort, page, render).await?;
    let list = served.value.ok_or_else(Error::not_found)?;
    Ok(cached::for_everybody(page::respond_rendered(&uri, &list)?, served.found))
}
