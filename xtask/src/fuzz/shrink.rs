//! Fewer steps that still fail (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input": ddmin).

use anyhow::Result;
use std::ops::RangeInclusive;
use user::fuzz::{Case, generate};

/// A step, and the number of the case that it belongs to.
pub type Step = (u64, user::fuzz::Step);

/// All steps of these cases of a seed.
pub fn steps(seed: u64, numbers: RangeInclusive<u64>) -> Vec<Step> {
    let cases = numbers.map(|number| generate::case(seed, number));
    cases.flat_map(|case| case.steps().iter().map(|step| (case.number, *step)).collect::<Vec<_>>()).collect()
}

/// The cases that steps belong to; one without any is left out.
pub fn cases(steps: &[Step]) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, step) in steps {
        if cases.last().is_none_or(|case| case.number != *number) {
            cases.push(Case::new(*number));
        }
        // No case has more steps than it had.
        cases.last_mut().map(|case| case.push(*step));
    }
    cases
}

/// As few of `items`, which fail, as can be found that do: none of them can be left out.
pub fn fewest<T: Clone>(mut items: Vec<T>, mut fails: impl FnMut(&[T]) -> Result<bool>) -> Result<Vec<T>> {
    let mut parts = 2;
    while items.len() > 1 {
        let size = items.len().div_ceil(parts);
        let mut smaller = None;
        for start in (0..items.len()).step_by(size) {
            let rest = [&items[..start], &items[(start + size).min(items.len())..]].concat();
            if fails(&rest)? {
                smaller = Some(rest);
                break;
            }
        }
        match smaller {
            Some(rest) => {
                items = rest;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(items.len()),
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_matters_is_left(all in 1usize..200, needed in prop::collection::btree_set(0usize..200, 1..5)) {
            let needed: Vec<_> = needed.into_iter().map(|item| item % all).collect();
            let mut needed = needed;
            needed.sort();
            needed.dedup();
            let found = fewest((0..all).collect(), |items| Ok(needed.iter().all(|item| items.contains(item)))).unwrap();
            prop_assert_eq!(found, needed);
        }
    }

    #[test]
    fn cases_come_back_from_their_steps() {
        let steps = steps(3, 10..=12);
        let cases = cases(&steps);
        assert_eq!(cases.iter().map(|case| case.number).collect::<Vec<_>>(), [10, 11, 12]);
        assert_eq!(cases[2].steps(), generate::case(3, 12).steps());
        assert!(super::cases(&[]).is_empty());
    }
}
