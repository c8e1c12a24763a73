//! What our mails say: one template per letter, rendered once as text and once as HTML, so that
//! both say the same. The environment is strict: a variable that is not there is an error.

use std::fmt;

use chrono::{DateTime, Utc};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, value::Serde};
use serde::Serialize;
use url::Url;

use crate::{
    domain::mail::Device as Described,
    error::{Error, Result},
};

/// A letter with all that its template needs. What people typed stands only in bodies.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Letter {
    VerifyEmail { link: Url, valid_for: &'static str },
    ResetPassword { link: Url, valid_for: &'static str },
    ChangeEmail { link: Url, valid_for: &'static str },
    EmailChanged { at: Moment },
    PasswordChanged { at: Moment },
    NewDevice { at: Moment, device: Device },
    TokenReused { at: Moment, device: Device },
    AlreadyRegistered { link: Url, valid_for: &'static str },
}

/// Where something was done from, as the letter tells it.
#[derive(Debug, Clone, Serialize)]
pub struct Device {
    pub name: String,
    pub address: String,
}

impl From<&Described> for Device {
    fn from(device: &Described) -> Self {
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
        Self { name: or_unknown(device.name()), address: or_unknown(device.address.clone()) }
    }
}

/// A time as a reader anywhere can tell it.
#[derive(Debug, Clone, Copy)]
pub struct Moment(pub DateTime<Utc>);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%-d %B %Y, %H:%M UTC"))
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A rendered letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub subject: &'static str,
    pub text: String,
    pub html: String,
}

macro_rules! letters {
    ($($variant:ident $name:literal $subject:literal)*) => {
        impl Letter {
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name of the template.
            pub fn name(&self) -> &'static str {
                match self { $(Letter::$variant { .. } => $name),* }
            }

            /// A constant: nothing that people typed can stand in a header.
            pub fn subject(&self) -> &'static str {
                match self { $(Letter::$variant { .. } => $subject),* }
            }
        }

        const SOURCES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("templates/", $name, ".jinja")))),*];
    };
}

letters! {
    VerifyEmail       "verify_email"       "Confirm your e-mail address"
    ResetPassword     "reset_password"     "Set a new password"
    ChangeEmail       "change_email"       "Confirm your new e-mail address"
    EmailChanged      "email_changed"      "Your e-mail address was changed"
    PasswordChanged   "password_changed"   "Your password was changed"
    NewDevice         "new_device"         "Sign-in on a new device"
    TokenReused       "token_reused"       "A session was ended for your safety"
    AlreadyRegistered "already_registered" "You already have an account"
}

/// The two forms of a letter: layout and the macros `p`, `action` and `facts`.
const FORMS: [(&str, &str, &str); 2] = [
    ("txt", include_str!("templates/layout.txt"), include_str!("templates/parts.txt")),
    ("html", include_str!("templates/layout.html"), include_str!("templates/parts.html")),
];

/// All templates, compiled.
pub struct Letters {
    templates: Environment<'static>,
    product: String,
    pub(super) home: Url,
}

#[derive(Serialize)]
struct Context<'a> {
    product: &'a str,
    home: &'a Url,
    subject: &'a str,
    layout: String,
    parts: String,
    #[serde(flatten)]
    letter: &'a Letter,
}

impl Letters {
    /// `product` signs the letters; `home` is where their readers sign in.
    pub fn new(product: impl Into<String>, home: Url) -> Result<Self> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|name| match name.ends_with(".txt") {
            true => AutoEscape::None,
            false => AutoEscape::Html,
        });
        for (form, layout, parts) in FORMS {
            let named = [("layout", layout), ("parts", parts)].into_iter();
            for (name, source) in named.chain(SOURCES.iter().copied()) {
                templates
                    .add_template_owned(format!("{name}.{form}"), source)
                    .map_err(Error::internal)?;
            }
        }
        Ok(Self { templates, product: product.into(), home })
    }

    pub fn render(&self, letter: &Letter) -> Result<Content> {
        let text = self.form(letter, "txt")?;
        let html = self.form(letter, "html")?;
        Ok(Content { subject: letter.subject(), text, html })
    }

    fn form(&self, letter: &Letter, form: &str) -> Result<String> {
        let context = Context {
            product: &self.product,
            home: &self.home,
            subject: letter.subject(),
            layout: format!("layout.{form}"),
            parts: format!("parts.{form}"),
            letter,
        };
        let template = self.templates.get_template(&format!("{}.{form}", letter.name()));
        let context = Value::from(Serde(context));
        template.and_then(|template| template.render(context)).map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests;
