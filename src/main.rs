//! Hands the arguments to the command line and ends with its exit code. Holds nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    pve_ferry::cli::main(std::env::args_os())
}
