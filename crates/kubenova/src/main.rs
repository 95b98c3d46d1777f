//! The program `kubenova`: reads its arguments and hands over. Does I/O through its modules.

mod args;
mod client;
mod connections;
mod crds;
mod log_line;
mod operator;
mod otlp;
mod reference;
mod server;
mod stop;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let ended = match Args::parse().command {
        Command::Operator(args) => operator::run(&args),
        Command::Generate(args) => reference::write(&args.out).map(|()| ExitCode::SUCCESS),
        Command::Crds(args) => crds::write(args.out.as_deref()).map(|()| ExitCode::SUCCESS),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("kubenova: {error:#}");
        ExitCode::FAILURE
    })
}
