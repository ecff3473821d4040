//! Every command a person types: `cargo xtask help` lists them.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::cli::main()
}
