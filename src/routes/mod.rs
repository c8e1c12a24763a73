//! Every route of the service, one file per domain: method, path, who may call, which limits,
//! which handler. The router, the API description and the enumerating tests are made of it.

use axum::{Router, routing::MethodRouter};
use http::Method;
use utoipa::openapi::{
    OpenApi, OpenApiBuilder, RefOr, Schema,
    path::{HttpMethod, ParameterIn, Paths},
};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::{
    middleware::route_info::{self, Access, BodyKind, LimitClass, RouteIndex, RouteInfo},
    services::Services,
    shared::capacity::Priority,
};

mod audit;
mod auth;
mod exports;
mod imports;
mod jobs;
mod operations;
mod outbox;
mod pages;
mod products;
mod users;

pub mod openapi;

/// One row.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub access: Access,
    pub limits: LimitClass,
    body: BodyKind,
    media: &'static [&'static str],
    schemas: Vec<(String, RefOr<Schema>)>,
    paths: Paths,
    handler: MethodRouter<Services>,
}

/// `line` is "METHOD path", as the handler's own description has it.
pub fn row(
    line: &'static str,
    access: Access,
    limits: LimitClass,
    (schemas, paths, handler): UtoipaMethodRouter<Services>,
) -> Route {
    let (method, path) = line.split_once(' ').expect("a row begins with METHOD and path");
    let described = paths.paths.get(path).is_some_and(|item| describes(item, method));
    assert!(described, "the handler of {line} describes another method or path");
    let method = Method::from_bytes(method.as_bytes()).expect("a method is a token");
    let (body, media) = (BodyKind::Message, route_info::JSON);
    Route { method, path, access, limits, body, media, schemas, paths, handler }
}

fn describes(item: &utoipa::openapi::PathItem, method: &str) -> bool {
    let operation = match method {
        "GET" => &item.get,
        "POST" => &item.post,
        "PUT" => &item.put,
        "PATCH" => &item.patch,
        "DELETE" => &item.delete,
        _ => &None,
    };
    operation.is_some()
}

/// The whole table.
pub fn table() -> Vec<Route> {
    let domains = [
        operations::rows(),
        pages::rows(),
        auth::rows(),
        users::rows(),
        audit::rows(),
        jobs::rows(),
        imports::rows(),
        exports::rows(),
        outbox::rows(),
        products::rows(),
    ];
    domains.into_iter().flatten().collect()
}

impl Route {
    /// Its body is a file.
    fn taking(self, body: BodyKind) -> Self {
        Self { body, ..self }
    }

    /// It answers in these media types.
    fn producing(self, media: &'static [&'static str]) -> Self {
        Self { media, ..self }
    }

    /// When not all can be served: a write, a login or a refresh that is refused costs somebody
    /// more than a read that is tried again.
    pub fn priority(&self) -> Priority {
        if self.method.is_safe() { Priority::Normal } else { Priority::Critical }
    }
}

/// The router of these rows, without its layers, and the index by which the layers know them.
pub fn build(rows: impl Iterator<Item = Route>) -> (Router<Services>, RouteIndex) {
    let mut index = RouteIndex::default();
    let mut router = Router::new();
    for route in rows {
        let (takes_query, priority) = (takes_query(&route), route.priority());
        let Route { method, path, access, limits, body, media, handler, .. } = route;
        let template = path;
        let info = RouteInfo { template, access, limits, priority, takes_query, body, media };
        index.insert(method, info);
        router = router.route(path, handler);
    }
    (router, index)
}

fn takes_query(route: &Route) -> bool {
    let item = route.paths.paths.get(route.path).cloned().unwrap_or_default();
    let parameters = operation(item, &route.method).parameters.unwrap_or_default();
    parameters.iter().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
        RefOr::Ref(_) => true,
    })
}

fn http_method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

/// The description of all rows, before what is common to them is added.
fn describe(routes: Vec<Route>) -> OpenApi {
    let mut api = OpenApiBuilder::new().build();
    let components = api.components.get_or_insert_with(Default::default);
    let mut all = Paths::new();
    for route in routes {
        components.schemas.extend(route.schemas);
        for (path, item) in route.paths.paths {
            all.add_path_operation(
                path,
                vec![http_method(&route.method)],
                operation(item, &route.method),
            );
        }
    }
    api.paths = all;
    api
}

fn operation(item: utoipa::openapi::PathItem, method: &Method) -> utoipa::openapi::path::Operation {
    let found = match *method {
        Method::POST => item.post,
        Method::PUT => item.put,
        Method::PATCH => item.patch,
        Method::DELETE => item.delete,
        _ => item.get,
    };
    found.expect("row() has checked that the operation is described")
}
