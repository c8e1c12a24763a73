use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, row};
use crate::{handlers::imports, middleware::route_info::BodyKind};

pub fn rows() -> Vec<Route> {
    vec![
        row("POST /api/v1/imports", Staff, Default, routes!(imports::create))
            .taking(BodyKind::ImportFile),
        row("GET /api/v1/imports/{id}", Staff, Default, routes!(imports::get)),
        row("DELETE /api/v1/imports/{id}", Staff, Default, routes!(imports::cancel)),
        row("GET /api/v1/imports/{id}/rejects", Staff, Default, routes!(imports::rejects))
            .producing(&["text/csv"]),
    ]
}
