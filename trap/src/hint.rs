//! What the state of a report shows that helps to find the mistake.

use crate::record::Report;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// A hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// The interrupt was acknowledged but never ended.
    NotEnded(u32),
}

/// What a report shows, the most telling first.
pub fn hints(report: &Report) -> Vec<Hint, 3> {
    report.not_ended.map(Hint::NotEnded).into_iter().collect()
}
