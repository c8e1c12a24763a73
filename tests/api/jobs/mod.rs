//! Background work: the queue's promises, with real workers on a real database.

mod admin;
mod kinds;
mod leases;
mod running;
mod schedules;

use mainstay::domain::{audit::Origin, ids::JobId, jobs::Payload};
use serde_json::Value;

use super::support::{TestApp, eventually};

impl TestApp {
    async fn enqueue<P: Payload>(&self, payload: &P) -> JobId {
        let origin = Origin { request_id: "test-request".to_owned(), ..Origin::default() };
        let jobs = &self.app.services.jobs;
        let job = self.app.db.tx("test", async |tx| jobs.enqueue(tx, payload, &origin).await);
        job.await.unwrap().expect("no live job has the key")
    }

    /// One column of a job, as text.
    async fn job(&self, id: JobId, column: &str) -> Option<String> {
        let sql = sqlx::AssertSqlSafe(format!("select {column}::text from jobs where id = $1"));
        sqlx::query_scalar(sql).bind(id.0).fetch_one(&self.pool).await.unwrap()
    }

    async fn job_becomes(&self, id: JobId, state: &str) {
        eventually(&format!("the job is {state}"), async || {
            self.job(id, "state").await.as_deref() == Some(state)
        })
        .await;
    }

    async fn history(&self, id: JobId) -> Vec<String> {
        let history = self.job(id, "history").await.unwrap();
        let history: Value = serde_json::from_str(&history).unwrap();
        let events = history.as_array().unwrap().iter();
        events.map(|entry| entry["event"].as_str().unwrap().to_owned()).collect()
    }
}
