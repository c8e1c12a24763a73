//! Whether background work is looked after.

use super::{Doctor, Verdict};
use crate::{error::Error, repos, services::jobs::BOUND};

/// A running job may hold a connection, and so may every request beside it.
pub async fn slots(it: &Doctor) -> Verdict {
    let slots: u32 = it.config.jobs.queues.iter().map(|slots| slots.count).sum();
    let pool = it.config.database.max_connections;
    let detail = format!("{slots} jobs at once over a pool of {pool} connections");
    match slots > 2 * pool {
        true => Verdict::warn(
            detail,
            "raise database.max_connections of the workers, or lower jobs.queues",
        ),
        false => Verdict::ok(detail),
    }
}

pub async fn workers(it: &Doctor) -> Verdict {
    let mut conn = match it.connect().await {
        Ok(conn) => conn,
        Err(unknown) => return unknown,
    };
    let looked = async {
        let workers = repos::jobs::beats(&mut conn).await?.len();
        let dead = repos::jobs::count_dead(&mut conn, BOUND).await?;
        let dead: i64 = dead.iter().map(|row| row.1).sum();
        Ok::<_, Error>((workers, dead))
    };
    match looked.await {
        Err(_) => Verdict::warn("not known", "apply the migrations"),
        Ok((0, _)) if !it.config.jobs.in_process => Verdict::warn(
            "no worker is registered: mail and everything else in the background waits",
            "run `mainstay worker`, or set APP__JOBS__IN_PROCESS=true",
        ),
        Ok((workers, 0)) => Verdict::ok(format!("{workers} registered, no dead jobs")),
        Ok((workers, dead)) => Verdict::warn(
            format!("{workers} registered, {dead} dead jobs"),
            "GET /api/v1/admin/jobs?state=dead tells why; retry them there",
        ),
    }
}
