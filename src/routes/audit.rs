use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, row};
use crate::handlers::audit;

pub fn rows() -> Vec<Route> {
    vec![row("GET /api/v1/admin/audit-events", Admin, Default, routes!(audit::list))]
}
