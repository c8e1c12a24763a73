//! Workers that die, sleep too long or leave.

use std::time::Duration;

use mainstay::{
    domain::{
        ids::WorkerId,
        jobs::{Became, Claimed, Ended, Queue},
    },
    error::{Code, Result},
    services::jobs::{Claims, Look},
};
use serde_json::Value;

use super::{
    super::support::{TestApp, eventually},
    kinds::{self, Act, note, seen},
};

/// No worker of its own: the test plays the workers.
async fn stage() -> (TestApp, Claims) {
    let quiet = [("APP__JOBS__IN_PROCESS", "false")];
    let app = TestApp::working(kinds::all, &quiet).await;
    let claims = app.app.services.jobs.claims();
    (app, claims)
}

async fn hire(app: &TestApp, claims: &Claims) -> WorkerId {
    let worker = WorkerId(app.app.clock.new_id());
    claims.register(worker, &[Queue::Default]).await.unwrap();
    worker
}

async fn claim(claims: &Claims, worker: WorkerId, limit: i64) -> Vec<Claimed> {
    claims.claim(worker, Queue::Default, &mut 0, limit).await.unwrap()
}

/// Kills a worker, as far as the database can tell, and makes what it held due.
async fn lose(app: &TestApp, claims: &Claims, worker: WorkerId) {
    claims.beat(worker).await.unwrap();
    let mut look = Look::default();
    for _ in 0..4 {
        claims.rescue(&mut look).await.unwrap();
    }
    assert!(!claims.beat(worker).await.unwrap(), "it was given up");
    app.execute("update jobs set run_at = now() where state = 'pending'").await;
}

#[tokio::test]
async fn a_worker_that_comes_back_cannot_finish_what_another_has_taken_over() {
    let (app, claims) = stage().await;
    let id = app.enqueue(&note("fence", "x", Act::Succeed)).await;
    let sleeper = hire(&app, &claims).await;
    let held = claim(&claims, sleeper, 1).await.remove(0).lease;
    lose(&app, &claims, sleeper).await;
    let successor = hire(&app, &claims).await;
    let taken = claim(&claims, successor, 1).await.remove(0).lease;
    assert_eq!((taken.job, taken.fence > held.fence), (id, true));

    assert!(claims.succeed(&[held], &[Value::Null]).await.unwrap().is_empty());
    app.execute("create table effect (x int)").await;
    app.execute("grant insert on effect to mainstay_app").await;
    let jobs = &app.app.services.jobs;
    let late: Result<()> = app
        .app
        .db
        .tx("test", async |tx| {
            sqlx::query("insert into effect values (1)").execute(&mut *tx).await?;
            jobs.settle(tx, held).await
        })
        .await;
    assert_eq!(late.unwrap_err().code(), Code::Conflict);
    assert_eq!(app.count("select count(*) from effect").await, 0);
    assert_eq!(claims.succeed(&[taken], &[Value::Null]).await.unwrap(), [id]);
    app.job_becomes(id, "succeeded").await;
}

#[tokio::test]
async fn only_a_worker_that_gives_no_sign_of_life_is_given_up() {
    let (app, claims) = stage().await;
    app.enqueue(&note("alive", "x", Act::Succeed)).await;
    let alive = hire(&app, &claims).await;
    claim(&claims, alive, 1).await;
    let mut look = Look::default();
    for _ in 0..10 {
        assert!(claims.beat(alive).await.unwrap());
        assert!(claims.rescue(&mut look).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_job_that_kills_its_workers_dies_and_its_neighbours_do_not() {
    let (app, claims) = stage().await;
    let poison = app.enqueue(&note("poison", "poison", Act::Succeed)).await;
    for n in 0..4 {
        app.enqueue(&note("poison", &n.to_string(), Act::Succeed)).await;
    }
    // Twice the worker dies with all five in its hands.
    for _ in 0..2 {
        let worker = hire(&app, &claims).await;
        assert_eq!(claim(&claims, worker, 10).await.len(), 5);
        lose(&app, &claims, worker).await;
    }
    assert_eq!(app.history(poison).await, ["worker_lost", "worker_lost"]);
    assert_eq!(app.job(poison, "attempts").await.as_deref(), Some("0"), "crashes count apart");
    // From now on they go one by one, so that the next death tells who it was.
    let mut worker = hire(&app, &claims).await;
    assert!(claim(&claims, worker, 10).await.is_empty());
    let mut done = 0;
    while let Some(job) = claims.claim_suspect(worker, Queue::Default).await.unwrap() {
        if job.lease.job == poison {
            lose(&app, &claims, worker).await;
            worker = hire(&app, &claims).await;
        } else {
            done += claims.succeed(&[job.lease], &[Value::Null]).await.unwrap().len();
        }
    }
    assert_eq!(done, 4);
    assert_eq!(app.job(poison, "state").await.as_deref(), Some("dead"));
}

/// The claim of a worker that is given up while the claim is on its way.
#[tokio::test]
async fn a_job_that_was_claimed_too_late_is_found() {
    let (app, claims) = stage().await;
    let id = app.enqueue(&note("late", "x", Act::Succeed)).await;
    let nobody = WorkerId(app.app.clock.new_id());
    assert_eq!(claim(&claims, nobody, 1).await.len(), 1);
    let orphans = claims.rescue(&mut Look::default()).await.unwrap();
    assert_eq!(orphans.len(), 1);
    assert_eq!(app.job(id, "state").await.as_deref(), Some("pending"));
}

/// The claim of a worker that lives, and never hears of what it has claimed.
#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_given_back() {
    let app = TestApp::working(kinds::all, &[("APP__JOBS__QUEUES", "mail=1")]).await;
    let claims = app.app.services.jobs.claims();
    let workers = "select count(*) from job_workers";
    eventually("there is a worker", async || app.count(workers).await == 1).await;
    let worker = sqlx::query_scalar("select id from job_workers").fetch_one(&app.pool);
    let worker = WorkerId(worker.await.unwrap());
    let id = app.enqueue(&note("unheard", "x", Act::Succeed)).await;
    assert_eq!(claim(&claims, worker, 1).await.len(), 1);
    // Longer ago than an answer can be on its way.
    app.execute("update jobs set started_at = now() - interval '11 seconds'").await;
    app.job_becomes(id, "pending").await;
    assert_eq!(app.history(id).await, ["released"]);
    assert_eq!(app.job(id, "attempts").await.as_deref(), Some("0"), "it does not count");
    assert_eq!(claim(&claims, worker, 1).await.len(), 1, "at once");
}

#[tokio::test]
async fn on_shutdown_running_jobs_finish_and_the_rest_is_given_back_uncounted() {
    let vars = [("APP__JOBS__DRAIN_TIMEOUT", "2s")];
    let app = TestApp::working(kinds::all, &vars).await;
    let short = app.enqueue(&note("drain", "short", Act::Sleep(300))).await;
    let heeds = app.enqueue(&note("drain", "heeds", Act::WaitForStop)).await;
    eventually("both run", async || seen("drain").len() == 2).await;
    app.app.lifecycle.draining().cancel();
    // A claim may be on its way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let late = app.enqueue(&note("drain", "late", Act::Succeed)).await;
    tokio::time::timeout(Duration::from_secs(10), app.app.lifecycle.finish_work()).await.unwrap();
    assert_eq!(app.job(short, "state").await.as_deref(), Some("succeeded"));
    for (id, history) in [(heeds, vec!["released"]), (late, vec![])] {
        assert_eq!(app.job(id, "state").await.as_deref(), Some("pending"));
        assert_eq!(app.job(id, "attempts").await.as_deref(), Some("0"));
        assert_eq!(app.history(id).await, history);
    }
    assert_eq!(app.count("select count(*) from job_workers").await, 0);
}

/// Longer than others wait for a sign of life.
#[tokio::test]
async fn a_worker_that_drains_keeps_the_jobs_that_it_is_finishing() {
    let app = TestApp::working(kinds::all, &[("APP__JOBS__DRAIN_TIMEOUT", "20s")]).await;
    let id = app.enqueue(&note("drains long", "x", Act::Sleep(5000))).await;
    eventually("it runs", async || seen("drains long").len() == 1).await;
    let _others = app.sibling().await;
    app.app.lifecycle.draining().cancel();
    app.app.lifecycle.finish_work().await;
    assert_eq!(app.history(id).await, Vec::<String>::new());
    assert_eq!(app.job(id, "state").await.as_deref(), Some("succeeded"));
    assert_eq!(seen("drains long").len(), 1);
}

/// The database takes everything but the mark, as after an outage that ends for others first.
#[tokio::test]
async fn what_has_succeeded_is_not_given_back_before_it_is_marked() {
    let app = TestApp::working(kinds::all, &[]).await;
    let id = app.enqueue(&note("unmarked", "x", Act::Sleep(500))).await;
    eventually("it runs", async || seen("unmarked").len() == 1).await;
    app.execute("update jobs set started_at = now() - interval '1 minute'").await;
    app.execute("alter table jobs add constraint closed check (state <> 'succeeded') not valid")
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    app.execute("alter table jobs drop constraint closed").await;
    app.job_becomes(id, "succeeded").await;
    assert_eq!(app.history(id).await, Vec::<String>::new());
    assert_eq!(seen("unmarked").len(), 1);
}

#[tokio::test]
async fn who_was_to_be_cancelled_is_not_tried_again_when_the_attempt_ends_otherwise() {
    let (app, claims) = stage().await;
    let root = app.admin("root").await;
    let mut ids = Vec::new();
    for what in ["fails", "is lost", "is given back"] {
        ids.push(app.enqueue(&note("asked", what, Act::Succeed)).await);
    }
    let (lost, leaves) = (hire(&app, &claims).await, hire(&app, &claims).await);
    let fails = claim(&claims, leaves, 1).await.remove(0).lease;
    claim(&claims, lost, 1).await;
    claim(&claims, leaves, 1).await;
    for id in &ids {
        let cancel = app.call("DELETE", &format!("/api/v1/admin/jobs/{id}")).bearer(&root.access);
        cancel.send().await.expect(202);
    }
    let again_in = Some(Duration::ZERO);
    let ended = Ended { event: "failed", detail: "not today", again_in, counts: true };
    assert_eq!(claims.end(fails, &ended).await.unwrap(), Some(Became::Dead));
    lose(&app, &claims, lost).await;
    claims.leave(leaves).await.unwrap();
    for id in ids {
        assert_eq!(app.job(id, "state").await.as_deref(), Some("dead"));
        let retry = app.post(&format!("/api/v1/admin/jobs/{id}/retry")).bearer(&root.access);
        let job = retry.send().await.expect(200).json();
        assert_eq!((&job["state"], &job["cancel_requested"]), (&"ready".into(), &false.into()));
    }
}

/// Every slot is taken as soon as it is free.
#[tokio::test]
async fn a_suspect_gets_its_turn_although_every_slot_is_always_taken() {
    let app = TestApp::working(kinds::all, &[("APP__JOBS__QUEUES", "default=1")]).await;
    app.execute("insert into job_queues (name) values ('default')").await;
    let suspect = app.enqueue(&note("crowded", "suspect", Act::Succeed)).await;
    app.execute("update jobs set crashes = 2").await;
    for n in 0..100 {
        app.enqueue(&note("crowded", &n.to_string(), Act::Sleep(100))).await;
    }
    app.execute("delete from job_queues").await;
    app.job_becomes(suspect, "succeeded").await;
    assert!(app.count("select count(*) from jobs where state = 'pending'").await > 10);
}

#[tokio::test]
async fn a_worker_that_was_given_up_starts_anew() {
    let app = TestApp::working(kinds::all, &[]).await;
    let hangs = app.enqueue(&note("anew", "x", Act::WaitForStop)).await;
    eventually("it runs", async || seen("anew").len() == 1).await;
    app.execute("delete from job_workers").await;
    // It finds itself given up, stops the job it has lost, and takes it again as somebody new.
    eventually("it runs again", async || seen("anew").len() >= 2).await;
    assert_eq!(app.count("select count(*) from job_workers").await, 1);
    // By itself, or by whoever looked first.
    let first = app.history(hangs).await.remove(0);
    assert!(["released", "worker_lost"].contains(&first.as_str()), "{first}");
}
