//! What an operator does by hand.

use serde_json::Value;

use crate::support::{
    Database, Instance, Person, Settings,
    command::{create_user, run, run_with_input},
    eventually, unique,
};

#[tokio::test(flavor = "multi_thread")]
async fn migrate_status_up_and_wait_tell_by_their_exit_code_what_is_missing() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url);
    let before = run(&settings, &["migrate", "status"]);
    assert!(!before.success && before.out.contains("0001 missing users"), "{}", before.all());
    let waited = run(&settings, &["migrate", "wait", "--timeout", "1"]);
    assert!(!waited.success && waited.err.contains("still missing"), "{}", waited.all());
    for _ in 0..2 {
        let after = run(&settings, &["migrate", "up"]).expect("migrate up");
        assert!(after.contains("0001 applied users") && !after.contains("missing"), "{after}");
    }
    run(&settings, &["migrate", "status"]).expect("migrate status");
    run(&settings, &["migrate", "wait", "--timeout", "1"]).expect("migrate wait");
    assert_eq!(database.number("select count(*) from users").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_made_on_the_command_line_can_sign_in_and_is_in_the_audit_trail() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url);
    let instance = Instance::ready(&settings).await;
    let admin = Person::new();
    let id = create_user(&settings, "admin", &admin.email, &admin.password);
    let tokens = instance.api.login(&admin).await;
    assert_eq!(tokens.user, id);
    let users = instance.api.get_as(&tokens.access, "/api/v1/users").await.expect(200).json();
    assert_eq!(users["data"][0]["role"], "admin");
    let event = format!(
        "select actor_id is null and request_id = 'command-line' and details->>'role' = 'admin'
         from audit_events where action = 'user.created' and target_id = '{id}'"
    );
    assert!(sqlx::Row::get::<bool, _>(&database.row(&event).await, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn create_user_refuses_what_the_api_would_refuse_and_a_second_time_unless_told() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url);
    run(&settings, &["migrate", "up"]).expect("migrate up");
    let email = unique("grace") + "@example.com";
    let call = ["admin", "create-user", "--email", &email, "--name", "Grace", "--password-stdin"];
    let weak = run_with_input(&settings, &call, "password\n");
    assert!(!weak.success && weak.err.contains("password is too easy"), "{}", weak.all());
    assert!(!run(&settings, &call[..6]).success, "a password has to come from somewhere");
    run_with_input(&settings, &call, "orbit-velvet-lantern-42\n").expect("create-user");
    let twice = run_with_input(&settings, &call, "orbit-velvet-lantern-42\n");
    assert!(!twice.success && twice.err.contains("EMAIL_TAKEN"), "{}", twice.all());
    let call = [&call[..], &["--if-missing"]].concat();
    run_with_input(&settings, &call, "orbit-velvet-lantern-42\n").expect("--if-missing");
    assert_eq!(database.number("select count(*) from users").await, 1);
    assert_eq!(database.number("select count(*) from audit_events").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_follows_the_instance() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url);
    let instance = Instance::start(&settings).await;
    let port = instance.api.address().rsplit(':').next().unwrap().to_owned();
    let settings = settings.set("PORT", port);
    run(&settings, &["healthcheck"]).expect("healthcheck");
    instance.signal("KILL");
    drop(instance);
    assert!(!run(&settings, &["healthcheck"]).success);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_can_have_a_port_of_their_own() {
    let database = Database::create().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings =
        Settings::new(&database.url).set("APP__OPS__LISTEN", format!("127.0.0.1:{port}"));
    let instance = Instance::start(&settings).await;
    let operations = crate::support::Api::new(&format!("http://127.0.0.1:{port}"));
    eventually("operations are answered", async || {
        let ready = operations.attempt(reqwest::Method::GET, "/health/ready", None, None).await;
        ready.is_ok_and(|reply| reply.status == 200)
    })
    .await;
    for path in ["/health/live", "/metrics"] {
        operations.get(path).await.expect(200);
        instance.api.get(path).await.expect(404);
    }
    run(&settings, &["healthcheck"]).expect("healthcheck");
}

#[test]
fn openapi_and_version_need_no_configuration() {
    let version = run(&Settings::bare(), &["version"]).expect("version");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let document = run(&Settings::bare(), &["openapi"]).expect("openapi");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/api/v1/auth/login"]["post"].is_object());
    let table = run(&Settings::bare(), &["check-config", "--table"]).expect("the table");
    assert!(table.contains("| `database.url` | `DATABASE_URL` or `APP__DATABASE__URL` | required"));
}
