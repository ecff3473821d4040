//! A report for people.

use crate::record::Report;
use core::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.cause)
    }
}

/// A report in a few lines.
pub struct Brief<'a>(&'a Report);

impl Report {
    /// The report in a few lines, for deaths that others live on after.
    pub fn brief(&self) -> Brief<'_> {
        Brief(self)
    }
}

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.0.cause)
    }
}
