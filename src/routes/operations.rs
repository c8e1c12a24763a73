use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, openapi, row};
use crate::handlers::{docs, operations};

pub fn rows() -> Vec<Route> {
    vec![
        row("GET /health/live", Operations, Unlimited, routes!(operations::live)),
        row("GET /health/ready", Operations, Unlimited, routes!(operations::ready)),
        row("GET /health/startup", Operations, Unlimited, routes!(operations::startup)),
        row("GET /metrics", Operations, Unlimited, routes!(operations::metrics)),
        row("GET /openapi.json", Open, Default, routes!(openapi::serve)),
        row("GET /docs", Open, Default, routes!(docs::page)),
        row("GET /docs/swagger-ui-5.35.0.js", Open, Default, routes!(docs::script)),
        row("GET /docs/swagger-ui-5.35.0.css", Open, Default, routes!(docs::style)),
        row("GET /.well-known/jwks.json", Open, Default, routes!(operations::jwks)),
        row("GET /api/v1/ping", Public, Default, routes!(operations::ping)),
    ]
}
