//! The whole service without telemetry: neither a log nor a recorder of metrics is installed, so
//! every line and every measurement ends where it begins. What is left of them is their call
//! sites: looking at the clock and keeping the path.

use mainstay::{
    app::App,
    config::{Config, Inputs},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let config = Config::load(&Inputs::from_process())?;
    App::new(config)?.serve().await?;
    Ok(())
}
