use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, row};
use crate::handlers::exports;

pub fn rows() -> Vec<Route> {
    vec![
        row("GET /api/v1/products/export", Staff, Default, routes!(exports::products))
            .producing(&["text/csv", "application/x-ndjson"]),
    ]
}
