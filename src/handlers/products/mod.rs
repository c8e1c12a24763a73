//! The catalogue's products.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};

use super::{
    cached,
    etag::{Conditions, Tag},
    extract::{From, MaybeActor, Path, Staff},
    idempotency::{self, Once},
    json::Valid,
};
use crate::{
    domain::{
        idempotency::Stored,
        ids::ProductId,
        products::{Adjustment, Product},
        users::Role,
    },
    error::{Error, Result},
    services::{Services, idempotency::Answer},
    shared::cache::Rendered,
};

mod body;
mod categories;
mod list;
pub(super) mod schema;

use body::{NewProductBody, ProductPatchBody, StockAdjustment};

pub use body::ProductBody;
pub use categories::{__path_tree, tree};
pub use list::{__path_list, list};

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
    use serde_json::{Map, Value};
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
