use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, row};
use crate::handlers::pages;

pub fn rows() -> Vec<Route> {
    vec![
        row("GET /account/verify-email", Open, Default, routes!(pages::verify_email)),
        row("GET /account/confirm-email", Open, Default, routes!(pages::confirm_email)),
        row("GET /account/reset-password", Open, Default, routes!(pages::reset_password)),
    ]
}
