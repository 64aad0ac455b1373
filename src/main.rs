//! The program: everything is in the library.

fn main() -> std::process::ExitCode {
    vaso::cli::main()
}
