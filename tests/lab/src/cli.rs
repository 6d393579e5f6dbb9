//! The command line. The same program is the API server of the lab's images: it goes by the name it is called by.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::apiserver;

#[derive(Debug, Parser)]
#[command(name = "kube-apiserver")]
struct ApiServer {
    #[command(flatten)]
    args: apiserver::Args,
}

/// Runs what the command line asks for and says on stderr why it failed.
#[allow(clippy::print_stderr, reason = "the one place where a failure is told")]
pub fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    let result = match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("kube-apiserver") => runtime().and_then(|rt| rt.block_on(apiserver::run(ApiServer::parse().args))),
        _ => Err(anyhow::anyhow!("unknown program name")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
