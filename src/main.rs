//! Parses the arguments, runs, prints the error chain, exits.
fn main() {}
