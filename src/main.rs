//! The command line.

#![forbid(unsafe_code)]

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use mainstay::{
    adapters::mail::preview,
    app::{self, App},
    config::{Config, Environment, Inputs},
    domain::{audit::Origin, users::Role},
    error::{Code, Error},
    routes,
    server::{self, Exit},
    services::{
        auth::{NewAccount, keys::Rotation},
        doctor::{Outcome, Report},
        migrations,
    },
    telemetry,
};

#[derive(Parser)]
#[command(
    name = "mainstay",
    version,
    about = "Accounts and what grows around them, as one HTTP API"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the API until SIGTERM or SIGINT.
    Serve,
    /// Run background jobs until SIGTERM or SIGINT.
    Worker,
    /// Bring the database's schema up to date.
    #[command(subcommand)]
    Migrate(Migrate),
    /// What an operator does by hand.
    #[command(subcommand)]
    Admin(Admin),
    /// What the service writes to its users.
    #[command(subcommand)]
    Mail(Mail),
    /// Check the configuration and show every value with its origin, secrets masked.
    CheckConfig {
        /// Print the table of all keys in Markdown instead.
        #[arg(long)]
        table: bool,
    },
    /// Look at the configuration, Postgres, Redis and this machine, and say what to mend; fails
    /// when something has to be.
    Doctor {
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
        /// How many instances will share Postgres and Redis.
        #[arg(long, default_value_t = 1)]
        instances: u32,
    },
    /// Print the API description.
    Openapi,
    /// Ask a running instance for /health/live; for container health checks.
    Healthcheck,
    /// Print the version.
    Version,
}

#[derive(Subcommand)]
enum Migrate {
    /// Apply what is missing.
    Up,
    /// List migrations and whether they are applied; fails when some are missing.
    Status,
    /// Wait until somebody else has applied all of them.
    Wait {
        /// Seconds after which to give up.
        #[arg(long, default_value_t = 60)]
        timeout: u64,
    },
}

#[derive(Subcommand)]
enum Admin {
    /// Make an account of any role.
    CreateUser {
        #[arg(long)]
        email: String,
        #[arg(long)]
        name: String,
        #[arg(long, default_value = "customer")]
        role: Role,
        /// Read the password from standard input, so that it stands in no process list.
        #[arg(long, required = true)]
        password_stdin: bool,
        /// Succeed without a change when the address has an account.
        #[arg(long)]
        if_missing: bool,
    },
    /// Make sample products; those that are there already stay. Not in production.
    Seed {
        /// How many there are to be.
        #[arg(long)]
        products: u64,
    },
    /// Let the next signing key take over; tokens in use stay valid.
    RotateKeys {
        /// Sign with it at once, although verifiers elsewhere may not have seen it yet.
        #[arg(long)]
        now: bool,
        /// Also void everything that this key has signed; the next one signs at once.
        // A key's name is base64url, and one in 64 begins with a hyphen.
        #[arg(long, value_name = "KID", allow_hyphen_values = true)]
        remove: Option<String>,
    },
}

#[derive(Subcommand)]
enum Mail {
    /// Write every letter as .txt, .html and .eml.
    Preview {
        /// The folder to write to; it is made if it is not there.
        #[arg(long)]
        out: PathBuf,
    },
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // Two providers in one process would make rustls panic: name ours first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let code = run(Cli::parse().command).unwrap_or_else(|failure| {
        telemetry::logs::say(&format!("mainstay: {}", explain(&*failure)));
        ExitCode::FAILURE
    });
    telemetry::logs::flush();
    code
}

fn explain(failure: &(dyn std::error::Error + 'static)) -> String {
    match failure.downcast_ref::<Error>() {
        Some(error) => {
            let fields = error.fields().iter().map(|f| format!("\n  {} {}", f.field, f.message));
            error.chain() + &fields.collect::<String>()
        }
        None => failure.to_string(),
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Version => print(env!("CARGO_PKG_VERSION")),
        Command::Openapi => print(&routes::openapi::document().to_pretty_json()?),
        Command::CheckConfig { table: true } => print(Config::markdown_table().trim_end()),
        Command::CheckConfig { table: false } => check_config(),
        Command::Doctor { json, instances } => doctor(json, instances),
        Command::Healthcheck => healthcheck(),
        Command::Serve => with_app(serve),
        Command::Worker => with_app(work),
        Command::Mail(Mail::Preview { out }) => with_app(async |app| preview(app, &out)),
        Command::Migrate(command) => with_app(async |app| migrate(app, command).await),
        Command::Admin(command) => with_app(async |app| admin(app, command).await),
    }
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    writeln!(io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn with_app(
    work: impl AsyncFnOnce(&App) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let config = Config::load(&Inputs::from_process())?;
    telemetry::logs::install(&config.log)?;
    telemetry::metrics::install();
    telemetry::traces::install(&config.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async { work(&App::new(config)?).await });
    // A task that does not end must not hold the exit.
    runtime.shutdown_timeout(Duration::from_millis(200));
    telemetry::traces::shutdown();
    code
}

async fn serve(app: &App) -> Result<ExitCode, Failure> {
    match app.serve().await? {
        Exit::Clean => Ok(ExitCode::SUCCESS),
        Exit::Forced => Ok(ExitCode::FAILURE),
    }
}

async fn work(app: &App) -> Result<ExitCode, Failure> {
    match app.work().await? {
        Exit::Clean => Ok(ExitCode::SUCCESS),
        Exit::Forced => Ok(ExitCode::FAILURE),
    }
}

async fn migrate(app: &App, command: Migrate) -> Result<ExitCode, Failure> {
    match command {
        Migrate::Up => show(&migrations::up(&app.config.database).await?),
        Migrate::Status => show(&migrations::status(&app.db).await?),
        Migrate::Wait { timeout } => {
            let wait = async {
                while !migrations::status(&app.db).await.is_ok_and(|s| s.pending().is_empty()) {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            };
            let done = tokio::time::timeout(Duration::from_secs(timeout), wait).await;
            done.map_err(|_| "migrations are still missing")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn show(status: &migrations::Status) -> Result<ExitCode, Failure> {
    for (version, description) in &status.known {
        let state = if status.applied.contains(version) { "applied" } else { "missing" };
        print(&format!("{version:04} {state} {description}"))?;
    }
    Ok(if status.pending().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn admin(app: &App, command: Admin) -> Result<ExitCode, Failure> {
    let origin = Origin::command_line();
    match command {
        Admin::CreateUser { email, name, role, if_missing, .. } => {
            let mut password = String::new();
            io::stdin().read_to_string(&mut password)?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            let account = NewAccount { email, password, name };
            match app.services.auth.create_user(account, role, &origin).await {
                Ok(user) => print(&user.id.to_string()),
                Err(error) if if_missing && error.code() == Code::EmailTaken => {
                    Ok(ExitCode::SUCCESS)
                }
                Err(error) => Err(error.into()),
            }
        }
        Admin::Seed { .. } if app.config.environment == Environment::Production => {
            Err("samples have no place in production".into())
        }
        Admin::Seed { products } => {
            let made = app.services.products.seed(products, &origin).await?;
            print(&format!("{made} products were made"))
        }
        Admin::RotateKeys { now, remove } => {
            app.keyring.ensure().await?;
            let rotated = app.keyring.rotate(&Rotation { now, remove }, &origin).await?;
            print(&format!("{} signs from {}", rotated.kid, rotated.signs_from.to_rfc3339()))
        }
    }
}

fn preview(app: &App, out: &Path) -> Result<ExitCode, Failure> {
    let post = &app.services.post;
    let count = preview::write(&post.letters, &post.mailer, app.clock.now(), out)?;
    print(&format!("{count} letters are in {}", out.display()))
}

/// Shows what is set also when it does not hold.
fn check_config() -> Result<ExitCode, Failure> {
    let inputs = Inputs::from_process();
    for setting in Config::describe(&inputs) {
        print(&format!("{} = {}  ({})", setting.key, setting.value, setting.origin))?;
    }
    Config::load(&inputs)?;
    Ok(ExitCode::SUCCESS)
}

/// Nothing is logged meanwhile: standard output is the report alone.
fn doctor(json: bool, instances: u32) -> Result<ExitCode, Failure> {
    let report = match Config::load(&Inputs::from_process()) {
        Ok(config) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let report =
                runtime.block_on(async { Ok(app::doctor(config, instances)?.examine().await) });
            runtime.shutdown_timeout(Duration::from_millis(200));
            report.map_err(|error: Error| Failure::from(error))?
        }
        Err(faults) => Report::of_faults(&faults),
    };
    print(&if json { serde_json::to_string_pretty(&report)? } else { report.to_text() })?;
    Ok(if report.outcome == Outcome::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Plain HTTP over a socket: a container's health check needs no client beside the binary.
fn healthcheck() -> Result<ExitCode, Failure> {
    let config = Config::load(&Inputs::from_process())?;
    let address = config.ops.listen.unwrap_or((config.server.host, config.server.port).into());
    let timeout = Duration::from_secs(2);
    let mut stream = std::net::TcpStream::connect_timeout(&server::reachable(address), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream
        .write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let alive = answer.starts_with("HTTP/1.1 200 ");
    Ok(if alive { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
