//! The API description: what the handlers say of themselves, and here, once, what follows from
//! a route's row and from what it takes: refusals, headers, security.

use std::{
    collections::{BTreeSet, btree_map::Entry},
    sync::LazyLock,
};

use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};
use utoipa::openapi::{
    Info, OpenApi, Ref, RefOr, Required, Schema, Server, Tag,
    path::{Operation, Parameter, ParameterIn},
    request_body::RequestBody,
    response::Response as Described,
    schema::Type,
    security::SecurityRequirement,
    tag::TagBuilder,
};

use super::{Access, LimitClass, Route, describe, operation, table};

mod parts;

const TAGS: [(&str, &str); 6] = [
    ("accounts", "Registration, sign-in, sessions and passwords"),
    ("administration", "What administrators look into"),
    ("background work", "Jobs, queues and schedules"),
    ("operations", "For operators, load balancers and verifiers of our tokens"),
    ("products", "The catalogue: products, categories and stock"),
    ("users", "Accounts: one's own, and all of them for administrators"),
];

const ABOUT: &str = "Every refusal is `application/problem+json` (RFC 9457) with a stable `code`; \
    `Problem` lists them. A method that a path does not have is answered 405 with `Allow`. \
    Unknown members of bodies and unknown query parameters are refused. Times are RFC 3339 in \
    UTC, ids are UUIDv7. Lists are walked by `cursor`. Every answer carries `X-Request-Id`. New \
    members of answers and new codes are no breaking change.";

/// The API description.
///
/// OpenAPI 3.1; `mainstay openapi` prints the same.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", operation_id = "get_openapi",
    responses((status = 200, description = "This document", body = Object,
        headers(("Cache-Control")))))]
pub async fn serve() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_json().unwrap_or_default());
    const HEADERS: [(HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=60")];
    (HEADERS, TEXT.as_str()).into_response()
}

pub fn document() -> OpenApi {
    describe_all(table())
}

/// The description of these rows as of a whole API.
pub fn describe_all(mut routes: Vec<Route>) -> OpenApi {
    let mut used = BTreeSet::new();
    routes.iter_mut().for_each(|route| complete(route, &mut used));
    let mut api = describe(routes);
    api.info = Info::builder()
        .title("Mainstay")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .build();
    api.servers = Some(vec![Server::new("/")]);
    api.tags = Some(TAGS.map(tag).into());
    parts::add(api.components.get_or_insert_with(Default::default), &used);
    api
}

fn tag((name, description): (&str, &str)) -> Tag {
    TagBuilder::new().name(name).description(Some(description)).build()
}

/// Adds to `used` the components that not every API needs.
fn complete(route: &mut Route, used: &mut BTreeSet<&'static str>) {
    let Some(item) = route.paths.paths.get_mut(route.path) else { return };
    let method = super::http_method(&route.method);
    let mut described = operation(std::mem::take(item), &route.method);
    let facts = Facts::of(route.access, route.limits, route.path, &route.method, &described);
    for (name, response) in &mut described.responses.responses {
        if let RefOr::T(response) = response {
            facts.complete(name, response);
        }
    }
    let of_keys = parts::REFUSALS_OF_KEYS.iter().filter(|_| facts.takes_key);
    let of_all = parts::REFUSALS.iter().filter(|refusal| facts.can_meet(refusal.status));
    for refusal in of_keys.chain(of_all) {
        let all = &mut described.responses.responses;
        if let Entry::Vacant(free) = all.entry(refusal.status.to_owned()) {
            free.insert(RefOr::Ref(Ref::from_response_name(refusal.name)));
            used.insert(refusal.name);
        }
    }
    if facts.unless_changed {
        let unchanged = RefOr::Ref(Ref::from_response_name(parts::NOT_MODIFIED));
        described.responses.responses.insert("304".to_owned(), unchanged);
    }
    if described.security.is_none() {
        described.security = security(route.access);
    }
    share_header_parameters(&mut described);
    if let Some(RefOr::T(body)) = &mut described.request_body {
        may_be_left_out(body);
    }
    used.extend(facts.takes_key.then_some(parts::KEY));
    *item = utoipa::openapi::PathItem::new(method, described);
}

fn security(access: Access) -> Option<Vec<SecurityRequirement>> {
    let bearer = SecurityRequirement::new(parts::BEARER, Vec::<String>::new());
    match access {
        Access::Operations | Access::Open => None,
        Access::Public => Some(vec![SecurityRequirement::default(), bearer]),
        Access::User | Access::Staff | Access::Admin => Some(vec![bearer]),
    }
}

/// A handler names the request headers it heeds; what they mean is written once.
fn share_header_parameters(operation: &mut Operation) {
    let all = operation.parameters.get_or_insert_default();
    for parameter in all.iter_mut() {
        let (name, required) = match parameter {
            RefOr::T(of) if of.parameter_in == ParameterIn::Header => {
                (of.name.clone(), of.required == Required::True)
            }
            _ => continue,
        };
        *parameter = match required {
            true => RefOr::T(parts::required_parameter(&name)),
            false => RefOr::Ref(parts::parameter_ref(&name)),
        };
    }
    all.push(RefOr::Ref(parts::parameter_ref("X-Request-Id")));
}

/// An optional body is left out; a `null` in its place is none.
fn may_be_left_out(body: &mut RequestBody) {
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let Some(RefOr::T(Schema::OneOf(either))) = &content.schema else { continue };
        let is_null = |schema: &RefOr<Schema>| matches!(schema, RefOr::T(Schema::Object(o)) if o.schema_type == Type::Null.into());
        if either.items.iter().any(is_null) {
            content.schema = either.items.iter().find(|schema| !is_null(schema)).cloned();
            body.required = Some(Required::False);
        }
    }
}

/// What decides which answers an operation can give.
struct Facts {
    access: Access,
    limited: bool,
    is_api: bool,
    has_id: bool,
    is_unsafe: bool,
    has_query: bool,
    is_list: bool,
    has_body: bool,
    if_match: bool,
    unless_changed: bool,
    takes_key: bool,
}

impl Facts {
    fn of(
        access: Access,
        limits: LimitClass,
        path: &str,
        method: &http::Method,
        operation: &Operation,
    ) -> Self {
        let has = |is: &dyn Fn(&Parameter) -> bool| {
            let all = operation.parameters.iter().flatten();
            all.into_iter().any(|parameter| matches!(parameter, RefOr::T(it) if is(it)))
        };
        Self {
            access,
            limited: limits != LimitClass::Unlimited,
            is_api: path.starts_with("/api/"),
            has_id: path.contains('{'),
            is_unsafe: !method.is_safe(),
            has_query: has(&|it| it.parameter_in == ParameterIn::Query),
            is_list: has(&|it| it.name == "cursor"),
            has_body: operation.request_body.is_some(),
            if_match: has(&|it| it.name == "If-Match"),
            unless_changed: has(&|it| it.name == "If-None-Match"),
            takes_key: has(&|it| it.name == parts::KEY),
        }
    }

    /// Follows the stack (`middleware/mod.rs`) from outside in.
    fn can_meet(&self, status: &str) -> bool {
        let for_operators = self.access == Access::Operations;
        match status {
            "414" => self.has_query || self.has_id,
            // The head may be too large, or something broken, everywhere.
            "431" | "500" => true,
            "503" | "504" => !for_operators,
            "401" => !matches!(self.access, Access::Operations | Access::Open),
            "429" => self.limited,
            // A foreign page's cookie is refused wherever something may change.
            "403" => matches!(self.access, Access::Staff | Access::Admin) || self.is_unsafe,
            "406" => self.is_api,
            "408" | "413" | "415" => self.has_body,
            "400" => self.has_query || self.has_body || self.has_id,
            // Parameters that are not known are refused also where there are none.
            "422" => true,
            "404" => self.has_id,
            "412" => self.if_match,
            _ => false,
        }
    }

    /// The headers of an answer, and for a refusal of the handler's own the body.
    fn complete(&self, status: &str, response: &mut Described) {
        if response.content.is_empty() && (status.starts_with('4') || status.starts_with('5')) {
            parts::make_problem(status, response);
        }
        if self.takes_key && status == "409" {
            response.description += parts::OR_IN_PROGRESS;
        }
        let mut names: Vec<String> = response.headers.keys().cloned().collect();
        names.push("X-Request-Id".to_owned());
        let always = [
            (self.limited, "RateLimit-Policy"),
            (self.limited, "RateLimit"),
            (status == "201", "Location"),
            (status == "200" && self.is_list, "Link"),
            (status == "200" && self.if_match, "ETag"),
            (self.takes_key && matches!(status.as_bytes()[0], b'2' | b'4'), "Idempotent-Replayed"),
        ];
        names.extend(always.iter().filter(|(is, _)| *is).map(|(_, name)| name.to_string()));
        response.headers = names.into_iter().map(parts::header_ref).collect();
    }
}
