//! Copies between the kernel and user memory: what is left of them, and the window.

use super::Test;

pub(super) const TESTS: &[Test] = &[];
