use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, row};
use crate::handlers::outbox;

pub fn rows() -> Vec<Route> {
    vec![
        row("GET /api/v1/admin/outbox", Staff, Default, routes!(outbox::list)),
        row("POST /api/v1/admin/outbox/{id}/replay", Admin, Default, routes!(outbox::replay)),
    ]
}
