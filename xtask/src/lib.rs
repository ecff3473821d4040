//! The tools around the machine: what a person types (`cli`), and what the black-box tests call.
//!
//! A test builds the [`images`] once and gives a [`machine::Config`] for each machine it starts:
//!
//! ```no_run
//! use xtask::{images::Images, machine::{self, Config, Program}};
//! let images = Images::build(false)?;
//! let hello = Config { program: Program::Named("hello".into()), ..Config::default() };
//! let outcome = machine::run(&images, &hello)?;
//! assert_eq!(outcome.code, 0, "{}", outcome.console);
//! # anyhow::Ok(())
//! ```
//!
//! All of it may be called from many threads at once.

pub mod bench;
pub mod check;
pub mod cli;
pub mod console;
pub mod differ;
pub mod disassembly;
pub mod doctor;
pub mod elf;
pub mod explain;
pub mod fuzz;
pub mod gdb;
pub mod hyp;
pub mod images;
pub mod linux;
pub mod machine;
pub mod mutants;
pub mod process;
pub mod setup;
pub mod steps;
pub mod sweep;
pub mod symbols;
pub mod test;
pub mod tool;
pub mod toolchain;
pub mod trace;
pub mod workspace;
