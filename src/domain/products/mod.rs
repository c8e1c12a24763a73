//! Products: what is sold, for how much, and how many there are.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{categories::CategoryPath, faults::Faults, ids::ProductId};
use crate::error::{Error, Result};

mod attributes;
mod lists;
mod price;
pub mod sample;
mod words;

pub use attributes::{Attributes, MAX_ATTRIBUTES, MAX_ATTRIBUTES_BYTES, MAX_NAME_OF_ATTRIBUTE};
pub use lists::{Listed, ProductAfter, ProductFilter, Sort, SortKey};
pub use price::{CURRENCIES, Currency, MAX_AMOUNT, Price};
pub use words::{Description, ProductName, Reason, Sku};

/// More of one product than anybody has; far below where the database's numbers end.
pub const MAX_STOCK: i64 = 1_000_000_000_000;
/// What one booking may move.
pub const MAX_MOVEMENT: i64 = 1_000_000_000;

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Product {
    pub id: ProductId,
    pub sku: String,
    pub name: String,
    pub description: String,
    /// The path.
    pub category: String,
    pub price: i64,
    pub currency: String,
    pub attributes: Value,
    pub stock: i64,
    /// Raised by every change but those of stock; what writers compare.
    pub version: i64,
    pub stock_version: i64,
    pub archived: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Product {
    /// Rises with every change of any kind: of two copies, the one with more is the newer.
    pub fn revision(&self) -> i64 {
        self.version + self.stock_version
    }
}

/// A product as somebody typed it.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    pub sku: String,
    pub name: String,
    pub description: String,
    pub category: String,
    pub amount: i64,
    pub currency: String,
    pub attributes: serde_json::Map<String, Value>,
    pub stock: i64,
}

/// A product that may be written.
#[derive(Debug, Clone)]
pub struct NewProduct {
    pub sku: Sku,
    pub name: ProductName,
    pub description: Description,
    pub category: CategoryPath,
    pub price: Price,
    pub attributes: Attributes,
    pub stock: Stock,
}

impl NewProduct {
    /// Tells the faults of all fields.
    pub fn check(draft: Draft) -> Result<Self> {
        let mut faults = Faults::default();
        let sku = faults.take(Sku::parse(&draft.sku));
        let name = faults.take(ProductName::parse(&draft.name));
        let description = faults.take(Description::parse(&draft.description));
        let category = faults.take(CategoryPath::parse(&draft.category));
        let price = faults.take(Price::parse(draft.amount, &draft.currency));
        let attributes = faults.take(Attributes::parse(draft.attributes));
        let stock = faults.take(Stock::parse(draft.stock));
        faults.end()?;
        let whole = || {
            Some(Self {
                sku: sku?,
                name: name?,
                description: description?,
                category: category?,
                price: price?,
                attributes: attributes?,
                stock: stock?,
            })
        };
        whole().ok_or_else(|| Error::internal("a field without a value or a fault"))
    }
}

/// How many there are at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock(i64);

impl Stock {
    pub fn parse(count: i64) -> Result<Self> {
        match (0..=MAX_MOVEMENT).contains(&count) {
            true => Ok(Self(count)),
            false => Err(Error::invalid_field("stock", "range", "must be from 0 to 1000000000")),
        }
    }

    pub fn get(self) -> i64 {
        self.0
    }
}

/// What is to be changed of a product; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct ProductPatch {
    pub sku: Option<Sku>,
    pub name: Option<ProductName>,
    pub description: Option<Description>,
    pub category: Option<CategoryPath>,
    pub price: Option<Price>,
    pub attributes: Option<Attributes>,
}

impl ProductPatch {
    pub fn apply(&self, product: &Product) -> Product {
        let mut after = product.clone();
        let set = |old: &mut String, new: Option<&str>| {
            if let Some(new) = new {
                new.clone_into(old);
            }
        };
        set(&mut after.sku, self.sku.as_ref().map(Sku::as_str));
        set(&mut after.name, self.name.as_ref().map(ProductName::as_str));
        set(&mut after.description, self.description.as_ref().map(Description::as_str));
        set(&mut after.category, self.category.as_ref().map(CategoryPath::as_str));
        set(&mut after.currency, self.price.map(|price| price.currency.as_str()));
        after.price = self.price.map_or(after.price, |price| price.amount);
        if let Some(attributes) = &self.attributes {
            after.attributes = attributes.to_value();
        }
        after
    }
}

/// The fields that differ, for those who are told of a change.
pub fn changed(before: &Product, after: &Product) -> Vec<&'static str> {
    let price = (before.price, &before.currency) != (after.price, &after.currency);
    let all = [
        ("sku", before.sku != after.sku),
        ("name", before.name != after.name),
        ("description", before.description != after.description),
        ("category", before.category != after.category),
        ("price", price),
        ("attributes", before.attributes != after.attributes),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}

/// A booking: so many more, or fewer, and why.
#[derive(Debug, Clone)]
pub struct Adjustment {
    pub delta: i64,
    pub reason: Reason,
}

impl Adjustment {
    pub fn check(delta: i64, reason: &str) -> Result<Self> {
        let mut faults = Faults::default();
        let reason = faults.take(Reason::parse(reason));
        let moves = match delta != 0 && (-MAX_MOVEMENT..=MAX_MOVEMENT).contains(&delta) {
            true => Ok(()),
            false => Err(Error::invalid_field(
                "delta",
                "range",
                "must be from -1000000000 to 1000000000, and not 0",
            )),
        };
        faults.take(moves);
        faults.end()?;
        let reason =
            reason.ok_or_else(|| Error::internal("a reason without a value or a fault"))?;
        Ok(Self { delta, reason })
    }
}

/// Why stock moved; the text is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovementKind {
    Initial,
    Adjustment,
    Import,
}

impl MovementKind {
    pub fn as_str(self) -> &'static str {
        match self {
            MovementKind::Initial => "initial",
            MovementKind::Adjustment => "adjustment",
            MovementKind::Import => "import",
        }
    }
}

#[cfg(test)]
mod tests;
