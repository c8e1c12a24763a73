//! A client of another language, generated from the API description.

use std::{path::Path, process::Command};

use crate::support::{
    Database, Instance, Person, Settings,
    command::{create_user, finish},
    timing::say,
};

/// Skipped with a word where there is no npm.
#[tokio::test(flavor = "multi_thread")]
async fn a_generated_typescript_client_signs_in_and_walks_lists() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url);
    let instance = Instance::ready(&settings).await;
    let admin = Person::new();
    create_user(&settings, "admin", &admin.email, &admin.password);
    for _ in 0..4 {
        let person = Person::new();
        create_user(&settings, "customer", &person.email, &person.password);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/typescript");
    let mut command = Command::new(script);
    command.env("BASE_URL", format!("http://{}", instance.api.address()));
    command.env("EMAIL", &admin.email).env("PASSWORD", &admin.password);
    let said = tokio::task::spawn_blocking(move || finish(command, "")).await.unwrap();
    let skipped = said.err.contains("skipped: ");
    say(said.all().trim());
    assert!(said.success, "{}", said.all());
    assert!(skipped || said.out.contains("walked 5 users and 5 products"), "{}", said.all());
}
