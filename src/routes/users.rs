use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, row};
use crate::handlers::{account_mail, users};

pub fn rows() -> Vec<Route> {
    vec![
        row("GET /api/v1/users/me", User, Default, routes!(users::me)),
        row("PATCH /api/v1/users/me", User, Default, routes!(users::update_me)),
        row("DELETE /api/v1/users/me", User, Default, routes!(users::delete_me)),
        row("PUT /api/v1/users/me/email", User, Credentials, routes!(account_mail::change_email)),
        row("GET /api/v1/users", Admin, Default, routes!(users::list)),
        row("GET /api/v1/users/{id}", User, Default, routes!(users::get)),
        row("PATCH /api/v1/users/{id}", Admin, Default, routes!(users::update)),
        row("DELETE /api/v1/users/{id}", Admin, Default, routes!(users::delete)),
        row("DELETE /api/v1/users/{id}/sessions", Admin, Default, routes!(users::end_sessions)),
    ]
}
