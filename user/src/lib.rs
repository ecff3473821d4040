//! The EL0 runtime: what a program needs to start, call the kernel, print and end.
//!
//! The ABI is Linux arm64's (numbers, structures and errors come from `linux-raw-sys`), so every program here also runs on
//! Linux, which is how its expectations were checked. A program is one file in `src/bin`:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! use user::{Args, println};
//!
//! user::entry!(main);
//!
//! fn main(_args: Args) -> i32 {
//!     println!("hello");
//!     0
//! }
//! ```
//!
//! There is no heap: programs use the stack, `static`s and `sys::mmap`.
//!
//! [`counters`], [`deaths`], [`dirent`], [`editor`], [`errno`], [`fuzz`] and [`status`] are plain data and also build for the host, where their
//! tests run (`cargo test --package user --lib`).
#![no_std]

pub mod counters;
pub mod deaths;
pub mod dirent;
pub mod editor;
pub mod errno;
pub mod fuzz;
pub mod status;

#[cfg(target_os = "none")]
pub mod io;
#[cfg(target_os = "none")]
pub mod process;
#[cfg(target_os = "none")]
pub mod start;
#[cfg(target_os = "none")]
pub mod sys;
#[cfg(target_os = "none")]
pub mod time;

pub use errno::Errno;
#[cfg(target_os = "none")]
pub use start::Args;
pub use status::{Signal, Status};
