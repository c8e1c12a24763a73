use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, row};
use crate::handlers::products;

pub fn rows() -> Vec<Route> {
    vec![
        row("GET /api/v1/categories", Public, Default, routes!(products::tree)),
        row("GET /api/v1/products", Public, Default, routes!(products::list)),
        row("POST /api/v1/products", Staff, Default, routes!(products::create)),
        row("GET /api/v1/products/{id}", Public, Default, routes!(products::get)),
        row("PATCH /api/v1/products/{id}", Staff, Default, routes!(products::update)),
        row("DELETE /api/v1/products/{id}", Staff, Default, routes!(products::archive)),
        row(
            "POST /api/v1/products/{id}/stock-adjustments",
            Staff,
            Default,
            routes!(products::adjust_stock),
        ),
    ]
}
