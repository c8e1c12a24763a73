//! Products on the wire.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::Validate;

use super::{
    super::time::Timestamp,
    schema::{
        AttributesSchema, CategoryPathSchema, CurrencySchema, ProductNameSchema, ReasonSchema,
    },
};
use crate::{
    domain::{
        categories::CategoryPath,
        faults::Faults,
        ids::ProductId,
        products::{
            Attributes, Description, Draft, NewProduct, Price, Product, ProductName, ProductPatch,
            Sku,
        },
    },
    error::Result,
};

/// Money: minor units of a currency, such as cents.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Money)]
pub struct MoneyBody {
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 1999)]
    pub amount: i64,
    #[schema(value_type = CurrencySchema)]
    pub currency: String,
}

/// What is sold.
#[derive(Serialize, ToSchema)]
#[schema(as = Product)]
pub struct ProductBody {
    pub id: ProductId,
    #[schema(example = "KN-2041")]
    pub sku: String,
    #[schema(example = "Chef's knife, 20 cm")]
    pub name: String,
    pub description: String,
    /// The way from the root of the tree.
    #[schema(example = "home/kitchen/knives")]
    pub category: String,
    pub price: MoneyBody,
    /// How many can be sold.
    #[schema(minimum = 0, example = 12)]
    pub stock: i64,
    #[schema(value_type = AttributesSchema)]
    pub attributes: Value,
    /// Not sold any more; only staff sees such.
    pub archived: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<Product> for ProductBody {
    fn from(product: Product) -> Self {
        Self {
            id: product.id,
            sku: product.sku,
            name: product.name,
            description: product.description,
            category: product.category,
            price: MoneyBody { amount: product.price, currency: product.currency },
            stock: product.stock,
            attributes: product.attributes,
            archived: product.archived,
            created_at: Timestamp(product.created_at),
            updated_at: Timestamp(product.updated_at),
        }
    }
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProductBody {
    /// The merchant's own code, of which there is one.
    #[schema(min_length = 1, max_length = 64, pattern = r"^[\x21-\x7E]+$", example = "KN-2041")]
    sku: String,
    #[schema(value_type = ProductNameSchema)]
    name: String,
    #[serde(default)]
    #[schema(
        max_length = 10_000,
        pattern = r"^[^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]*$"
    )]
    description: String,
    #[schema(value_type = CategoryPathSchema)]
    category: String,
    price: MoneyBody,
    /// How many there are at first.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    stock: i64,
    #[serde(default)]
    #[schema(value_type = Option<AttributesSchema>, nullable = false)]
    attributes: Map<String, Value>,
}

impl NewProductBody {
    pub fn check(self) -> Result<NewProduct> {
        NewProduct::check(Draft {
            sku: self.sku,
            name: self.name,
            description: self.description,
            category: self.category,
            amount: self.price.amount,
            currency: self.price.currency,
            attributes: self.attributes,
            stock: self.stock,
        })
    }
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProductPatch)]
pub struct ProductPatchBody {
    #[schema(min_length = 1, max_length = 64, pattern = r"^[\x21-\x7E]+$")]
    sku: Option<String>,
    #[schema(value_type = Option<ProductNameSchema>)]
    name: Option<String>,
    #[schema(
        max_length = 10_000,
        pattern = r"^[^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]*$"
    )]
    description: Option<String>,
    #[schema(value_type = Option<CategoryPathSchema>)]
    category: Option<String>,
    price: Option<MoneyBody>,
    /// All of them: what is not named is removed.
    #[schema(value_type = Option<AttributesSchema>)]
    attributes: Option<Map<String, Value>>,
}

impl ProductPatchBody {
    pub fn check(self) -> Result<ProductPatch> {
        let mut faults = Faults::default();
        let patch = ProductPatch {
            sku: faults.take_some(self.sku.map(|sku| Sku::parse(&sku))),
            name: faults.take_some(self.name.map(|name| ProductName::parse(&name))),
            description: faults.take_some(self.description.map(|text| Description::parse(&text))),
            category: faults.take_some(self.category.map(|path| CategoryPath::parse(&path))),
            price: faults.take_some(self.price.map(|it| Price::parse(it.amount, &it.currency))),
            attributes: faults.take_some(self.attributes.map(Attributes::parse)),
        };
        faults.end().map(|()| patch)
    }
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StockAdjustment {
    /// So many more; with a minus, so many fewer. Not 0.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = -2)]
    pub delta: i64,
    #[schema(value_type = ReasonSchema)]
    pub reason: String,
}
