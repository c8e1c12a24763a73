//! Postgres as production has it: one role owns the schema, another serves.

use crate::support::{
    Instance, Person, Services, Settings,
    command::{create_user, run},
    database::{connect, execute},
};

const ROLES: &str = include_str!("../../deploy/postgres/roles.sql");

fn sign_in_as(url: &str, role: &str, password: &str) -> String {
    let mut url = url::Url::parse(url).expect("a URL");
    url.set_username(role).expect("a user");
    url.set_password(Some(password)).expect("a password");
    url.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_needs_no_right_beyond_those_of_its_role() {
    let services = Services::private_postgres();
    let owner = services.database();
    let owners = services.settings();
    let first = owners
        .clone()
        .set("DATABASE_URL", sign_in_as(&owner.url, "mainstay_app", "there is none yet"))
        .set("DATABASE_MIGRATION_URL", &owner.url);
    run(&first, &["migrate", "up"]).expect("migrate up by the first owner");
    for _ in 0..2 {
        execute(&mut owner.connect().await, ROLES).await;
    }
    for role in ["mainstay_migrator", "mainstay_app"] {
        owner.execute(&format!("alter role {role} password 'orbit-{role}'")).await;
    }
    let app_url = sign_in_as(&owner.url, "mainstay_app", "orbit-mainstay_app");
    let migrator = sign_in_as(&owner.url, "mainstay_migrator", "orbit-mainstay_migrator");
    let settings = owners
        .set("DATABASE_URL", &app_url)
        .set("DATABASE_MIGRATION_URL", &migrator)
        .set("APP__DATABASE__MIGRATE_ON_START", "false");
    run(&settings, &["migrate", "up"]).expect("migrate up by the migrator");
    let instance = Instance::ready(&settings).await;
    let tokens = instance.api.sign_in().await;
    instance.api.me(&tokens.access).await.expect(200);
    let admin = Person::new();
    create_user(&settings, "admin", &admin.email, &admin.password);
    let admin = instance.api.login(&admin).await;
    for path in ["/api/v1/users", "/api/v1/admin/audit-events"] {
        instance.api.get_as(&admin.access, path).await.expect(200);
    }
    run(&settings, &["admin", "rotate-keys", "--now"]).expect("rotate-keys");
    expect_doctor(&settings);
    let mut conn = connect(&app_url).await;
    for statement in ["update audit_events set action = 'x'", "set role mainstay_migrator"] {
        let refused = sqlx::Executor::execute(&mut conn, statement).await;
        let refused = refused.map(|_| ()).expect_err(statement);
        assert!(refused.to_string().contains("permission denied"), "{statement}: {refused}");
    }
    assert!(!instance.log().contains("permission denied"), "{}", instance.log());
}

fn expect_doctor(settings: &Settings) {
    let said = run(settings, &["doctor"]).expect("doctor");
    let line = "database rights: mainstay_app reads and writes rows, and no more";
    assert!(said.contains(line), "{said}");
}
