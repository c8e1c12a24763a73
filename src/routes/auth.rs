use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, row};
use crate::handlers::{account_mail as mail, auth, sessions};

pub fn rows() -> Vec<Route> {
    vec![
        row("POST /api/v1/auth/register", Open, Credentials, routes!(auth::register)),
        row("POST /api/v1/auth/login", Open, Credentials, routes!(auth::login)),
        row("POST /api/v1/auth/refresh", Open, Refresh, routes!(auth::refresh)),
        row("POST /api/v1/auth/logout", User, Default, routes!(auth::logout)),
        row("POST /api/v1/auth/logout-all", User, Default, routes!(auth::logout_all)),
        row("PUT /api/v1/auth/password", User, Credentials, routes!(auth::change_password)),
        row("POST /api/v1/auth/password/forgot", Open, Credentials, routes!(mail::forgot_password)),
        row("POST /api/v1/auth/password/reset", Open, Credentials, routes!(mail::reset_password)),
        row("POST /api/v1/auth/email/verify", Open, Credentials, routes!(mail::verify_email)),
        row(
            "POST /api/v1/auth/email/resend",
            Open,
            Credentials,
            routes!(mail::resend_verification),
        ),
        row("GET /api/v1/auth/sessions", User, Default, routes!(sessions::list)),
        row("DELETE /api/v1/auth/sessions/{id}", User, Default, routes!(sessions::end)),
    ]
}
