//! Postgres: whether it answers, fits, keeps up and is kept from harm.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::{Doctor, Verdict, unknown};
use crate::{
    error::{Error, Result},
    repos::server,
    services::migrations,
};

/// The oldest release that the tests run on.
const OLDEST: i32 = 150_000;
/// A request makes several statements, one after the other.
const SLOW: Duration = Duration::from_millis(10);
const SAMPLES: usize = 5;
/// Beside its pool an instance has a connection that asks whether Postgres answers.
const BESIDE_THE_POOL: u32 = 1;
/// Those who migrate, and this command.
const BESIDE_INSTANCES: u32 = 2;

pub async fn answers(it: &Doctor) -> Verdict {
    match ask(it).await {
        Ok((version, _)) if version.number < OLDEST => {
            let detail = format!("Postgres {} is older than 15", version.text);
            Verdict::fail(detail, "upgrade Postgres to 15 or newer")
        }
        Ok((version, latency)) => {
            let detail = format!("Postgres {}, {latency:.1?} per statement", version.text);
            match latency > SLOW {
                true => Verdict::warn(detail, "move the service nearer to its database"),
                false => Verdict::ok(detail),
            }
        }
        Err(error) => {
            let fix = "start Postgres; see that DATABASE_URL names its host, port, user and \
                       database, and that its pg_hba.conf lets this host in";
            Verdict::fail(error.chain(), fix)
        }
    }
}

async fn ask(it: &Doctor) -> Result<(server::Version, Duration)> {
    let mut conn = it.db.connect().await?;
    let version = server::version(&mut conn).await?;
    Ok((version, latency(&mut conn).await?))
}

/// The median: the first one of a connection is not like the others.
async fn latency(conn: &mut PgConnection) -> Result<Duration> {
    let mut samples = [Duration::ZERO; SAMPLES];
    for sample in &mut samples {
        let started = Instant::now();
        conn.ping().await?;
        *sample = started.elapsed();
    }
    samples.sort();
    Ok(samples[SAMPLES / 2])
}

pub async fn migrations(it: &Doctor) -> Verdict {
    let mut conn = match it.connect().await {
        Ok(conn) => conn,
        Err(unknown) => return unknown,
    };
    let status = match migrations::status_on(&mut conn).await {
        Ok(status) => status,
        Err(error) => return cannot_read(&error),
    };
    let later = status.applied.len() + status.pending().len() - status.known.len();
    match (status.pending().as_slice(), later) {
        ([], 0) => Verdict::ok(format!("all {} are applied", status.known.len())),
        ([], later) => Verdict::ok(format!("all are applied, and {later} of a later release")),
        (missing, _) => {
            Verdict::fail(format!("{} are missing", missing.len()), "run `mainstay migrate up`")
        }
    }
}

fn cannot_read(error: &Error) -> Verdict {
    Verdict::fail(error.chain(), "grant the role what deploy/postgres/roles.sql lists")
}

/// The pools of all instances against what the server has to give.
pub async fn connections(it: &Doctor) -> Verdict {
    let mut conn = match it.connect().await {
        Ok(conn) => conn,
        Err(unknown) => return unknown,
    };
    let Ok(server) = server::connections(&mut conn).await else { return unknown() };
    let pool = it.config.database.max_connections;
    let wanted = u64::from(it.instances) * u64::from(pool + BESIDE_THE_POOL);
    let wanted = i64::try_from(wanted + u64::from(BESIDE_INSTANCES)).unwrap_or(i64::MAX);
    let (available, foreign) = (i64::from(server.available), i64::from(server.foreign));
    let detail = format!(
        "{} x (database.max_connections {pool} + {BESIDE_THE_POOL}) + {BESIDE_INSTANCES} = {wanted} \
         of {available}, and others have {foreign}",
        it.instances
    );
    let fix = "raise max_connections of Postgres, lower database.max_connections, or put a pooler \
               between them";
    match wanted {
        wanted if wanted > available => Verdict::fail(detail, fix),
        wanted if wanted > available - foreign => Verdict::warn(detail, fix),
        _ => Verdict::ok(detail),
    }
}

/// Tokens are dated by this machine's clock and sessions by that of Postgres.
pub async fn clock(it: &Doctor) -> Verdict {
    let mut conn = match it.connect().await {
        Ok(conn) => conn,
        Err(unknown) => return unknown,
    };
    let looked = async {
        // The first statement of a connection is prepared before it runs.
        server::now(&mut conn).await?;
        let before = it.clock.now();
        let there = server::now(&mut conn).await?;
        Ok::<_, Error>((before + (it.clock.now() - before) / 2, there))
    };
    let Ok((here, there)) = looked.await else { return unknown() };
    let skew = (there - here).abs().to_std().unwrap_or_default();
    let detail = format!("{skew:.0?} apart");
    let fix = "let NTP keep the clocks of this machine and of the database";
    match skew {
        skew if skew > it.config.auth.leeway => Verdict::fail(detail, fix),
        skew if skew > Duration::from_secs(1) => Verdict::warn(detail, fix),
        _ => Verdict::ok(detail),
    }
}

/// The service needs rows; the schema and the audit trail are for others to change.
pub async fn rights(it: &Doctor) -> Verdict {
    let mut conn = match it.connect().await {
        Ok(conn) => conn,
        Err(unknown) => return unknown,
    };
    let rights = match server::rights(&mut conn).await {
        Ok(rights) => rights,
        Err(error) => return cannot_read(&error),
    };
    let too_much = [
        (rights.superuser, "is a superuser"),
        (rights.changes_schema, "may change the schema"),
        (rights.rewrites_audit, "may rewrite the audit trail"),
    ];
    let too_much: Vec<_> = too_much.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
    match too_much.is_empty() {
        true => Verdict::ok(format!("{} reads and writes rows, and no more", rights.role)),
        false if !it.in_production() => Verdict::ok(format!(
            "{} {}, as is usual outside production",
            rights.role,
            too_much.join(", ")
        )),
        false => Verdict::warn(
            format!("{} {}", rights.role, too_much.join(", ")),
            "let the service sign in as the role `mainstay_app` of deploy/postgres/roles.sql, and \
             give the other one to `migrate up` as DATABASE_MIGRATION_URL",
        ),
    }
}
