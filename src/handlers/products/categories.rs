//! The tree of categories.

use axum::{Json, extract::State};
use http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{FOR_EVERYBODY, schema::CategoryPathSchema};
use crate::{
    domain::{categories::CategoryNode, ids::CategoryId},
    error::Result,
    handlers::time::Timestamp,
    services::Services,
};

/// A category with those below it.
#[derive(Serialize, ToSchema)]
#[schema(as = Category)]
pub struct CategoryBody {
    pub id: CategoryId,
    /// The last part of the path.
    #[schema(example = "knives")]
    pub slug: String,
    #[schema(value_type = CategoryPathSchema)]
    pub path: String,
    /// Products in this category, those below it not counted.
    #[schema(minimum = 0)]
    pub products: i64,
    /// Products in this category and all below it.
    #[schema(minimum = 1)]
    pub products_in_all: i64,
    #[schema(no_recursion)]
    pub children: Vec<CategoryBody>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<CategoryNode> for CategoryBody {
    fn from(node: CategoryNode) -> Self {
        let CategoryNode { category, products_in_all, children } = node;
        Self {
            id: category.id,
            slug: category.path.rsplit('/').next().unwrap_or_default().to_owned(),
            path: category.path,
            products: category.products,
            products_in_all,
            children: children.into_iter().map(Self::from).collect(),
            created_at: Timestamp(category.created_at),
            // Nothing of a category changes.
            updated_at: Timestamp(category.created_at),
        }
    }
}

/// The roots of the tree.
#[derive(Serialize, ToSchema)]
pub struct CategoryTree {
    pub data: Vec<CategoryBody>,
}

type Headers = [(HeaderName, HeaderValue); 1];

/// The tree of categories with how many products there are.
///
/// A category without a product, in it or below it, is not shown. Archived products do not count.
#[utoipa::path(get, path = "/api/v1/categories", tag = "products",
    operation_id = "list_categories",
    responses((status = 200, description = "The roots, each with what is below it",
        body = CategoryTree, headers(("Cache-Control")))))]
pub async fn tree(State(services): State<Services>) -> Result<(Headers, Json<CategoryTree>)> {
    let roots = services.products.categories().await?;
    let data = roots.into_iter().map(CategoryBody::from).collect();
    Ok(([(header::CACHE_CONTROL, FOR_EVERYBODY)], Json(CategoryTree { data })))
}
