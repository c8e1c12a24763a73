//! The whole stack, outermost first. It is composed once and applied once: every
//! `Router::layer` call would box and clone all that lies below it for each request.

use std::sync::Arc;

use axum::Router;
use tower::ServiceBuilder;

use crate::{
    config::Config,
    lifecycle::Lifecycle,
    services::Services,
    shared::{capacity::Capacity, rate_limit::Limiter},
};

pub mod access_log;
pub mod admission;
pub mod authenticate;
pub mod body_limit;
pub mod catch_panic;
pub mod client;
pub mod compression;
pub mod cookies;
pub mod cors;
pub mod csrf;
pub mod deadline;
pub mod decompression;
pub mod error_mapper;
pub mod head_limits;
pub mod negotiation;
pub mod rate_limit;
pub mod request_context;
pub mod route_info;
pub mod security_headers;
pub mod step;

use step::StepLayer;

/// What the layers need.
pub struct Stack {
    pub config: Arc<Config>,
    pub services: Services,
    pub limiter: Limiter,
    pub capacity: Capacity,
    pub lifecycle: Lifecycle,
    pub routes: Arc<route_info::RouteIndex>,
}

/// Wraps all routes, the fallbacks for unknown paths and methods included.
pub fn apply(router: Router<Services>, stack: &Stack) -> Router<Services> {
    let Stack { config, services, limiter, capacity, lifecycle, routes } = stack;
    let server = &config.server;
    router.layer(
        ServiceBuilder::new()
            // First, so that every line and every answer below can name the request.
            .layer(StepLayer::new(request_context::RequestContext::new(server, routes.clone())))
            // Sees the final status, and the clients that leave.
            .layer(StepLayer::new(access_log::AccessLog::new(&config.telemetry)))
            .layer(StepLayer::new(security_headers::SecurityHeaders))
            .option_layer(cors::new(&config.cors).map(StepLayer::new))
            // The only place that renders refusals, those of axum and tower included.
            .layer(StepLayer::new(error_mapper::ErrorMapper))
            .layer(StepLayer::new(catch_panic::CatchPanic))
            .layer(StepLayer::new(head_limits::HeadLimits))
            // Cheap refusals come before anything that costs.
            .layer(StepLayer::new(admission::Admission::new(
                server,
                services.health.clone(),
                capacity.clone(),
            )))
            // Unsafe requests run on in a task of their own from here.
            .layer(StepLayer::new(deadline::Deadline::new(server, lifecycle.clone())))
            .layer(StepLayer::new(authenticate::Authenticate(services.clone())))
            // One decision for all policies of the route. Before the other refusals, so that
            // they count and say where the client stands; long before the body is read.
            .layer(StepLayer::new(rate_limit::RateLimit::new(config, limiter.clone())))
            .layer(StepLayer::new(csrf::Csrf::new(config)))
            .layer(StepLayer::new(negotiation::Negotiation))
            .layer(StepLayer::new(compression::Compression::new(server)))
            .layer(StepLayer::new(decompression::Decompression))
            // After decompression: what counts is what would be held in memory.
            .layer(StepLayer::new(body_limit::BodyLimit::new(server, &config.imports))),
    )
}
