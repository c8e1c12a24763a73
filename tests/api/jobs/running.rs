//! What becomes of jobs.

use std::{sync::atomic::Ordering, time::Duration};

use mainstay::{
    domain::{audit::Origin, jobs::Priority},
    error::{Error, Result},
    services::jobs::Enqueue,
};

use super::{
    super::support::{TestApp, eventually},
    kinds::{self, Act, Keyed, Limited, Other, Single, note, seen},
};

#[tokio::test]
async fn a_job_exists_exactly_when_its_transaction_commits() {
    let app = TestApp::working(kinds::all, &[]).await;
    let jobs = &app.app.services.jobs;
    let origin = Origin::default();
    let rolled_back: Result<()> = app
        .app
        .db
        .tx("test", async |tx| {
            jobs.enqueue(tx, &note("commits", "never", Act::Succeed), &origin).await?;
            Err(Error::not_found())
        })
        .await;
    assert!(rolled_back.is_err());
    let id = app.enqueue(&note("commits", "once", Act::Succeed)).await;
    app.job_becomes(id, "succeeded").await;
    assert_eq!(seen("commits"), ["once"]);
    assert_eq!(app.count("select count(*) from jobs").await, 1);
    assert_eq!(app.job(id, "request_id").await.as_deref(), Some("test-request"));
}

#[tokio::test]
async fn a_failed_attempt_is_followed_by_another() {
    let app = TestApp::working(kinds::all, &[]).await;
    let id = app.enqueue(&note("retries", "try", Act::FailUntil(3))).await;
    app.job_becomes(id, "succeeded").await;
    assert_eq!(seen("retries").len(), 3);
    assert_eq!(app.history(id).await, ["failed", "failed"]);
    assert_eq!(app.job(id, "last_error").await, None);
}

#[tokio::test]
async fn after_its_last_attempt_a_job_is_dead_and_says_why() {
    let app = TestApp::working(kinds::all, &[]).await;
    let id = app.enqueue(&note("dead", "try", Act::FailUntil(99))).await;
    app.job_becomes(id, "dead").await;
    assert_eq!(seen("dead").len(), 3);
    assert_eq!(app.job(id, "attempts").await.as_deref(), Some("3"));
    assert!(app.job(id, "last_error").await.unwrap().contains("not today"));
}

#[tokio::test]
async fn a_job_that_knows_better_gives_up_at_once() {
    let app = TestApp::working(kinds::all, &[]).await;
    let id = app.enqueue(&note("gives up", "try", Act::GiveUp)).await;
    app.job_becomes(id, "dead").await;
    assert_eq!(seen("gives up").len(), 1);
}

#[tokio::test]
async fn a_panic_and_a_hang_fail_their_attempt_and_nothing_else() {
    let app = TestApp::working(kinds::all, &[]).await;
    let panics = app.enqueue(&note("faults", "panics", Act::Panic)).await;
    let hangs = app.enqueue(&Other(note("faults", "hangs", Act::Hang))).await;
    let fine = app.enqueue(&note("faults", "fine", Act::Succeed)).await;
    app.job_becomes(fine, "succeeded").await;
    app.job_becomes(panics, "dead").await;
    app.job_becomes(hangs, "dead").await;
    assert!(app.job(panics, "last_error").await.unwrap().contains("panicked"));
    assert!(app.job(hangs, "last_error").await.unwrap().contains("too long"));
}

#[tokio::test]
async fn a_delayed_job_waits_for_its_time() {
    let app = TestApp::working(kinds::all, &[]).await;
    let origin = Origin::default();
    let with = Enqueue { delay: Duration::from_secs(1), ..Enqueue::from(&origin) };
    let later = note("delayed", "later", Act::Succeed);
    let jobs = &app.app.services.jobs;
    let id = app.app.db.tx("test", async |tx| jobs.enqueue(tx, &later, with).await);
    let id = id.await.unwrap().unwrap();
    app.job_becomes(id, "succeeded").await;
    let early = "select count(*) from jobs where started_at < created_at + interval '1 second'";
    assert_eq!(app.count(early).await, 0);
}

/// One slot, so that order can be seen.
#[tokio::test]
async fn higher_priorities_go_first_and_kinds_take_turns() {
    let app = TestApp::working(kinds::all, &[("APP__JOBS__QUEUES", "default=1")]).await;
    app.execute("insert into job_queues (name) values ('default')").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (jobs, origin) = (&app.app.services.jobs, Origin::default());
    app.app
        .db
        .tx("test", async |tx| {
            for n in 0..3 {
                let with = Enqueue { priority: Some(Priority::Low), ..Enqueue::from(&origin) };
                jobs.enqueue(tx, &note("order", &format!("low {n}"), Act::Succeed), with).await?;
            }
            for n in 0..3 {
                jobs.enqueue(tx, &note("order", &format!("note {n}"), Act::Succeed), &origin)
                    .await?;
            }
            jobs.enqueue(tx, &Other(note("order", "other", Act::Succeed)), &origin).await
        })
        .await
        .unwrap();
    app.execute("delete from job_queues").await;
    eventually("all have run", async || seen("order").len() == 7).await;
    let order = seen("order");
    assert_eq!(order[4..], ["low 0", "low 1", "low 2"], "{order:?}");
    let notes: Vec<_> = order.iter().filter(|what| what.starts_with("note")).collect();
    assert_eq!(notes, ["note 0", "note 1", "note 2"]);
    let other = order.iter().position(|what| what == "other").unwrap();
    assert!(other <= 1, "the other kind waits for its turn only: {order:?}");
}

#[tokio::test]
async fn a_key_keeps_a_second_live_job_away_and_aborts_nothing() {
    let app = TestApp::with(&[]).await;
    let jobs = mainstay::services::jobs::Jobs::new(
        app.app.db.clone(),
        app.app.clock.clone(),
        (app.app.services.audit.clone(), app.app.services.once.clone()),
        kinds::all().policies(),
        mainstay::services::jobs::Keep {
            succeeded: Duration::from_secs(60),
            dead: Duration::from_secs(60),
        },
    );
    let (origin, keyed) = (Origin::default(), Keyed { key: "only one".to_owned() });
    let twice = app.app.db.tx("test", async |tx| {
        let first = jobs.enqueue(tx, &keyed, &origin).await?;
        let second = jobs.enqueue(tx, &keyed, &origin).await?;
        Ok((first.is_some(), second.is_some()))
    });
    assert_eq!(twice.await.unwrap(), (true, false));
    assert_eq!(app.count("select count(*) from jobs").await, 1);
    app.execute("update jobs set state = 'succeeded', finished_at = now()").await;
    let again = app.app.db.tx("test", async |tx| jobs.enqueue(tx, &keyed, &origin).await);
    assert!(again.await.unwrap().is_some(), "a finished job holds no key");
}

#[tokio::test]
async fn no_more_than_allowed_run_at_once_over_two_instances() {
    let app = TestApp::working(kinds::all, &[]).await;
    let _other = app.sibling().await;
    for _ in 0..30 {
        app.enqueue(&Limited {}).await;
    }
    eventually("all have run", async || {
        app.count("select count(*) from jobs where state = 'succeeded'").await == 30
    })
    .await;
    assert_eq!(kinds::MOST.load(Ordering::SeqCst), 2);
}

/// The next one starts when one has ended, not when somebody looks again.
#[tokio::test]
async fn jobs_of_a_limited_kind_follow_one_another_without_a_pause() {
    let app = TestApp::working(kinds::all, &[("APP__JOBS__POLL", "2s")]).await;
    let started = std::time::Instant::now();
    for _ in 0..20 {
        app.enqueue(&Single {}).await;
    }
    eventually("all have run", async || {
        app.count("select count(*) from jobs where state = 'succeeded'").await == 20
    })
    .await;
    eprintln!("20 jobs, one at a time: {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_cannot_be_stored_of_an_answer_or_an_error_is_left_out() {
    let app = TestApp::working(kinds::all, &[]).await;
    let answers = app.enqueue(&note("nul", "answers", Act::AnswerNul)).await;
    let fails = app.enqueue(&note("nul", "fails", Act::FailNul)).await;
    app.job_becomes(fails, "dead").await;
    app.job_becomes(answers, "succeeded").await;
    assert!(app.job(fails, "last_error").await.unwrap().contains("ab"));
    assert_eq!(app.job(answers, "result->>'said'").await.as_deref(), Some("ab"));
}

#[tokio::test]
async fn thousands_of_jobs_over_two_instances_run_once_each() {
    let app = TestApp::working(kinds::all, &[]).await;
    let _other = app.sibling().await;
    let (jobs, origin) = (&app.app.services.jobs, Origin::default());
    let started = std::time::Instant::now();
    app.app
        .db
        .tx("test", async |tx| {
            for n in 0..2000 {
                jobs.enqueue(tx, &note("many", &n.to_string(), Act::Succeed), &origin).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let enqueued = started.elapsed();
    eventually("all have run", async || {
        app.count("select count(*) from jobs where state = 'succeeded'").await == 2000
    })
    .await;
    eprintln!("2000 jobs: enqueued in {enqueued:?}, done after {:?}", started.elapsed());
    let mut ran = seen("many");
    ran.sort();
    ran.dedup();
    assert_eq!((seen("many").len(), ran.len()), (2000, 2000));
}

#[tokio::test]
async fn a_kind_that_cannot_be_claimed_keeps_no_other_of_its_queue() {
    let app = TestApp::working(kinds::all, &[]).await;
    app.execute(
        "create function refuse() returns trigger language plpgsql as
         $$ begin raise exception 'refused'; end $$",
    )
    .await;
    app.execute(
        "create trigger refuse before update on jobs for each row
         when (new.kind = 'test_limited') execute function refuse()",
    )
    .await;
    app.enqueue(&Limited {}).await;
    let single = app.enqueue(&Single {}).await;
    app.job_becomes(single, "succeeded").await;
}

#[tokio::test]
async fn kinds_that_are_retired_unknown_or_unreadable_do_no_harm() {
    let app = TestApp::working(kinds::all, &[]).await;
    app.execute(
        "insert into jobs (id, queue, kind, payload, priority, run_at, max_attempts, request_id)
         values ('019abcde-0000-7000-8000-000000000001', 'default', 'test_retired', '{}', 2, now(), 3, 'x'),
                ('019abcde-0000-7000-8000-000000000002', 'default', 'of_the_next_release', '{}', 2, now(), 3, 'x'),
                ('019abcde-0000-7000-8000-000000000003', 'default', 'test_note', '{\"x\": 1}', 2, now(), 3, 'x')",
    )
    .await;
    let id = |n: u128| {
        mainstay::domain::ids::JobId(uuid::Uuid::from_u128(
            0x019abcde_0000_7000_8000_000000000000 + n,
        ))
    };
    app.job_becomes(id(1), "succeeded").await;
    eventually("the unreadable one has been tried", async || {
        app.job(id(3), "attempts").await.as_deref() == Some("1")
    })
    .await;
    for n in [2, 3] {
        let state = app.job(id(n), "state").await;
        assert_eq!(state.as_deref(), Some("pending"), "it waits for a worker of the next release");
    }
}

#[tokio::test]
async fn finished_jobs_are_thrown_away_when_their_time_is_over() {
    let vars = [("APP__JOBS__KEEP_SUCCEEDED", "1h"), ("APP__JOBS__KEEP_DEAD", "2h")];
    let app = TestApp::with(&vars).await;
    app.execute(
        "insert into jobs (id, queue, kind, payload, state, priority, run_at, max_attempts, request_id, finished_at)
         select gen_random_uuid(), 'default', 'x', '{}', state, 2, now(), 3, 'x', now() - make_interval(mins => minutes)
         from unnest(array['succeeded', 'dead']) state, unnest(array[30, 90, 150]) minutes, generate_series(1, 100)",
    )
    .await;
    assert_eq!(app.app.services.jobs.reap().await.unwrap(), 300);
    assert_eq!(app.count("select count(*) from jobs where state = 'dead'").await, 200);
    assert_eq!(app.count("select count(*) from jobs where state = 'succeeded'").await, 100);
}
