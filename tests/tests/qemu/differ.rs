//! What can be observed of this kernel is what can be observed of Linux, but for what `differ.toml` lists. Both run once, and
//! a test is a group of observations.

use crate::machine::{images, trial};
use anyhow::{Result, anyhow, ensure};
use libtest_mimic::Trial;
use std::sync::OnceLock;
use xtask::differ::known::Known;
use xtask::differ::{self, Both};
use xtask::linux::Linux;
use xtask::machine::Config;
use xtask::workspace;

const GROUPS: [&str; 8] = ["calls", "results", "memory", "ends", "start", "registers", "crash", "idregs"];

pub fn trials() -> Vec<Trial> {
    let there = workspace::root().is_ok_and(|root| Linux::new(&root).is_there());
    if !there {
        eprintln!(
            "comparisons with Linux are left out: there is none here, and no apt with Debian's packages to bring one"
        );
    }
    let trials = GROUPS.map(|group| trial(format!("differ::{group}"), move || compare(group)));
    trials.map(|trial| trial.with_ignored_flag(!there)).into()
}

fn compare(group: &str) -> Result<()> {
    static BOTH: OnceLock<Result<Both, String>> = OnceLock::new();
    let both = BOTH
        .get_or_init(|| differ::observe(images(false), &[], &Config::default()).map_err(|error| format!("{error:#}")));
    let both = both.as_ref().map_err(|error| anyhow!("{error}"))?.group(group);
    let judged = both.judge(&Known::read(&workspace::root()?)?);
    ensure!(judged.observations > 0, "nothing was observed");
    ensure!(judged.is_right(), "{}", judged.words());
    Ok(())
}
