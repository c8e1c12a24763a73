//! The API description: what the handlers say of themselves, and what is common to all routes.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, Info, OpenApi, Ref, ResponseBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{Access, LimitClass, Route, describe, operation, table};
use crate::middleware::error_mapper::{Problem, ProblemField};

const BEARER: &str = "bearer";

pub fn document() -> OpenApi {
    let mut routes = table();
    for route in &mut routes {
        complete(route);
    }
    let mut api = describe(routes);
    api.info = Info::builder()
        .title("Mainstay")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Refusals of every route are problem+json with a stable `code`."))
        .build();
    let components = api.components.get_or_insert_with(Default::default);
    components.schemas.insert(Problem::name().into(), Problem::schema());
    components.schemas.insert(ProblemField::name().into(), ProblemField::schema());
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.security_schemes.insert(BEARER.to_owned(), SecurityScheme::Http(scheme).into());
    api
}

/// Security and the refusals that follow from the row.
fn complete(route: &mut Route) {
    let statuses = refusals(route);
    let (access, method) = (route.access, route.method.clone());
    let Some(item) = route.paths.paths.get_mut(route.path) else { return };
    let mut completed = operation(item.clone(), &method);
    for (status, meaning) in statuses {
        add_problem(&mut completed, status, meaning);
    }
    completed.security = match access {
        Access::Operations | Access::Open => None,
        Access::Public => Some(vec![SecurityRequirement::default(), bearer()]),
        Access::User | Access::Staff | Access::Admin => Some(vec![bearer()]),
    };
    *item = utoipa::openapi::PathItem::new(super::http_method(&method), completed);
}

fn bearer() -> SecurityRequirement {
    SecurityRequirement::new(BEARER, Vec::<String>::new())
}

fn refusals(route: &Route) -> Vec<(&'static str, &'static str)> {
    let mut all = Vec::new();
    if route.access == Access::Operations {
        return all;
    }
    all.push(("503", "Overload, a missing dependency, or shutdown"));
    all.push(("504", "The deadline has passed"));
    if route.limits != LimitClass::Unlimited {
        all.push(("429", "Over a rate limit"));
    }
    if !matches!(route.access, Access::Open) || route.path.starts_with("/api/v1/auth/") {
        all.push(("401", "Credentials are missing or do not hold"));
    }
    if matches!(route.access, Access::Staff | Access::Admin) {
        all.push(("403", "Not for this role"));
    }
    if route.path.contains('{') {
        all.push(("404", "Unknown, or not the caller's"));
    }
    all
}

fn add_problem(operation: &mut Operation, status: &str, meaning: &str) {
    let schema = Ref::from_schema_name(Problem::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description(meaning)
        .content("application/problem+json", content)
        .build();
    operation.responses.responses.entry(status.to_owned()).or_insert(response.into());
}
