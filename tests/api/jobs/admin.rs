//! Looking after the queues over HTTP.

use serde_json::{Value, json};

use super::{
    super::support::{Person, TestApp, eventually},
    kinds::{self, Act, note, seen},
};

async fn get(app: &TestApp, who: &Person, path: &str) -> Value {
    app.get(path).bearer(&who.access).send().await.expect(200).json()
}

#[tokio::test]
async fn a_job_shows_its_progress_result_and_timeline() {
    let app = TestApp::working(kinds::all, &[]).await;
    let staff = app.staff("staff").await;
    let id = app.enqueue(&note("shown", "x", Act::Progress)).await;
    app.job_becomes(id, "succeeded").await;
    let job = get(&app, &staff, &format!("/api/v1/admin/jobs/{id}")).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)));
    assert_eq!(job["progress"], json!({"done": 2, "total": 2}));
    assert_eq!(job["result"], json!({"answer": 42}));
    assert_eq!(job["payload"]["what"], "x");
    let events = job["timeline"].as_array().unwrap().iter().map(|entry| entry["event"].as_str());
    assert_eq!(events.flatten().collect::<Vec<_>>(), ["enqueued", "started", "succeeded"]);
}

#[tokio::test]
async fn whoever_watches_a_job_or_an_import_is_told_of_changes_only() {
    let app = TestApp::new().await;
    let (staff, root) = (app.staff("staff").await, app.admin("root").await);
    let import = app.queued_import(&staff).await;
    for path in [
        format!("/api/v1/admin/jobs/{}", app.waiting_job().await),
        format!("/api/v1/imports/{import}"),
    ] {
        let ask = |name: &str, tag: &str| app.get(&path).bearer(&staff.access).header(name, tag);
        let first = app.get(&path).bearer(&staff.access).send().await.expect(200);
        let tag = first.header("etag").to_owned();
        assert_eq!((tag.len(), first.header("content-type")), (24, "application/json"), "{tag}");
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        let coded = tag.replace("\"", "") + "-gzip";
        for known in [&tag, "*", &format!("W/\"{coded}\""), &format!("\"1\", {tag}")] {
            let same = ask("if-none-match", known).send().await.expect(304);
            assert!(same.body.is_empty() && same.header("etag") == tag, "{same:?}");
        }
        for (required, status) in [(tag.as_str(), 200), ("*", 200), ("\"1\"", 412)] {
            ask("if-match", required).send().await.expect(status);
        }
        let delete = |tag| app.call("DELETE", &path).bearer(&root.access).header("if-match", tag);
        delete("\"1\"").send().await.expect_problem(412, "PRECONDITION_FAILED");
        delete(&tag).send().await.expect(204);
        let changed = ask("if-none-match", &tag).send().await.expect(200);
        assert_ne!(changed.header("etag"), tag);
        ask("if-match", &tag).send().await.expect_problem(412, "PRECONDITION_FAILED");
    }
}

#[tokio::test]
async fn lists_are_filtered_by_state_queue_and_kind_and_walked() {
    let app = TestApp::with(&[]).await;
    let staff = app.staff("staff").await;
    app.execute(
        "insert into jobs (id, queue, kind, payload, state, priority, run_at, attempts, max_attempts, request_id,
                           finished_at, worker_id, created_at)
         select gen_random_uuid(), queue, 'k_' || queue, '{}', state, 2, now() + wait, attempts, 3, 'x',
                case when state in ('succeeded', 'dead') then now() end,
                case when state = 'running' then gen_random_uuid() end, now()
         from unnest(array['default', 'mail']) queue,
              (values ('pending', interval '-1 s', 0), ('pending', '1 h', 0), ('pending', '1 h', 1),
                      ('running', '-1 s', 1), ('succeeded', '-1 s', 1), ('dead', '-1 s', 3)) as s(state, wait, attempts)",
    )
    .await;
    for state in ["scheduled", "ready", "running", "succeeded", "failed", "dead"] {
        let list =
            get(&app, &staff, &format!("/api/v1/admin/jobs?state={state}&count=exact")).await;
        assert_eq!(list["total"], 2, "{state}");
        assert!(list["data"].as_array().unwrap().iter().all(|job| job["state"] == state), "{list}");
    }
    let mail = get(&app, &staff, "/api/v1/admin/jobs?queue=mail&kind=k_mail&limit=4").await;
    let cursor = mail["next_cursor"].as_str().unwrap();
    let rest = get(
        &app,
        &staff,
        &format!("/api/v1/admin/jobs?queue=mail&kind=k_mail&limit=4&cursor={cursor}"),
    )
    .await;
    assert_eq!(
        (mail["data"].as_array().unwrap().len(), rest["data"].as_array().unwrap().len()),
        (4, 2)
    );
    app.get("/api/v1/admin/jobs?state=lost").bearer(&staff.access).send().await.expect(422);
}

#[tokio::test]
async fn a_dead_job_is_tried_again_by_hand_and_that_is_audited() {
    let app = TestApp::working(kinds::all, &[]).await;
    let root = app.admin("root").await;
    let id = app.enqueue(&note("by hand", "x", Act::GiveUp)).await;
    app.job_becomes(id, "dead").await;
    let retry = format!("/api/v1/admin/jobs/{id}/retry");
    let job = app.post(&retry).bearer(&root.access).send().await.expect(200).json();
    assert_ne!(job["state"], "dead");
    eventually("it runs again", async || seen("by hand").len() == 2).await;
    app.job_becomes(id, "dead").await;
    assert_eq!(app.history(id).await, ["failed", "retried_by_hand", "failed"]);
    assert_eq!(
        app.count("select count(*) from audit_events where action = 'job.retried'").await,
        1
    );
    let fine = app.enqueue(&note("by hand", "fine", Act::Succeed)).await;
    app.job_becomes(fine, "succeeded").await;
    let refused = app.post(&format!("/api/v1/admin/jobs/{fine}/retry")).bearer(&root.access);
    assert_eq!(refused.send().await.expect(409).json()["code"], "ILLEGAL_TRANSITION");
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_at_once_and_a_running_one_is_asked() {
    let app = TestApp::working(kinds::all, &[]).await;
    let root = app.admin("root").await;
    let cancel = async |id| {
        app.call("DELETE", &format!("/api/v1/admin/jobs/{id}")).bearer(&root.access).send().await
    };
    let running = app.enqueue(&note("cancel", "running", Act::WaitForStop)).await;
    eventually("it runs", async || seen("cancel").len() == 1).await;
    cancel(running).await.expect(202);
    app.job_becomes(running, "dead").await;
    assert_eq!(app.job(running, "last_error").await.as_deref(), Some("cancelled"));
    assert_eq!(seen("cancel").len(), 1, "no other attempt follows");

    app.execute("insert into job_queues (name) values ('default')").await;
    let waiting = app.enqueue(&note("cancel", "waiting", Act::Succeed)).await;
    cancel(waiting).await.expect(204);
    assert_eq!(app.job(waiting, "state").await.as_deref(), Some("dead"));
    assert_eq!(cancel(waiting).await.expect(409).json()["code"], "ILLEGAL_TRANSITION");
}

#[tokio::test]
async fn a_paused_queue_starts_nothing_until_it_is_resumed() {
    let app = TestApp::working(kinds::all, &[]).await;
    let (root, staff) = (app.admin("root").await, app.staff("staff").await);
    let queue = async |name: &str, verb: &str| {
        app.post(&format!("/api/v1/admin/queues/{name}/{verb}")).bearer(&root.access).send().await
    };
    for _ in 0..2 {
        queue("default", "pause").await.expect(204);
    }
    let id = app.enqueue(&note("paused", "x", Act::Succeed)).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(seen("paused").is_empty());
    let stats = get(&app, &staff, "/api/v1/admin/jobs/stats").await;
    let default = &stats["data"][0];
    assert_eq!((&default["queue"], &default["ready"]), (&json!("default"), &json!(1)));
    assert_eq!(default["paused_by"], json!(root.id));
    assert!(default["oldest_due_seconds"].as_f64().unwrap() >= 1.0);
    queue("default", "resume").await.expect(204);
    app.job_becomes(id, "succeeded").await;
    queue("nonsense", "pause").await.expect(404);
    let audited = "select count(*) from audit_events where action like 'queue.%'";
    assert_eq!(app.count(audited).await, 2, "only what changed something");
}

#[tokio::test]
async fn schedules_are_listed_with_their_next_time() {
    let app = TestApp::working(kinds::ticking, &[]).await;
    let staff = app.staff("staff").await;
    eventually("it has fired", async || {
        get(&app, &staff, "/api/v1/admin/schedules").await["data"][0]["last_job"].is_string()
    })
    .await;
    let schedules = get(&app, &staff, "/api/v1/admin/schedules").await;
    assert_eq!(schedules["data"][0]["name"], "each_second");
    assert_eq!(schedules["data"][0]["cron"], "* * * * * *");
}
