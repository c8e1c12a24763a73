//! Work that starts by the clock: on every instance a loop asks, and the row decides who fires.

use chrono::{DateTime, Utc};

use super::{Enqueue, Jobs};
use crate::{
    db::Db,
    domain::jobs::Schedule,
    error::{Error, Result},
    repos,
};

/// A schedule as the code has it. `next` is asked with the database's time.
pub struct Plan {
    pub name: &'static str,
    pub kind: &'static str,
    pub cron: &'static str,
    pub payload: serde_json::Value,
    pub unique_key: Option<String>,
    pub next: Box<dyn Fn(DateTime<Utc>) -> Option<DateTime<Utc>> + Send + Sync>,
}

impl Jobs {
    /// Makes the schedules known, and gives changed ones their next time.
    pub async fn put_schedules(&self, plans: &[Plan]) -> Result<()> {
        self.db
            .tx("jobs.put_schedules", async |tx| {
                let now = repos::jobs::now(tx).await?;
                for plan in plans {
                    let next = next(plan, now)?;
                    repos::jobs::put_schedule(tx, plan.name, plan.kind, plan.cron, next).await?;
                }
                Ok(())
            })
            .await
    }

    /// Fires one schedule that is due, with its job in the same transaction; false when none is.
    /// Ticks that were missed are made good by one.
    pub async fn fire_due(&self, plans: &[Plan]) -> Result<bool> {
        let names: Vec<_> = plans.iter().map(|plan| plan.name.to_owned()).collect();
        self.db
            .tx("jobs.fire", async |tx| {
                let Some(due) = repos::jobs::lock_due_schedule(tx, &names).await? else {
                    return Ok(false);
                };
                let plan = plans.iter().find(|plan| plan.name == due.name);
                let plan = plan.ok_or_else(|| Error::internal("a schedule that was not asked"))?;
                let now = repos::jobs::now(tx).await?.max(due.next_at);
                let request_id = format!("schedule-{}-{}", due.name, due.next_at.timestamp());
                let with = Enqueue {
                    delay: std::time::Duration::ZERO,
                    priority: None,
                    request_id: &request_id,
                };
                let key = plan.unique_key.as_deref();
                let job = self.insert(tx, plan.kind, plan.payload.clone(), key, &with).await?;
                repos::jobs::fired(tx, plan.name, next(plan, now)?, job).await?;
                Ok(true)
            })
            .await
    }

    pub async fn schedules(&self) -> Result<Vec<Schedule>> {
        let db: &Db = &self.db;
        db.read("jobs.schedules", async |conn| repos::jobs::schedules(conn).await).await
    }
}

fn next(plan: &Plan, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    (plan.next)(now)
        .ok_or_else(|| Error::internal(format!("the schedule {} never comes", plan.name)))
}
