//! EL0 runtime.
#![no_std]
