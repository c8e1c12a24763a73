//! Which products to list, in which order, and where a page of them ends.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Product;
use crate::domain::categories::CategoryPath;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Sort {
    #[serde(rename = "newest")]
    Newest,
    #[serde(rename = "price")]
    Price,
    #[serde(rename = "-price")]
    PriceDescending,
    #[serde(rename = "name")]
    Name,
    /// Only with words to search for.
    #[serde(rename = "relevance")]
    Relevance,
}

/// Everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ProductFilter {
    /// Of this category, or of one below it.
    pub category: Option<CategoryPath>,
    /// Words to search for: not empty.
    pub q: Option<String>,
    pub min_price: Option<i64>,
    pub max_price: Option<i64>,
    pub in_stock: Option<bool>,
}

/// What a list is sorted by, of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortKey {
    Newest(DateTime<Utc>),
    Price(i64),
    Name(String),
    Relevance(i64),
}

/// Where a page ended; ties are broken by id, in the same direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductAfter {
    pub key: SortKey,
    pub id: Uuid,
}

/// A product in a list.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Listed {
    #[sqlx(flatten)]
    pub product: Product,
    /// How well it fits what was searched for; 0 where nothing was.
    pub rank: i64,
}

impl Listed {
    pub fn position(&self, sort: Sort) -> ProductAfter {
        let product = &self.product;
        let key = match sort {
            Sort::Newest => SortKey::Newest(product.created_at),
            Sort::Price | Sort::PriceDescending => SortKey::Price(product.price),
            Sort::Name => SortKey::Name(product.name.clone()),
            Sort::Relevance => SortKey::Relevance(self.rank),
        };
        ProductAfter { key, id: product.id.0 }
    }
}
