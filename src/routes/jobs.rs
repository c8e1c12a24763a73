use utoipa_axum::routes;

use super::{Access::*, LimitClass::*, Route, row};
use crate::handlers::jobs::{self, queues};

pub fn rows() -> Vec<Route> {
    vec![
        row("GET /api/v1/admin/jobs", Staff, Default, routes!(jobs::list)),
        row("GET /api/v1/admin/jobs/stats", Staff, Default, routes!(queues::stats)),
        row("GET /api/v1/admin/jobs/{id}", Staff, Default, routes!(jobs::get)),
        row("DELETE /api/v1/admin/jobs/{id}", Admin, Default, routes!(jobs::cancel)),
        row("POST /api/v1/admin/jobs/{id}/retry", Admin, Default, routes!(jobs::retry)),
        row("GET /api/v1/admin/schedules", Staff, Default, routes!(queues::schedules)),
        row("POST /api/v1/admin/queues/{queue}/pause", Admin, Default, routes!(queues::pause)),
        row("POST /api/v1/admin/queues/{queue}/resume", Admin, Default, routes!(queues::resume)),
    ]
}
