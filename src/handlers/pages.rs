//! The pages that links in mails open where no front end has its own.
//!
//! Opening one does nothing: programs that look for malware open every link. The token stands in
//! the fragment, which no browser sends; a script posts it when a person presses the button.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, header};

use crate::shared::crypto::sha256;

const PAGE: &str = include_str!("pages/page.html");
const SCRIPT: &str = include_str!("pages/page.js");
const STYLE: &str = include_str!("pages/page.css");
const PASSWORD: &str = include_str!("pages/password.html");

/// Relative, so that they hold below whatever path a proxy gives us.
const VERIFY: &str = "../api/v1/auth/email/verify";
const RESET: &str = "../api/v1/auth/password/reset";

/// What differs from page to page.
struct Words {
    title: &'static str,
    lead: &'static str,
    button: &'static str,
    done: &'static str,
    endpoint: &'static str,
    field: &'static str,
}

/// Confirms the address of an account.
///
/// A page for people. Nothing happens before they press its button.
#[utoipa::path(get, path = "/account/verify-email", tag = "accounts",
    operation_id = "open_verify_email_page",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub async fn verify_email() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        render(&Words {
            title: "Confirm your e-mail address",
            lead: "Press the button to confirm that this address is yours.",
            button: "Confirm this address",
            done: "Thank you: your address is confirmed.",
            endpoint: VERIFY,
            field: "",
        })
    });
    page(&TEXT)
}

/// Confirms a new address of an account.
///
/// A page for people. Nothing happens before they press its button.
#[utoipa::path(get, path = "/account/confirm-email", tag = "accounts",
    operation_id = "open_confirm_email_page",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub async fn confirm_email() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        render(&Words {
            title: "Confirm your new e-mail address",
            lead: "Press the button to use this address for your account from now on.",
            button: "Use this address",
            done: "Thank you: your account has its new address.",
            endpoint: VERIFY,
            field: "",
        })
    });
    page(&TEXT)
}

/// Sets a new password.
///
/// A page for people. Nothing happens before they press its button.
#[utoipa::path(get, path = "/account/reset-password", tag = "accounts",
    operation_id = "open_reset_password_page",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub async fn reset_password() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        render(&Words {
            title: "Set a new password",
            lead: "Choose a new password. All sessions of your account will end.",
            button: "Set this password",
            done: "Your password is set. You can sign in with it now.",
            endpoint: RESET,
            field: PASSWORD,
        })
    });
    page(&TEXT)
}

/// Constants only: nothing of a request stands in a page.
fn render(words: &Words) -> String {
    let parts = [
        ("{{title}}", words.title),
        ("{{lead}}", words.lead),
        ("{{button}}", words.button),
        ("{{done}}", words.done),
        ("{{endpoint}}", words.endpoint),
        ("{{field}}", words.field),
        ("{{style}}", STYLE),
        ("{{script}}", SCRIPT),
    ];
    parts.iter().fold(PAGE.to_owned(), |page, (name, text)| page.replace(name, text))
}

fn page(text: &'static str) -> Response {
    static POLICY: LazyLock<String> = LazyLock::new(policy);
    let headers: [(HeaderName, &str); 2] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
    ];
    (headers, text).into_response()
}

/// Only the script and the style that we have written, named by their digests, may do anything,
/// and they may talk to nobody but us.
fn policy() -> String {
    let digest = |text: &str| STANDARD.encode(sha256(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(SCRIPT),
        digest(STYLE),
    )
}
