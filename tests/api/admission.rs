//! What is served first when not everything can be.

use mainstay::{
    middleware::route_info::Access,
    routes::{self, Route},
    shared::capacity::Priority,
};

fn lines(of: impl Fn(&Route) -> bool) -> Vec<String> {
    let rows = routes::table().into_iter().filter(of);
    rows.map(|route| format!("{} {}", route.method, route.path)).collect()
}

#[test]
fn every_write_is_critical_and_no_read_is() {
    let critical = lines(|route| route.priority() == Priority::Critical);
    assert_eq!(critical, lines(|route| !route.method.is_safe()));
    for line in ["POST /api/v1/auth/login", "POST /api/v1/auth/refresh"] {
        assert!(critical.iter().any(|critical| critical == line), "{line}");
    }
}

#[test]
fn what_operators_ask_is_never_shed_and_changes_nothing() {
    let operations = lines(|route| route.access == Access::Operations);
    for line in ["GET /health/live", "GET /health/ready", "GET /health/startup", "GET /metrics"] {
        assert!(operations.iter().any(|operation| operation == line), "{line}");
    }
    assert!(operations.iter().all(|line| line.starts_with("GET ")), "{operations:?}");
}
