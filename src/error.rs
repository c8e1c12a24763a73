//! The one error of the service: what went wrong, in words that are stable for machines
//! ([`Code`]) and readable for people (`detail`). It knows no HTTP: `middleware::error_mapper`
//! renders it, and other doors (GraphQL, sockets) may render it in their own way.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

pub type Result<T, E = Error> = std::result::Result<T, E>;
type Source = Box<dyn StdError + Send + Sync>;

/// What a caller can do about an error; every [`Code`] belongs to one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Malformed,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    UnsupportedMediaType,
    Conflict,
    PreconditionFailed,
    PreconditionRequired,
    TooSlow,
    TooLarge,
    UriTooLong,
    HeadersTooLarge,
    Invalid,
    Limited,
    Unavailable,
    TimedOut,
    Internal,
}

macro_rules! codes {
    ($($variant:ident $text:literal $kind:ident $title:literal)*) => {
        /// Stable words for every refusal, shared by all doors. The catalogue is made of this list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($variant),* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text),* }
            }

            pub fn kind(self) -> Kind {
                match self { $(Code::$variant => Kind::$kind),* }
            }

            /// The same short sentence for every occurrence of the code.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),* }
            }
        }
    };
}

codes! {
    MalformedRequest     "MALFORMED_REQUEST"      Malformed            "The request could not be read"
    ValidationFailed     "VALIDATION_FAILED"      Invalid              "The request was read but does not hold"
    Unauthenticated      "UNAUTHENTICATED"        Unauthenticated      "Credentials are missing or not valid"
    TokenExpired         "TOKEN_EXPIRED"          Unauthenticated      "The access token has expired"
    TokenStale           "TOKEN_STALE"            Unauthenticated      "The access token predates a change of rights"
    InvalidCredentials   "INVALID_CREDENTIALS"    Unauthenticated      "E-mail address or password is wrong"
    EmailNotVerified     "EMAIL_NOT_VERIFIED"     Forbidden            "The e-mail address has not been verified yet"
    RefreshTokenInvalid  "REFRESH_TOKEN_INVALID"  Unauthenticated      "The refresh token is not valid"
    RefreshTokenReused   "REFRESH_TOKEN_REUSED"   Unauthenticated      "The refresh token was used twice; the session has ended"
    Forbidden            "FORBIDDEN"              Forbidden            "The caller may not do this"
    CsrfRejected         "CSRF_REJECTED"          Forbidden            "A cookie was sent from a foreign site"
    NotFound             "NOT_FOUND"              NotFound             "There is no such resource"
    MethodNotAllowed     "METHOD_NOT_ALLOWED"     MethodNotAllowed     "The resource does not support this method"
    NotAcceptable        "NOT_ACCEPTABLE"         NotAcceptable        "None of the accepted media types can be produced"
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" UnsupportedMediaType "The media type or coding of the body is not supported"
    EmailTaken           "EMAIL_TAKEN"            Conflict             "An account with this e-mail address exists"
    SkuTaken             "SKU_TAKEN"              Conflict             "A product with this SKU exists"
    OutOfStock           "OUT_OF_STOCK"           Conflict             "There are not that many left"
    IdempotencyKeyRequired "IDEMPOTENCY_KEY_REQUIRED" Malformed         "The request must carry Idempotency-Key"
    IdempotencyInProgress "IDEMPOTENCY_IN_PROGRESS" Conflict           "The first request with this key is still running"
    IdempotencyKeyReused "IDEMPOTENCY_KEY_REUSED" Invalid              "The key was used for another request"
    LastAdmin            "LAST_ADMIN"             Conflict             "The last administrator cannot be removed"
    IllegalTransition    "ILLEGAL_TRANSITION"     Conflict             "The present state does not allow this"
    Conflict             "CONFLICT"               Conflict             "The request conflicts with the present state"
    PreconditionFailed   "PRECONDITION_FAILED"    PreconditionFailed   "The resource has changed since it was read"
    PreconditionRequired "PRECONDITION_REQUIRED"  PreconditionRequired "The request must carry If-Match"
    BodyTooSlow          "BODY_TOO_SLOW"          TooSlow              "The body did not keep coming"
    PayloadTooLarge      "PAYLOAD_TOO_LARGE"      TooLarge             "The body is too large"
    UriTooLong           "URI_TOO_LONG"           UriTooLong           "The request target is too long"
    HeadersTooLarge      "HEADERS_TOO_LARGE"      HeadersTooLarge      "The header section is too large"
    RateLimited          "RATE_LIMITED"           Limited              "Too many requests"
    TooManyAttempts      "TOO_MANY_ATTEMPTS"      Limited              "Too many failed attempts"
    Overloaded           "OVERLOADED"             Unavailable          "The service is working at its limit"
    ShuttingDown         "SHUTTING_DOWN"          Unavailable          "This instance is shutting down"
    DependencyUnavailable "DEPENDENCY_UNAVAILABLE" Unavailable         "Something this service depends on does not answer"
    RequestTimedOut      "REQUEST_TIMED_OUT"      TimedOut             "The request took too long"
    Internal             "INTERNAL"               Internal             "Something went wrong on our side"
}

/// One fault of one field, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path in the body or name of the parameter: `items[0].quantity`.
    pub field: String,
    pub code: Cow<'static, str>,
    pub message: Cow<'static, str>,
}

impl FieldError {
    pub fn new(
        field: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }
}

/// Boxed, so that `Result<T>` stays small on the paths where nothing fails.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    detail: Cow<'static, str>,
    fields: Vec<FieldError>,
    retry_after: Option<Duration>,
    violated: Vec<&'static str>,
    bad_token: bool,
    source: Option<Source>,
}

impl Error {
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            code,
            detail: detail.into(),
            fields: Vec::new(),
            retry_after: None,
            violated: Vec::new(),
            bad_token: false,
            source: None,
        }))
    }

    /// A code whose title says it all.
    pub fn of(code: Code) -> Self {
        Self::new(code, code.title())
    }

    pub fn invalid(fields: Vec<FieldError>) -> Self {
        let mut error = Self::new(Code::ValidationFailed, "see errors for each field");
        error.0.fields = fields;
        error
    }

    pub fn invalid_field(
        field: impl Into<String>,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::invalid(vec![FieldError::new(field, code, message)])
    }

    pub fn not_found() -> Self {
        Self::of(Code::NotFound)
    }

    /// A fault of ours: the caller sees only a request id, the log sees the source.
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::of(Code::Internal).because(source)
    }

    /// A dependency does not answer; trying again in a moment is sensible.
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self::of(Code::DependencyUnavailable).retry_after(Duration::from_secs(1)).because(source)
    }

    pub fn overloaded() -> Self {
        Self::of(Code::Overloaded).retry_after(Duration::from_secs(1))
    }

    /// Another instance will do it.
    pub fn shutting_down() -> Self {
        Self::of(Code::ShuttingDown).retry_after(Duration::from_secs(1))
    }

    /// Credentials were sent, and they do not hold (RFC 6750: `invalid_token`).
    pub fn bad_token() -> Self {
        let mut error = Self::new(Code::Unauthenticated, "the access token is not valid");
        error.0.bad_token = true;
        error
    }

    /// The same for others who waited for the same thing; the cause stays with the first.
    pub fn alike(&self) -> Self {
        let mut error = Self::new(self.code(), self.0.detail.clone());
        error.0.fields = self.0.fields.clone();
        error.0.retry_after = self.0.retry_after;
        error
    }

    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Names the rate-limit policies that were exceeded.
    pub fn violating(mut self, policies: Vec<&'static str>) -> Self {
        self.0.violated = policies;
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn kind(&self) -> Kind {
        self.0.code.kind()
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn fields(&self) -> &[FieldError] {
        &self.0.fields
    }

    pub fn retry_after_secs(&self) -> Option<u64> {
        self.0.retry_after.map(|after| after.as_millis().div_ceil(1000).max(1) as u64)
    }

    pub fn is_bad_token(&self) -> bool {
        self.0.bad_token || matches!(self.0.code, Code::TokenExpired | Code::TokenStale)
    }

    pub fn violated_policies(&self) -> &[&'static str] {
        &self.0.violated
    }

    /// The error and all it was caused by, for the log only.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.detail)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_is_a_unique_upper_snake_word() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for word in words {
            assert!(word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{word}");
        }
    }

    #[test]
    fn the_chain_names_every_cause_and_the_display_names_none() {
        let error = Error::internal(std::io::Error::other("the disk is on fire"));
        assert!(error.chain().ends_with("the disk is on fire"));
        assert!(!error.to_string().contains("disk"));
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        let error = Error::overloaded().retry_after(Duration::from_millis(1001));
        assert_eq!(error.retry_after_secs(), Some(2));
    }
}
