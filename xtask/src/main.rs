//! The words people type: `cargo xtask <word>`. Does I/O only through the words.
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "messages quote their parameters, paths among them, so that blanks and line ends in them show"
)]

mod bench;
mod check;
mod demo;
mod down;
mod r#gen;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything there is to do with this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    word: Word,
}

#[derive(Subcommand)]
enum Word {
    Demo(demo::Demo),
    Test(test::Test),
    Bench(bench::Bench),
    Up(up::Up),
    Down(down::Down),
    Gen(r#gen::Gen),
    Check(check::Check),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().word {
        Word::Demo(word) => word.run().await,
        Word::Test(word) => word.run().await,
        Word::Bench(word) => word.run().await,
        Word::Up(word) => word.run().await,
        Word::Down(word) => word.run().await,
        Word::Gen(word) => word.run().await,
        Word::Check(word) => word.run().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
