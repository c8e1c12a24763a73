//! The catalogue's products.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::Validate;

use super::{
    cached,
    etag::{Conditions, Tag},
    extract::{From, MaybeActor, Path, Staff},
    idempotency::{self, Once},
    json::Valid,
    time::Timestamp,
};
use crate::{
    domain::{
        faults::Faults,
        idempotency::Stored,
        ids::ProductId,
        products::{
            Adjustment, Attributes, Description, Draft, NewProduct, Price, Product, ProductName,
            ProductPatch, Sku,
        },
        users::Role,
    },
    error::{Error, Result},
    services::{Services, idempotency::Answer},
    shared::cache::Rendered,
};

mod categories;
mod list;
pub(super) mod schema;

use schema::{
    AttributesSchema, CategoryPathSchema, CurrencySchema, ProductNameSchema, ReasonSchema,
};

pub use categories::{__path_tree, tree};
pub use list::{__path_list, list};

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

impl std::convert::From<Product> for ProductBody {
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

fn tag(product: &Product) -> Tag {
    Tag::Stocked { version: product.version, stock: product.stock_version }
}

fn respond(product: Product, conditions: &Conditions) -> Response {
    conditions.respond(tag(&product), ProductBody::from(product))
}

/// As the cache keeps it: the same bytes for everybody.
fn rendered(product: Product) -> Result<Rendered> {
    let label = tag(&product).opaque();
    let body = serde_json::to_vec(&ProductBody::from(product)).map_err(Error::internal)?;
    Ok(Rendered { label, body: body.into() })
}

/// The answer to a POST, with its tag.
fn stored(status: StatusCode, product: Product) -> Result<Stored> {
    let tag = tag(&product).quoted();
    Ok(idempotency::json(status, &ProductBody::from(product))?.with(header::ETAG.as_str(), tag))
}

/// One product.
///
/// Archived ones are there for staff alone.
#[utoipa::path(get, path = "/api/v1/products/{id}", tag = "products", operation_id = "get_product",
    params(("id" = ProductId, Path, description = "The product's id"),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "The product", body = ProductBody,
        headers(("Cache-Control"), ("X-Cache")), links(
        ("update_product" = (operation_id = "update_product",
            parameters(("id" = "$response.body#/id"), ("If-Match" = "$response.header.ETag")),
            description = "Changes exactly what was read.")),
        ("archive_product" = (operation_id = "archive_product",
            parameters(("id" = "$response.body#/id"), ("If-Match" = "$response.header.ETag")),
            description = "Archives exactly what was read.")),
        ("adjust_stock" = (operation_id = "adjust_stock",
            parameters(("id" = "$response.body#/id")),
            description = "Books more, or fewer.")),
    ))))]
pub async fn get(
    State(services): State<Services>,
    MaybeActor(actor): MaybeActor,
    Path(id): Path<ProductId>,
    conditions: Conditions,
) -> Result<Response> {
    let is_staff = actor.is_some_and(|actor| actor.role >= Role::Staff);
    let served = services.products.get(id, rendered).await?;
    match served.value {
        Some(product) => {
            Ok(cached::for_everybody(conditions.respond_rendered(&product), served.found))
        }
        None if is_staff => {
            let product = services.products.get_any(id).await?;
            Ok(cached::for_nobody(respond(product, &conditions)))
        }
        // That it is not there may be over at any moment too.
        None => Ok(cached::for_everybody(Error::not_found().into_response(), served.found)),
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
    fn check(self) -> Result<NewProduct> {
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

/// Adds a product.
///
/// Its category is made with all that lead to it when nobody has named it before.
#[utoipa::path(post, path = "/api/v1/products", tag = "products", operation_id = "create_product",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body(content = NewProductBody, example = json!({
        "sku": "KN-2041", "name": "Chef's knife, 20 cm", "category": "home/kitchen/knives",
        "price": {"amount": 1999, "currency": "EUR"}, "stock": 12,
        "attributes": {"steel": "VG-10"}})),
    responses(
        (status = 201, description = "The product", body = ProductBody, headers(("ETag")), links(
            ("get_product" = (operation_id = "get_product",
                parameters(("id" = "$response.body#/id")),
                description = "What was made.")),
        )),
        (status = 409, description = "`SKU_TAKEN`: another product has the SKU"),
    ))]
pub async fn create(
    State(services): State<Services>,
    Staff(actor): Staff,
    From(origin): From,
    Once(Valid(body), request): Once<Valid<NewProductBody>>,
) -> Result<Answer> {
    let new = body.check()?;
    let outcome = request.outcome(&actor, |product: Product| {
        let location = format!("/api/v1/products/{}", product.id);
        Ok(stored(StatusCode::CREATED, product)?.with(header::LOCATION.as_str(), location))
    });
    services.products.create(&actor, &new, &outcome, &origin).await
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
    fn check(self) -> Result<ProductPatch> {
        use crate::domain::categories::CategoryPath;
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

/// Changes a product, of which the writer says what it has read.
///
/// What is left out, or null, stays. Stock is not changed here but by bookings.
#[utoipa::path(patch, path = "/api/v1/products/{id}", tag = "products",
    operation_id = "update_product",
    params(("id" = ProductId, Path, description = "The product's id"),
        ("If-Match" = String, Header)),
    request_body(content = ProductPatchBody,
        example = json!({"price": {"amount": 1799, "currency": "EUR"}})),
    responses(
        (status = 200, description = "The product as it is now", body = ProductBody),
        (status = 409, description = "`SKU_TAKEN`: another product has the SKU; `CONFLICT`: it is archived"),
        (status = 428, description = "`PRECONDITION_REQUIRED`: `If-Match` is missing"),
    ))]
pub async fn update(
    State(services): State<Services>,
    Staff(actor): Staff,
    From(origin): From,
    Path(id): Path<ProductId>,
    conditions: Conditions,
    Valid(body): Valid<ProductPatchBody>,
) -> Result<Response> {
    let versions = conditions.required_stocked_versions()?;
    let patch = body.check()?;
    let product =
        services.products.update(&actor, id, &patch, versions.as_deref(), &origin).await?;
    Ok(respond(product, &conditions.for_write()))
}

/// Archives a product: it is sold no more.
///
/// It stays for what refers to it, and keeps its SKU. Archiving twice is archiving once.
#[utoipa::path(delete, path = "/api/v1/products/{id}", tag = "products",
    operation_id = "archive_product",
    params(("id" = ProductId, Path, description = "The product's id"),
        ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "Archived")))]
pub async fn archive(
    State(services): State<Services>,
    Staff(actor): Staff,
    From(origin): From,
    Path(id): Path<ProductId>,
    conditions: Conditions,
) -> Result<StatusCode> {
    let versions = conditions.stocked_versions();
    services.products.archive(&actor, id, versions.as_deref(), &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StockAdjustment {
    /// So many more; with a minus, so many fewer. Not 0.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = -2)]
    delta: i64,
    #[schema(value_type = ReasonSchema)]
    reason: String,
}

/// Books stock: so many more, or fewer, and why.
///
/// Of bookings at the same time, each holds; one that would leave less than nothing is refused.
#[utoipa::path(post, path = "/api/v1/products/{id}/stock-adjustments", tag = "products",
    operation_id = "adjust_stock",
    params(("id" = ProductId, Path, description = "The product's id"),
        ("Idempotency-Key" = Option<String>, Header)),
    request_body(content = StockAdjustment, example = json!({"delta": -2, "reason": "broken"})),
    responses(
        (status = 200, description = "The product as it is now", body = ProductBody,
            headers(("ETag"))),
        (status = 409, description = "`OUT_OF_STOCK`: there are not that many; `CONFLICT`: it is archived"),
    ))]
pub async fn adjust_stock(
    State(services): State<Services>,
    Staff(actor): Staff,
    From(origin): From,
    Path(id): Path<ProductId>,
    Once(Valid(body), request): Once<Valid<StockAdjustment>>,
) -> Result<Answer> {
    let adjustment = Adjustment::check(body.delta, &body.reason)?;
    let outcome = request.outcome(&actor, |product: Product| stored(StatusCode::OK, product));
    services.products.adjust_stock(&actor, id, &adjustment, &outcome, &origin).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::products::cached::PRODUCTS;
    use chrono::DateTime;
    use uuid::Uuid;

    #[test]
    fn what_is_kept_is_of_the_version_that_its_family_says() {
        let product = Product {
            id: ProductId(Uuid::from_u128(1)),
            sku: "KN-1".to_owned(),
            name: "Knife".to_owned(),
            description: String::new(),
            category: "home".to_owned(),
            price: 1999,
            currency: "EUR".to_owned(),
            attributes: Value::Object(Map::new()),
            stock: 3,
            version: 2,
            stock_version: 5,
            archived: false,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        };
        let kept = rendered(product).unwrap();
        let first = r#"{"id":"00000000-0000-0000-0000-000000000001","sku":"KN-1","name":"Knife","description":"","category":"home","price":{"amount":1999,"currency":"EUR"},"stock":3,"attributes":{},"archived":false,"created_at":"1970-01-01T00:00:00.000Z","updated_at":"1970-01-01T00:00:00.000Z"}"#;
        // Another rendering wants another version, of the lists as well, and a new text here.
        assert_eq!((PRODUCTS.schema, std::str::from_utf8(&kept.body)), (1, Ok(first)));
        assert_eq!(kept.label, "2.5");
    }
}
