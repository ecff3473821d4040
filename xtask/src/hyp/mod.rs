//! A machine that the hypervisor runs, and the guests on it.

pub mod tree;

use crate::images::{Hypervisor, Images, ustar};
use crate::machine::{self, Event, Input, option_value};
use crate::symbols::Names;
use crate::trace::memory::Memory;
use ::hyp::service::Plan;
use ::hyp::{config, image, result};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::NamedTempFile;

/// A guest, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its name, which its console has before each line.
    pub name: String,
    /// A flat image, an arm64 `Image` or an ELF file.
    pub image: PathBuf,
    /// A device tree instead of the one that is made for it.
    pub dtb: Option<PathBuf>,
    /// Its initramfs.
    pub initrd: Option<PathBuf>,
    /// Its boot arguments.
    pub append: String,
    /// Its RAM in MiB.
    pub mem: u32,
    /// Its vCPUs.
    pub vcpus: u8,
    /// What becomes of SErrors that it leaves pending.
    pub serrors: config::Serrors,
    /// The test service, and what it does by itself.
    pub service: Option<Plan>,
}

/// A guest's RAM when nothing else is said, in MiB.
pub const GUEST_MEM: u32 = 64;

impl Guest {
    /// This project's kernel, as it is built for a bare machine, with its programs.
    pub fn kernel(images: &Images, name: &str) -> Guest {
        Guest { name: name.into(), initrd: Some(images.initramfs.clone()), ..Guest::new(images.image.clone()) }
    }

    /// A guest of whom nothing else is said.
    fn new(image: PathBuf) -> Guest {
        Guest {
            name: String::new(),
            image,
            dtb: None,
            initrd: None,
            append: String::new(),
            mem: GUEST_MEM,
            vcpus: 1,
            serrors: config::Serrors::default(),
            service: None,
        }
    }

    /// Reads `FILE[,dtb=FILE][,initrd=FILE][,append=ARGS][,mem=MIB][,vcpus=N][,serrors=POLICY][,service=PLAN]`; a comma that parts
    /// nothing is doubled.
    pub fn parse(text: &str) -> Result<Guest, String> {
        let mut words = words(text).into_iter();
        let image = PathBuf::from(words.next().filter(|word| !word.is_empty()).ok_or("an image file comes first")?);
        let mut guest = Guest::new(image);
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not of the form key=value"))?;
            match key {
                "dtb" => guest.dtb = Some(value.into()),
                "initrd" => guest.initrd = Some(value.into()),
                "append" => guest.append = value.into(),
                "mem" => guest.mem = number(value, config::MEMORY_MIB)?,
                "vcpus" => guest.vcpus = number(value, config::VCPUS)?,
                "serrors" => guest.serrors = config::Serrors::parse(value).ok_or("serrors is `diverse` or `panic`")?,
                "service" => {
                    guest.service =
                        Some(Plan::parse(value).ok_or("service is `on`, or words `after=`, `at=`, `iss=`, `every=`")?);
                }
                _ => {
                    let keys = "dtb, initrd, append, mem, vcpus, serrors, service";
                    return Err(format!("there is no key `{key}`; there are: {keys}"));
                }
            }
        }
        Ok(guest)
    }
}

/// A number in a range.
fn number<T>(text: &str, range: std::ops::RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number from {} to {}", range.start(), range.end()))
}

/// The words between single commas, with each double one as a single one.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == ',' && characters.next_if_eq(&',').is_none() {
            words.push(String::new());
        } else {
            words.last_mut().expect("there is always one").push(c);
        }
    }
    words
}

/// A machine and its guests.
#[derive(Clone, Debug)]
pub struct Config {
    /// QEMU itself: a name in PATH, or a path.
    pub qemu: OsString,
    /// CPU model, as QEMU names it.
    pub cpu: String,
    /// Version of the interrupt controller: 2 or 3.
    pub gic: u8,
    /// CPUs the machine has.
    pub smp: u8,
    /// Memory in MiB; else what the guests need.
    pub mem: Option<u32>,
    /// Time by instructions, one every 2^this nanoseconds.
    pub icount: Option<u8>,
    /// The guests.
    pub guests: Vec<Guest>,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// More arguments for QEMU.
    pub qemu_args: Vec<OsString>,
}

impl Default for Config {
    /// One Cortex-A72 with a GICv3, no guests, sixty seconds.
    fn default() -> Config {
        let machine::Config { qemu, cpu, gic, smp, timeout, .. } = machine::Config::default();
        Config { qemu, cpu, gic, smp, mem: None, icount: None, guests: Vec::new(), timeout, qemu_args: Vec::new() }
    }
}

/// MiB for the hypervisor, its heap and what it is booted with, besides the guests'.
const OVERHEAD: u32 = 192;

/// How a machine ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// 0: every guest powered off; 3: one did not end in order; 121: the hypervisor panicked; 124: time was over.
    pub code: u8,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// What the hypervisor left in its page: a [`result::Summary`], or what it says of a panic; none when it left nothing.
    pub result: Option<serde_json::Value>,
}

impl Outcome {
    /// What the guests did, if the hypervisor came to its end in order.
    pub fn summary(&self) -> Option<result::Summary> {
        serde_json::from_value(self.result.clone()?).ok()
    }
}

/// Runs a machine to its end, and gives `on` what it says as soon as it says it.
pub fn watch(
    hypervisor: &Hypervisor,
    images: &Images,
    config: &Config,
    on: impl FnMut(Event<'_>) -> Result<()>,
) -> Result<Outcome> {
    let mem = config.mem.unwrap_or_else(|| config.guests.iter().map(|guest| guest.mem).sum::<u32>() + OVERHEAD);
    let memory = Memory::new(mem)?;
    let mut archive = NamedTempFile::new().context("no temporary file can be made")?;
    std::io::Write::write_all(&mut archive, &pack(&config.guests, config.gic)?)
        .context("the archive cannot be written")?;
    let command = command(hypervisor, config, mem, &memory.path(), archive.path())?;
    let names = Names::new(images, None).with_hypervisor(&hypervisor.elf);
    let (code, timed_out) = machine::watch_command(command, &Input::Nothing, config.timeout, names, on)?;
    let page = memory.of_image(&hypervisor.elf, "result_page", result::Page::SIZE)?;
    let result = result::Page::parse(&page);
    let code = match (timed_out, result) {
        (true, _) => machine::TIMED_OUT,
        (false, Some((code, _))) => code,
        (false, None) if code != 0 => code,
        (false, None) => bail!("the hypervisor ended without a result"),
    };
    let json = result.map(|(_, json)| json).filter(|json| !json.is_empty());
    let result = json.map(serde_json::from_slice).transpose().context("the hypervisor's result is not JSON")?;
    Ok(Outcome { code, timed_out, result })
}

fn command(hypervisor: &Hypervisor, config: &Config, mem: u32, memory: &Path, archive: &Path) -> Result<Command> {
    let mut command = Command::new(&config.qemu);
    let memory = option_value(memory.to_str().context("the memory file's path is not UTF-8")?);
    command.args(["-object", &format!("memory-backend-file,id=ram,size={mem}M,mem-path={memory},share=on")]);
    command.args(["-M", &format!("virt,gic-version={},virtualization=on,memory-backend=ram", config.gic)]);
    command.args(["-cpu", &config.cpu, "-smp", &config.smp.to_string(), "-m", &format!("{mem}M")]);
    command.args(["-nic", "none", "-display", "none", "-no-reboot", "-serial", "stdio"]);
    if let Some(shift) = config.icount {
        command.args(["-icount", &format!("shift={shift},sleep=off")]);
    }
    command.arg("-kernel").arg(&hypervisor.image).arg("-initrd").arg(archive);
    command.args(&config.qemu_args);
    Ok(command)
}

/// The archive with the guests' files and their description, by the hypervisor's own plan of what goes where.
pub fn pack(guests: &[Guest], gic: u8) -> Result<Vec<u8>> {
    ensure!(!guests.is_empty(), "there is no guest");
    let mut files = Vec::new();
    let mut description = String::new();
    for (number, guest) in guests.iter().enumerate() {
        let mut add = |kind: &str, bytes: Vec<u8>| {
            let name = format!("{number}/{kind}");
            files.push((name.clone(), bytes));
            name
        };
        let image_bytes = read(&guest.image)?;
        let initrd = guest.initrd.as_deref().map(read).transpose()?;
        let ram = tree::RAM..tree::RAM + (u64::from(guest.mem) << 20);
        let length = initrd.as_ref().map_or(0, |bytes| bytes.len() as u64);
        // The length of the device tree changes nothing that the tree says.
        let plan = image::plan(&image_bytes, &ram, 0, length).map(|plan| plan.initrd);
        let at = plan.map_err(|why| anyhow::anyhow!("guest {}: {why}", guest.name))?;
        let dtb = match &guest.dtb {
            Some(path) => read(path)?,
            None => tree::tree(&tree::Guest {
                ram: ram.end - ram.start,
                vcpus: guest.vcpus,
                gic,
                bootargs: &guest.append,
                initrd: initrd.as_ref().map(|_| at..at + length),
            })?,
        };
        let (image, dtb) = (add("image", image_bytes), add("dtb", dtb));
        let initrd = initrd.map(|bytes| add("initrd", bytes));
        let guest = config::Guest {
            dtb: Some(&dtb),
            initrd: initrd.as_deref(),
            append: &guest.append,
            memory_mib: guest.mem,
            vcpus: guest.vcpus,
            serrors: guest.serrors,
            service: guest.service,
            ..config::Guest::new(&guest.name, &image)
        };
        description.push_str(&guest.to_string());
    }
    // What the hypervisor would refuse is refused here.
    config::guests(&description).map_err(|why| anyhow::anyhow!("{why}"))?;
    files.insert(0, ("guests".into(), description.into_bytes()));
    ustar(&files)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// What the guests did, for people.
pub fn words_of(summary: &result::Summary) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "{} world switches, {} interrupts of the hypervisor's own\n",
        summary.world_switches, summary.host_irqs
    );
    for guest in &summary.guests {
        let traps: u64 = guest.traps.iter().map(|(_, count)| count).sum();
        let end = match guest.end {
            Some(result::End::PoweredOff) => "powered off",
            Some(result::End::Reset) => "wanted a reset",
            Some(result::End::Killed) => "killed",
            None => "still ran",
        };
        let _ = writeln!(
            text,
            "{}: {end}; {} switches to it, {} interrupts injected, {} physical interrupts, {traps} traps:",
            guest.name, guest.switches, guest.injections, guest.irqs
        );
        for (class, count) in &guest.traps {
            let _ = writeln!(text, "  {count:>9} {class}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_as_they_are_typed() {
        let guest = Guest::parse("a,,b,initrd=i,append=x=1,,2 y,mem=128,vcpus=2").unwrap();
        assert_eq!((guest.image.to_str(), guest.initrd), (Some("a,b"), Some("i".into())));
        assert_eq!((&*guest.append, guest.mem, guest.vcpus), ("x=1,2 y", 128, 2));
        let guest = Guest::parse("k,serrors=panic,service=after=7 every=9").unwrap();
        assert_eq!((guest.serrors, guest.service), (config::Serrors::Panic, Plan::parse("after=7 every=9")));
        let plain = Guest::parse("k").unwrap();
        assert_eq!((plain.mem, plain.vcpus, plain.dtb), (GUEST_MEM, 1, None));
        for wrong in [
            "",
            ",mem=64",
            "k,mem=63",
            "k,vcpus=9",
            "k,vcpus=",
            "k,cpus=1",
            "k,initrd",
            "k,serrors=no",
            "k,service=off",
        ] {
            assert!(Guest::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_archive_says_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let guest = |name: &str| Guest {
            name: name.into(),
            initrd: Some(file("initrd", b"files")),
            ..Guest::parse(file("image", &[0; 256]).to_str().unwrap()).unwrap()
        };
        let bytes = pack(&[guest("left"), guest("right")], 3).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if name == "guests" {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
                let guests = config::guests(&text).unwrap();
                assert_eq!((guests[1].name, guests[1].image, guests[1].initrd), ("right", "1/image", Some("1/initrd")));
            }
            names.push(name);
        }
        assert_eq!(names, ["guests", "0/image", "0/dtb", "0/initrd", "1/image", "1/dtb", "1/initrd"]);
        assert!(pack(&[guest("one"), guest("one")], 3).is_err(), "two of one name");
        assert!(pack(&[], 3).is_err());
    }
}
